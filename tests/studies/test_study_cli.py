"""`simfl study` and what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import simfl
from simfl.cli import main

Cli = Callable[..., tuple[int, str, str]]

STUDY = """
name = "tiny"
[[fleet.group]]
compute = { kind = "constant", s = 1.0 }
count = 4
[learning]
dataset = "digits"
model = "softmax"
[evaluate]
every_versions = 1
[strategy]
kind = "fedavg"
cohort = 2
[stop]
versions = 3
target = { accuracy = 0.2 }
[sweep]
"strategy.cohort" = [1, 3]
"""


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.chdir(tmp_path)
    Path("tiny.toml").write_text(STUDY, encoding="utf-8")

    def call(*words: str) -> tuple[int, str, str]:
        code = main(words)
        return code, *capsys.readouterr()

    return call


def test_a_study_tells_of_every_cell_and_ends_with_a_table(cli: Cli) -> None:
    code, out, err = cli("study", "tiny.toml", "--seeds", "0,2..3")
    assert code == 0
    assert [line.partition(": ")[2] for line in err.splitlines()] == [
        f"strategy fedavg, cohort {cohort}, seed {seed}" for cohort in (1, 3) for seed in (0, 2, 3)
    ]
    title, head, first, *_ = out.splitlines()
    assert title == "to accuracy 0.2"
    assert head.split()[:4] == ["variant", "met", "time", "speed-up"]
    assert first.split()[0] == "cohort=1"
    assert simfl.Study("runs/tiny").variants == ["cohort=1", "cohort=3"]


def test_every_target_has_a_table_that_says_how_it_was_made(cli: Cli) -> None:
    _, out, _ = cli("study", "tiny.toml", "--seeds", "0", "--target", "accuracy=0.15",
                    "--target", "loss=2.2")  # fmt: skip
    lines = out.splitlines()
    assert [line for line in lines if line.startswith("to ")] == ["to accuracy 0.15", "to loss 2.2"]
    assert sum(line.startswith("Medians over seeds") for line in lines) == 2


def test_a_second_call_plays_nothing(cli: Cli) -> None:
    cli("study", "tiny.toml", "--seeds", "1", "--quiet")
    _, _, err = cli("study", "tiny.toml", "--seeds", "1")
    assert err.splitlines() == ["2/2: finished earlier"]


@pytest.mark.usefixtures("broken")
def test_failed_cells_end_with_3(cli: Cli) -> None:
    change = "sweep={strategy=[{kind='broken:Raises', concurrency=2}]}"
    code, out, err = cli("study", "tiny.toml", "--seeds", "1..2", "--set", change)
    assert (code, out) == (3, "")
    assert "2 of 2 runs have no result" in err
    assert "failed, PluginError" in err


@pytest.mark.parametrize("seeds", ["", "1..", "a", "1-3"])
def test_seeds_that_are_none_are_refused(cli: Cli, seeds: str) -> None:
    code, _, err = cli("study", "tiny.toml", "--seeds", seeds)
    assert code == 2
    assert "expected seeds, as in 0..4 or 1,5,9" in err


def test_a_study_is_plotted_by_its_folder(cli: Cli) -> None:
    cli("study", "tiny.toml", "--seeds", "1", "--quiet")
    code, out, _ = cli("plot", "runs/tiny", "time-to-target")
    assert (code, Path(out.strip())) == (0, Path("runs/tiny/time-to-target.png"))
    code, _, err = cli("plot", "runs/tiny", "time-to-targt")
    assert code == 2
    assert "did you mean 'time-to-target'" in err
