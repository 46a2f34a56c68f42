"""Devices that join, leave and move while edges are at work."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from edge_toys import timed

import simfl
from simfl.engine.verify import audit
from simfl.errors import PluginError

ROUNDS = {"kind": "fedavg", "cohort": 2}
NORTH, SOUTH = {"name": "north", "cells": ["a"]}, {"name": "south", "cells": ["b"]}


def at(*acts: tuple[float, Callable[[Any], Any]]) -> Any:
    """A process that acts at these moments."""

    def process(env: Any, world: Any) -> Generator[Any, Any, None]:
        for moment_s, act in acts:
            yield env.timeout(moment_s - env.now)
            act(world)

    return process


def test_a_newcomer_is_asked_by_the_edge_of_its_cell(tmp_path: Path) -> None:
    table = timed({"kind": "fedbuff", "concurrency": 3, "buffer": 3}, NORTH, SOUTH)
    join = at((1.0, lambda world: world.add("b")))
    run = simfl.run(table, processes=[join], out=tmp_path / "run", stop={"after_s": 40.0})
    assert set(run.tasks.loc[run.tasks["device"] == 4, "edge"]) == {"south"}
    assert not [check.law for check in audit(simfl.open(tmp_path / "run")) if check.wrong]


def test_an_edge_whose_devices_are_all_away_waits_for_one_of_them() -> None:
    """South's round is lost at 2 s. Its first device is back at 50 s, and makes a round alone."""
    gone = at(
        (2.0, lambda world: [world.leave(device) for device in (2, 3)]),
        (50.0, lambda world: world.come_back(2)),
    )
    run = simfl.run(timed(ROUNDS, NORTH, SOUTH, stop={"versions": 1}), processes=[gone])
    assert run.versions["time_s"].tolist() == [55.0]
    south = run.tasks[run.tasks["edge"] == "south"]
    assert south["dispatched_s"].tolist()[-1] == 50.0


def test_a_device_that_is_retired_counts_no_longer_in_the_mass_of_its_edge() -> None:
    left = at((2.0, lambda world: world.retire(3)))
    run = simfl.run(timed(ROUNDS, NORTH, SOUTH, stop={"versions": 1}), processes=[left])
    applied = run.tasks[run.tasks["outcome"] == "applied"]
    by_edge = applied.groupby("edge", observed=True)["weight"].sum().to_dict()
    assert by_edge == pytest.approx({"north": 2 / 3, "south": 1 / 3})


def test_a_task_that_waits_for_the_cloud_is_lost_with_its_device() -> None:
    """North rests from 5 s on; the far edge's model comes at 7.5 s."""
    far = {**SOUTH, "up_mbps": 3.2}
    left = at((6.0, lambda world: world.retire(0)))
    run = simfl.run(timed(ROUNDS, NORTH, far), processes=[left])
    lost = run.tasks[run.tasks["outcome"] == "lost"]
    assert lost[["device", "cause", "examples", "ended_s"]].to_numpy().tolist() == [
        [0, "retired", 0, 6.0]
    ]
    assert run.versions["time_s"].tolist() == [7.5, 15.0]


def test_a_device_does_not_leave_its_edge() -> None:
    move = at((1.0, lambda world: world.move(0, "b")))
    table = timed(ROUNDS, NORTH, SOUTH, server={"sharing": "max-min"})
    with pytest.raises(PluginError, match="device 0 is under edge north, and the cell under edge"):
        simfl.run(table, processes=[move])


@dataclass(frozen=True)
class Arriving:
    """A state machine: a device joins every few seconds."""

    every_s: simfl.Seconds = 4.0

    def next(self, state: None, world: Any) -> float:
        world.add(world.devices % 2)
        return self.every_s


def test_newcomers_of_edges_are_kept_by_checkpoints(
    tmp_path: Path, interrupted: Callable[..., None]
) -> None:
    inner = {"kind": "fedbuff", "concurrency": 4, "buffer": 2}
    table = timed(
        inner, {"name": "edge", "count": 2}, checkpoint={"every_s": 3.0}, stop={"versions": 6},
        process=[{"kind": "test_living_edges:Arriving"}],
    )  # fmt: skip
    interrupted(table, tmp_path / "run", 14.0)
    resumed = simfl.run(table, out=tmp_path / "run", resume=True)
    assert resumed.digest == simfl.run(table).digest
    assert len(resumed.devices) > 8
