"""Closed forms: when versions of edges and of the cloud are made, and what their links carry."""

from __future__ import annotations

import pytest
from edge_toys import timed

import simfl

ROUNDS = {"kind": "fedavg", "cohort": 2}
FAR = {"name": "far", "cells": ["b"], "down_mbps": 4.0, "up_mbps": 2.0, "latency_s": 0.5}
NEAR = {"name": "near", "cells": ["a"]}
MODEL = 1_000_000  # bytes of a message, framing included


def test_the_cloud_waits_for_the_edge_that_is_far_away() -> None:
    """A round takes 5 s at either edge; 2.5 s down to the far one, and 4.5 s up from it."""
    run = simfl.run(timed(ROUNDS, NEAR, FAR))
    assert run.versions["time_s"].tolist() == pytest.approx([12.0, 24.0])
    made = run.edges.set_index(["edge", "version"])["time_s"]
    assert made["near"].tolist() == pytest.approx([0.0, 5.0, 17.0])
    assert made["far"].tolist() == pytest.approx([0.0, 7.5, 19.5])
    left = run.tasks[run.tasks["examples"] > 0]  # the last ones wait for the cloud in vain
    first = left.groupby(["edge", "edge_version"], observed=True)["dispatched_s"].first()
    assert first["far"].tolist() == pytest.approx([2.5, 14.5])
    assert first["near"].tolist() == pytest.approx([0.0, 12.0])


def test_edges_make_k2_versions_between_two_models_of_the_cloud() -> None:
    """2.5 s down, three rounds of 5 s, 4.5 s up."""
    run = simfl.run(timed(ROUNDS, NEAR, FAR, strategy={"k2": 3}))
    assert run.versions["time_s"].tolist() == pytest.approx([22.0, 44.0])
    assert run.versions["updates"].tolist() == [12, 12]
    assert run.versions["weight_sum"].tolist() == pytest.approx([3.0, 3.0])
    assert run.edges.groupby("edge", observed=True)["version"].max().to_dict() == {
        "near": 6,
        "far": 6,
    }
    applied = run.tasks[run.tasks["outcome"] == "applied"]
    assert set(applied["edge_staleness"]) == {0}
    assert set(applied["staleness"]) == {0}
    assert applied["edge_version"].tolist().count(3) == 4


def test_links_of_edges_carry_one_model_each_way() -> None:
    run = simfl.run(timed(ROUNDS, NEAR, FAR, strategy={"k2": 2}))
    sent = run.edges[run.edges["up_bytes"] > 0]
    assert set(sent["up_bytes"]) == {MODEL}
    assert run.summary["cloud_up_bytes"] == 2 * 2 * MODEL
    assert run.summary["cloud_down_bytes"] == 2 * 2 * MODEL  # at the start, and after version 1
    assert run.summary["edge_versions"] == 8
    assert run.summary["up_bytes"] == run.tasks["up_bytes"].sum() == 4 * 4 * MODEL


def test_what_is_on_a_link_at_the_end_is_charged_pro_rata() -> None:
    """The far edge sends from 7.5 s on: half a second of latency, then 2 s at 2 Mbit/s."""
    run = simfl.run(timed(ROUNDS, NEAR, FAR, stop={"after_s": 10.0}))
    far = run.edges[(run.edges["edge"] == "far") & (run.edges["version"] == 1)].iloc[0]
    assert (far["up_bytes"], far["up_s"]) == (500_000, 2.5)
    assert run.summary["versions"] == 0
    assert set(run.tasks["outcome"]) == {"discarded", "in_flight"}  # what waited, and what is held
    assert (run.tasks.loc[run.tasks["outcome"] == "in_flight", "examples"] == 0).all()


def test_versions_of_the_cloud_take_the_server_s_time() -> None:
    run = simfl.run(timed(ROUNDS, {"name": "all"}, server={"aggregate_s": 7.0}))
    assert run.versions["time_s"].tolist() == pytest.approx([12.0, 24.0])
    assert run.edges["time_s"].tolist() == pytest.approx([0.0, 5.0, 17.0])


def test_staleness_is_counted_by_tier() -> None:
    """Buffers of one at an edge of two devices: the second update is a version late at its edge."""
    buffers = {"kind": "fedbuff", "concurrency": 2, "buffer": 1}
    run = simfl.run(timed(buffers, NEAR, FAR, strategy={"k2": 2}))
    applied = run.tasks[run.tasks["outcome"] == "applied"]
    assert sorted(set(applied["edge_staleness"])) == [0, 1]
    assert set(applied["staleness"]) == {0}
    flying = run.tasks[run.tasks["outcome"] == "in_flight"]
    assert set(flying["edge_staleness"]) <= {0, 1}
