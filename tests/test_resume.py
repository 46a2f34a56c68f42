"""A run that is killed at any moment goes on to the digest of one that was left alone."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # killing.py
from killing import Executioner, executioner, moments_of

import simfl
from simfl import checkpoint
from simfl.errors import InputError
from simfl.results.frames import TABLES
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


#: How often each run is killed, the last time while it is finished off: 32 kills in all.
KILLS = 4


@pytest.fixture(scope="module")
def executions() -> Iterator[Executioner]:
    if not hasattr(os, "fork"):
        pytest.skip("kills forks of a process, which this system does not have")
    with executioner() as one:
        yield one


@pytest.mark.parametrize("case", CASES)
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


def test_an_interrupted_run_leaves_what_it_saw_and_a_checkpoint(tmp_path: Path) -> None:
    out = tmp_path / "run"

    class Impatient:
        seen = 0

        def update(self, status: object) -> None:
            Impatient.seen += 1
            if Impatient.seen == 3:
                os.kill(os.getpid(), 2)

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


def test_a_checkpoint_of_another_scenario_is_refused(tmp_path: Path) -> None:
    rows = dict.fromkeys(TABLES, 0)
    checkpoint.save(tmp_path, {"scenario": "0123456789abcdef", "rows": rows}, {})
    with pytest.raises(InputError, match="is of another scenario"):
        simfl.run(scenario("buffered"), out=tmp_path, resume=True)


def test_two_runs_into_one_folder_are_refused(tmp_path: Path) -> None:
    from simfl.session import alone

    with alone(tmp_path), pytest.raises(InputError, match="another run is writing"):
        simfl.run(scenario("buffered"), out=tmp_path)


def test_state_that_cannot_be_kept_is_said_and_the_run_goes_on(tmp_path: Path) -> None:
    from simfl.strategy.rounds import FedAvg

    class Odd(FedAvg):
        def init(self, params):  # type: ignore[no-untyped-def]
            return {**super().init(params), "secret": object()}

    table = {**scenario("rounds", versions=4), "strategy": Odd(cohort=4)}
    with pytest.warns(UserWarning, match="no checkpoints of killed: .*cannot hold a object"):
        result = simfl.run(table, out=tmp_path)
    assert result.summary["versions"] == 4
