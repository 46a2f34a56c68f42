"""Limit cases: what edges come to where they make no difference."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import torch
from edge_toys import INNER, LEARNT, flaky, inner, timed

import simfl


def same(flat: simfl.Result, tiered: simfl.Result, *tables: str) -> None:
    """All columns of the run without edges stand in the other one, bit for bit."""
    for table in tables:
        right, found = getattr(flat, table), getattr(tiered, table)
        pd.testing.assert_frame_equal(right, found[list(right)], check_exact=True)
    assert torch.equal(flat.params.flat, tiered.params.flat)


@pytest.mark.parametrize("kind", INNER)
def test_one_edge_with_a_link_that_takes_no_time_is_its_strategy(kind: str) -> None:
    flat = simfl.run(flaky(strategy=inner(kind)))
    tiered = simfl.run(
        flaky(strategy={"kind": "hierarchical", "edge": inner(kind)}, edge=[{"name": "all"}])
    )
    same(flat, tiered, "tasks", "versions", "evaluations", "devices")
    known = {k: v for k, v in flat.summary.items() if k not in ("scenario", "digest")}
    assert known.items() <= tiered.summary.items()
    assert (tiered.tasks["staleness"].dropna() == tiered.tasks["edge_staleness"].dropna()).all()


def test_several_updates_at_one_instant_make_as_many_versions_as_without_edges() -> None:
    """All devices are done at the same moment, so one step makes several versions."""
    buffer = {"kind": "fedbuff", "concurrency": 4, "buffer": 1}
    tiered = timed(buffer, {"name": "all"}, stop={"versions": 9})
    flat = {**tiered, "strategy": buffer, "edge": []}
    same_times = [simfl.run(one).versions["time_s"].tolist() for one in (flat, tiered)]
    assert same_times[0] == same_times[1]
    assert len(set(same_times[0])) < 9


def rounds(cohort: int) -> dict[str, Any]:
    return {"kind": "fedavg", "cohort": cohort, "steps": 4}


def test_edges_that_average_all_their_devices_are_federated_averaging() -> None:
    """Σ (N_l/N) Σ (n_i/N_l) d_i: the same sum in another order."""
    group = {"count": 4, "compute": {"kind": "exponential", "mean_s": 2.0}}
    table = {
        "fleet": {"group": [group, group]},
        "learning": {**LEARNT, "partition": {"kind": "dirichlet", "alpha": 0.5}},
        "stop": {"versions": 5},
    }
    flat = simfl.run({**table, "strategy": rounds(8)})
    edges = {"edge": [{"name": "edge", "count": 3}]}
    tiered = simfl.run({**table, **edges, "strategy": {"kind": "hierarchical", "edge": rounds(3)}})
    assert flat.versions["time_s"].tolist() == tiered.versions["time_s"].tolist()
    torch.testing.assert_close(flat.params.flat, tiered.params.flat, rtol=1e-4, atol=1e-6)
    used = [run.tasks[run.tasks["outcome"] == "applied"] for run in (flat, tiered)]
    weights = [tasks.sort_values(["version", "device"])["weight"] for tasks in used]
    assert weights[0].to_numpy() == pytest.approx(weights[1].to_numpy(), rel=1e-9)


def test_uniform_edges_weigh_alike_whatever_their_devices_hold() -> None:
    learning = {**timed(rounds(2))["learning"], "examples": [10, 10, 30, 30]}
    table = timed(rounds(2), {"name": "north", "cells": ["a"]}, {"name": "south"})
    table["learning"] = learning
    by_examples = simfl.run(table).tasks.groupby("edge", observed=True)["weight"].first()
    assert by_examples.to_dict() == pytest.approx({"north": 0.125, "south": 0.375})
    uniform = simfl.run(table, **{"strategy.weights": "uniform"})
    assert set(uniform.tasks.loc[uniform.tasks["outcome"] == "applied", "weight"]) == {0.25}


def test_a_run_without_edges_shows_none() -> None:
    plain = simfl.run({**timed(rounds(2)), "edge": [], "strategy": rounds(2)})
    assert plain.edges.empty
    assert not [name for name in plain.tasks if "edge" in name]
    assert not [name for name in plain.summary if "edge" in name or "cloud" in name]
