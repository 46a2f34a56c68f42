"""Machine time, from the first seconds of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from simfl.cli import main
from simfl.scenario import parse
from simfl.studies import duration
from simfl.studies.duration import machine_time

TOY = {
    "name": "toy",
    "fleet": {"group": [{"compute": {"kind": "constant", "s": 1.0}, "count": 4}]},
    "learning": {"dataset": "none", "parameters": 10, "examples": 10, "flops_per_example": 1.0},
    "strategy": {"kind": "fedavg", "cohort": 2},
    "stop": {"versions": 3},
}


def test_a_run_that_ends_within_its_trial_is_known_to_the_end() -> None:
    found = machine_time(parse(TOY))
    assert (found.share, found.at_most) == (1.0, False)
    assert 0.0 < found.run_s <= found.seconds


def test_a_run_that_does_not_is_taken_to_go_on_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duration, "TRIAL_S", 0.05)
    longer = {**TOY, "stop": {"versions": 10**9, "after_s": 10.0**8, "target": {"accuracy": 0.9}}}
    longer["stop"].pop("target")
    found = machine_time(parse(longer))
    assert 0.0 < found.share < 1.0
    assert found.run_s * found.share >= 0.05
    bounded = {**longer, "stop": {**longer["stop"], "wall_s": 7.0}}
    assert machine_time(parse(bounded)).run_s == 7.0


@pytest.mark.parametrize(
    ("stop", "share"),
    [
        ({"after_s": 100.0}, 0.5),
        ({"after_s": 100.0, "versions": 40}, 0.75),
        ({"updates": 60}, 1.0),
        ({"target": {"accuracy": 0.5}}, 0.0),
    ],
)
def test_the_nearest_limit_counts(stop: dict[str, object], share: float) -> None:
    known = {"virtual_s": 50.0, "versions": 30, "applied": 60}
    learns = {**TOY, "learning": {"dataset": "digits", "model": "softmax"}, "stop": stop}
    learns["evaluate"] = {"every_versions": 1}
    assert duration._share(parse(learns), known) == share


def test_the_command_line_says_it_and_plays_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tomli_w

    monkeypatch.chdir(tmp_path)
    Path("toy.toml").write_text(tomli_w.dumps({**TOY, "sweep": {"strategy.cohort": [1, 2]}}))
    assert main(["study", "toy.toml", "--estimate"]) == 0
    assert "a run (from a trial of 3 s of each variant)" in capsys.readouterr().out
    assert main(["explain", "toy.toml", "--estimate"]) == 0
    assert "machine time" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["toy.toml"]
