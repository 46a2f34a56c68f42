"""One table: every shipped strategy, on the whole engine, under the same contracts."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import pandas as pd
import pytest
import torch
from lab import Lab

import simfl
from simfl.messages import Update
from simfl.params import Params
from simfl.strategy import LOCAL_RULES, SELECTIONS, SERVER_OPTIMISERS, STRATEGIES, WEIGHTINGS

_ROUNDS = {"cohort": 4}
_BUFFER = {"concurrency": 6, "buffer": 2}
_STREAM = {"concurrency": 6}

#: Options that make a strategy's default fit a dozen devices.
SMALL: dict[str, dict[str, Any]] = {
    "fedavg": _ROUNDS,
    "overselect": _ROUNDS,
    "fedprox": {**_ROUNDS, "stragglers": 0.5, "epochs": 2.0},
    "fednova": _ROUNDS,
    "feddyn": _ROUNDS,
    "asyncfeddyn": _BUFFER,
    "scaffold": _ROUNDS,
    "asyncscaffold": _BUFFER,
    "fedbuff": _BUFFER,
    "fadas": _BUFFER,
    "ca2fl": _BUFFER,
    "port": {**_BUFFER, "max_staleness": 2},
    "fedasync": _STREAM,
    "delayadaptive": _STREAM,
    "asyncfeded": {**_STREAM, "epochs": 2.0},
    "dcasgd": _STREAM,
    "pisces": _STREAM,
    "fedat": {"tiers": 2, "cohort": 3},
    "quafl": {"cohort": 3, "every_s": 1.0},
    "safa": {"deadline_s": 3.0},
}
KINDS = [kind for kind in STRATEGIES.names() if kind in SMALL]
LEARNING = {
    "dataset": "digits",
    "partition": {"kind": "dirichlet", "alpha": 0.5},
    "model": "softmax",
}
TIMING = {"dataset": "none", "parameters": 100, "examples": 10, "flops_per_example": 1.0}


def scenario(kind: str, learning: dict = LEARNING, drop: float = 0.2, **stop: Any) -> dict:
    fleet = {
        "compute": {"kind": "exponential", "mean_s": 1.0},
        "network": {"down_mbps": 1.0, "up_mbps": 0.5, "latency_s": 0.05},
        "faults": {"drop_probability": drop},
        "count": 12,
    }
    return {
        "seed": 5,
        "fleet": {"group": [fleet]},
        "learning": learning,
        "strategy": {"kind": kind, **SMALL[kind]},
        "stop": stop or {"versions": 8},
    }


@cache
def played(kind: str) -> simfl.Result:
    return simfl.run(scenario(kind))


def test_the_table_holds_every_shipped_strategy_of_this_folder():
    missing = set(STRATEGIES.shipped) - set(SMALL) - {"asyncfeded", "feddyn", "spatl", "asyncspatl"}
    assert {kind for kind in missing if "inversion" not in kind} == set()


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_ends_with_a_finite_model_and_its_books_closed(kind):
    result = played(kind)
    assert result.summary["ended"] == "versions"
    assert bool(torch.isfinite(result.params.flat).all())
    assert set(result.tasks.outcome) <= {"applied", "discarded", "lost", "cancelled", "in_flight"}
    assert "unused at the end" not in set(result.tasks.cause[result.tasks.outcome == "applied"])


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_repeats_bit_for_bit(kind):
    assert simfl.run(scenario(kind)).digest == played(kind).digest


@pytest.mark.parametrize("kind", KINDS)
def test_no_device_has_two_tasks_at_once_and_concurrency_is_kept(kind):
    tasks = played(kind).tasks.sort_values(["device", "dispatched_s", "task"])
    gap = tasks.groupby("device").dispatched_s.shift(-1) - tasks.ended_s
    assert (gap.dropna() >= -1e-9).all()
    limit = SMALL[kind].get("concurrency")
    if limit:
        starts = pd.Series(1, index=tasks.dispatched_s).groupby(level=0).sum()
        ends = pd.Series(-1, index=tasks.ended_s).groupby(level=0).sum()
        assert starts.add(ends, fill_value=0).sort_index().cumsum().max() <= limit


@pytest.mark.parametrize("kind", KINDS)
def test_a_strategy_runs_without_learning(kind):
    result = simfl.run(scenario(kind, TIMING))
    assert result.summary["versions"] == 8
    assert result.evaluations.empty


@pytest.mark.parametrize("kind", KINDS)
def test_a_fleet_that_loses_everything_ends_by_the_clock(kind):
    result = simfl.run(scenario(kind, TIMING, drop=1.0, after_s=30.0))
    assert result.summary["versions"] == 0
    assert result.summary["ended"] == "after_s"
    assert result.summary["lost"] > 10


@pytest.mark.parametrize("kind", KINDS)
def test_a_strategy_lives_with_devices_that_come_and_go(kind):
    table = scenario(kind, TIMING, versions=20, after_s=3600.0)
    table["fleet"]["group"][0]["presence"] = {
        "kind": "onoff",
        "mean_on_s": 10.0,
        "mean_off_s": 10.0,
    }
    result = simfl.run(table)
    assert result.summary["ended"] == "versions"
    assert "offline" in set(result.tasks.cause)


def plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(plain(key) and plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(plain(item) for item in value)
    return value is None or isinstance(
        value, bool | int | float | str | Params | torch.Tensor | Update
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_is_made_of_what_a_checkpoint_can_hold(kind):
    lab = Lab([[float(i)] for i in range(12)], lambda device, index: 1.0 + 0.3 * device)
    lab.play(STRATEGIES.get(kind)(**SMALL[kind]), versions=6)
    assert plain(lab.state)


@pytest.mark.parametrize(
    "registry", [STRATEGIES, LOCAL_RULES, SELECTIONS, SERVER_OPTIMISERS, WEIGHTINGS]
)
def test_every_part_says_what_it_does_in_one_line(registry):
    for name in registry.names():
        first, *_ = inspect.getdoc(registry.get(name)).splitlines()
        assert first.endswith((".", ":")), f"{name}: {first}"
        assert len(first) <= 100


@pytest.mark.parametrize("kind", KINDS)
def test_every_strategy_names_its_paper(kind):
    part = STRATEGIES.get(kind)
    assert any(char.isdigit() for char in part.reference)
    module = " ".join(inspect.getmodule(part).__doc__.split())
    assert part.reference.split(",")[0].split(" et al.")[0].split()[0] in module
