"""A run that is killed at any moment goes on to the digest of one that was left alone."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import random
import signal
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2]))  # killing.py
from killing import Executioner, Moment, executioner, moments_of
from spoiling import spoil

import simfl
from simfl.engine.checkpoints import checkpoint
from simfl.errors import InputError
from simfl.results.tables import TABLES
from simfl.results.verify import verify
from simfl.scenario import parse

RESFED = [{"kind": "resfed", "keep": 0.1, "bits": 1}]
BUFFERED = {"kind": "fedbuff", "concurrency": 6, "buffer": 2, "epochs": 2}
ROUNDS = {"kind": "fedavg", "cohort": 6, "epochs": 2}
CASES = {
    "buffered": {"strategy": BUFFERED},
    "rounds": {"strategy": ROUNDS},
    "shared links": {"strategy": BUFFERED, "server": {"sharing": "max-min", "up_mbps": 0.3}},
    "resfed both ways": {"strategy": BUFFERED, "wire": {"up": RESFED, "down": RESFED}},
    "error feedback": {"strategy": BUFFERED, "wire": {"up": [{"kind": "topk", "keep": 0.1}]}},
    "control variates": {"strategy": {"kind": "scaffold", "cohort": 6}},
    "spatl": {
        "strategy": {
            **{"kind": "asyncspatl", "concurrency": 6, "buffer": 2, "pretrain_games": 3},
            "local": {"kind": "salient", "episodes": 2, "plans": 2, "finetune_rounds": 1},
        },
        "learning": {"dataset": "digits", "model": {"kind": "convnet", "channels": [4, 8]}},
    },
    "kept moments": {
        "strategy": BUFFERED,
        "learning": {
            **{"dataset": "digits", "model": "softmax", "metrics": ["f1"]},
            "optimizer": {"kind": "adam", "keep": True},
            "schedule": [{"kind": "cosine", "over": 90.0, "by": "seconds"}],
        },
    },
    "deadline": {"strategy": {"kind": "overselect", "cohort": 5, "deadline_s": 8.0}},
}
FLEET = [
    {
        "compute": {"kind": "exponential", "mean_s": 4.0},
        "network": {"down_mbps": 0.5, "up_mbps": 0.2, "latency_s": 0.1},
        "presence": {"kind": "onoff", "mean_on_s": 60.0, "mean_off_s": 20.0},
        "faults": {"drop_probability": 0.1, "on_offline": "pause"},
        "count": 8,
    },
    {"compute": {"kind": "lognormal", "median_s": 2.0, "sigma": 0.5}, "count": 4},
]


def scenario(case: str, versions: int = 16) -> dict:
    return {
        "name": "killed",
        "seed": 5,
        "fleet": {"group": FLEET},
        "learning": {
            "dataset": "digits",
            "partition": {"kind": "dirichlet", "alpha": 0.5},
            "model": {"kind": "mlp", "hidden": [16]},
        },
        "evaluate": {"every_versions": 4},
        "checkpoint": {"every_s": 3.0},
        "stop": {"versions": versions},
        **CASES[case],
    }


#: How often each run is killed, the last time while it is finished off.
KILLS = 4

#: Whose state is that of others in another guise: killed by `make studies`.
LIKE_OTHERS = ("rounds", "error feedback", "control variates", "deadline")


@pytest.fixture(scope="module")
def executions() -> Iterator[Executioner]:
    if not hasattr(os, "fork"):
        pytest.skip("kills forks of a process, which this system does not have")
    with executioner() as one:
        yield one


@pytest.mark.parametrize(
    "case", [pytest.param(c, marks=[pytest.mark.study] * (c in LIKE_OTHERS)) for c in CASES]
)
def test_a_killed_run_ends_as_if_it_had_not_been(
    tmp_path: Path, case: str, executions: Executioner
) -> None:
    path = tmp_path / "killed.toml"
    path.write_text(parse(scenario(case)).to_toml(), "utf-8")
    unbroken = executions.play(path, tmp_path / "whole")
    moments = moments_of(unbroken, KILLS, random.Random(case))
    deaths = [executions.play(path, tmp_path / "run", moment) for moment in moments]
    assert [death.killed for death in deaths] == [True] * KILLS
    assert not executions.play(path, tmp_path / "run").killed
    whole, resumed = simfl.open(tmp_path / "whole"), simfl.open(tmp_path / "run")
    assert resumed.digest == whole.digest
    assert resumed.tasks.equals(whole.tasks)
    assert [check.law for check in verify(resumed) if check.wrong] == []


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_leaves_what_it_saw_and_a_checkpoint(
    tmp_path: Path, by: signal.Signals
) -> None:
    out = tmp_path / "run"

    class Impatient:
        seen = 0

        def update(self, status: object) -> None:
            Impatient.seen += 1
            if Impatient.seen == 3:
                os.kill(os.getpid(), by)

        def close(self) -> None: ...

    with pytest.raises(KeyboardInterrupt):
        simfl.run(scenario("buffered"), out=out, progress=Impatient())
    assert checkpoint.exists(out)
    left = simfl.open(out)
    assert not left.finished
    assert len(left.evaluations) == 3
    whole = simfl.run(scenario("buffered"))
    assert simfl.run(scenario("buffered"), out=out, resume=True).digest == whole.digest
    assert not checkpoint.exists(out)
    told = json.loads((out / "environment.json").read_text("utf-8"))
    (again,) = told["resumed"]
    assert again["from_virtual_s"] > 0.0
    assert again["packages"] == told["packages"]


@pytest.mark.parametrize(
    ("options", "least", "most"),
    [({"every_s": 5.0}, 3, 12), ({"wall_s": 1e-9}, 30, 200), ({"wall_s": 1e9}, 0, 0), ({}, 0, 0)],
)
def test_checkpoints_come_by_either_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict, least: int, most: int
) -> None:
    """`wall_s` is looked at after every task that learns, not once in a while."""
    saved = []
    monkeypatch.setattr(checkpoint, "save", lambda *given: saved.append(given))
    simfl.run({**scenario("buffered"), "checkpoint": options}, out=tmp_path)
    assert least <= len(saved) <= most


def spoil_newest(out: Path, what: str) -> None:
    """Damages the newest checkpoint, or a table part that only it counts."""
    older, newest = sorted(p for p in (out / "checkpoint").iterdir() if p.name.isdecimal())[-2:]
    state = newest / "state.json"
    body = json.loads(json.loads(state.read_text("utf-8"))["body"])
    if what == "version":
        text = json.dumps({**body, "format": 99})
        digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        state.write_text(json.dumps({"digest": digest, "body": text}), "utf-8")
    elif what == "part":
        before = json.loads(json.loads((older / "state.json").read_text("utf-8"))["body"])
        (name, *_) = sorted(body["state"]["parts"].keys() - before["state"]["parts"].keys())
        spoil(out / ".parts" / name, "flip", random.Random(4))
    else:
        name, how = what.split()
        spoil(newest / name, how, random.Random(4))


@pytest.mark.parametrize(
    "what",
    ["state.json cut", "state.json flip", "arrays.safetensors cut", "arrays.safetensors flip",
     "arrays.safetensors gone", "version", "part"],
)  # fmt: skip
def test_a_run_goes_on_from_the_older_checkpoint_if_the_newest_is_damaged(
    tmp_path: Path, what: str, executions: Executioner
) -> None:
    path, out = tmp_path / "killed.toml", tmp_path / "run"
    seldom = {**scenario("rounds"), "checkpoint": {"every_s": 50.0}}
    path.write_text(parse(seldom).to_toml(), "utf-8")
    whole = executions.play(path, tmp_path / "whole")
    assert executions.play(path, out, Moment(tick=whole.ticks * 2 // 3)).killed
    spoil_newest(out, what)
    with pytest.warns(UserWarning, match="passed over a checkpoint .*; going on from"):
        resumed = simfl.run(path, out=out, resume=True)
    assert resumed.digest == simfl.open(tmp_path / "whole").digest


def test_what_was_passed_over_is_forgotten(tmp_path: Path) -> None:
    """Else the one good checkpoint would stand beside a bad one, and the next could be bad too."""
    for step in range(3):
        checkpoint.save(tmp_path, {"step": step}, {})
    spoil(tmp_path / "checkpoint/000002/state.json", "cut", random.Random(1))
    with pytest.warns(UserWarning, match="passed over"):
        state, _ = checkpoint.load(tmp_path)
    checkpoint.drop_newer(tmp_path, state["checkpoint"])
    checkpoint.save(tmp_path, {"step": 9}, {})
    names = sorted(path.name for path in (tmp_path / "checkpoint").iterdir())
    assert names == ["000001", "000002"]
    assert checkpoint.load(tmp_path)[0]["step"] == 9


def test_a_run_that_has_ended_is_not_played_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = simfl.run(scenario("rounds", versions=2), out=tmp_path)
    monkeypatch.setattr("simfl.engine.run.Kernel", None)
    again = simfl.run(scenario("rounds", versions=2), out=tmp_path, resume=True)
    assert again.digest == first.digest
    with pytest.raises(InputError, match=r"holds another run: stop\.versions was 2 and is 3;"):
        simfl.run(scenario("rounds", versions=3), out=tmp_path, resume=True)


@pytest.mark.filterwarnings("ignore:.*only its options were compared")
def test_a_whole_checkpoint_of_nonsense_is_one_paragraph(tmp_path: Path) -> None:
    table, rows = scenario("rounds"), dict.fromkeys(TABLES, 0)
    state = {"scenario": parse(table).hash, "rows": rows, "parts": {}, "now_s": 0.0}
    for tree in ({}, [], {"id": 0, "type": "dict", "is": []}, "x" * 100):
        checkpoint.save(tmp_path, {**state, "tree": tree}, {})
        with pytest.raises(InputError):
            simfl.run(table, out=tmp_path, resume=True)


def test_the_folder_says_with_what_it_was_computed(tmp_path: Path) -> None:
    simfl.run(scenario("rounds", versions=1), out=tmp_path)
    told = json.loads((tmp_path / "environment.json").read_text("utf-8"))
    assert told["packages"]["torch"] == metadata.version("torch")
    assert told["python"] == platform.python_version()
    assert told["threads"] == {"training": 1, "OMP_NUM_THREADS": "1"}
    assert told["workers"] == 1
    assert told["platform"]


def test_a_checkpoint_of_another_scenario_is_refused(tmp_path: Path) -> None:
    rows = dict.fromkeys(TABLES, 0)
    checkpoint.save(tmp_path, {"scenario": "0123456789abcdef", "rows": rows, "parts": {}}, {})
    with pytest.raises(InputError, match="is of another scenario"):
        simfl.run(scenario("buffered"), out=tmp_path, resume=True)


def test_two_runs_into_one_folder_are_refused(tmp_path: Path) -> None:
    from simfl.engine.session import alone

    with alone(tmp_path), pytest.raises(InputError, match="another run is writing"):
        simfl.run(scenario("buffered"), out=tmp_path)


def test_state_that_cannot_be_kept_is_said_and_the_run_goes_on(tmp_path: Path) -> None:
    from simfl.strategy.methods.fedavg import FedAvg

    class Odd(FedAvg):
        def init(self, params):  # type: ignore[no-untyped-def]
            state = super().init(params)
            state.optimiser = object()
            return state

    table = {**scenario("rounds", versions=4), "strategy": Odd(cohort=4)}
    unnamed, unkept = "cannot be played again: .*Odd", "no checkpoints of killed: .*hold a object"
    with pytest.warns(UserWarning, match=unnamed), pytest.warns(UserWarning, match=unkept):
        result = simfl.run(table, out=tmp_path)
    assert result.summary["versions"] == 4
