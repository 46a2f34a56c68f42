"""Runs with processes that are interrupted, and their random numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from world_toys import played, table

import simfl

LONG = {"strategy": {"kind": "fedbuff", "concurrency": 3, "buffer": 2}, "stop": {"versions": 12}}
GROUP = {"compute": {"kind": "exponential", "mean_s": 20.0}, "faults": {"on_offline": "pause"}}


def whole(kind: str, seed: int = 1) -> dict[str, Any]:
    kinds = {"process": [{"kind": f"world_toys:{kind}"}], "checkpoint": {"every_s": 10.0}}
    kinds["server"] = {"ingest_s": 2.0, "processors": 2}
    return table(4, group=GROUP, seed=seed, **LONG, **kinds)


@pytest.mark.parametrize(
    ("kind", "at_s"), [("Breathing", 15.0), ("Breathing", 40.0), ("Migrating", 40.0)]
)
def test_a_run_of_state_machines_goes_on_from_its_checkpoint(
    kind: str, at_s: float, tmp_path: Path, interrupted: Callable[..., None]
):
    interrupted(whole(kind), tmp_path / "run", at_s)
    resumed = simfl.run(whole(kind), out=tmp_path / "run", resume=True)
    unbroken = simfl.run(whole(kind), out=tmp_path / "whole")
    assert resumed.digest == unbroken.digest
    assert resumed.events.equals(unbroken.events)
    assert len(resumed.events) > 10


def test_a_run_of_generators_is_played_again_and_says_so(
    tmp_path: Path, interrupted: Callable[..., None]
):
    interrupted(whole("Sighing"), tmp_path / "run", 40.0)
    with pytest.warns(UserWarning, match=r"played again from its beginning, for no checkpoint can"):
        resumed = simfl.run(whole("Sighing"), out=tmp_path / "run", resume=True)
    assert resumed.digest == simfl.run(whole("Sighing")).digest


def test_a_run_depends_on_its_processes_options(tmp_path: Path):
    from simfl.errors import InputError

    simfl.run(whole("Breathing"), out=tmp_path / "run")
    with pytest.raises(InputError, match=r"process\.0\.every_s was 7\.0 and is 8\.0"):
        simfl.run(
            whole("Breathing"), out=tmp_path / "run", resume=True, **{"process.0.every_s": 8.0}
        )


def test_processes_draw_from_streams_of_their_own():
    seen: dict[str, list[float]] = {}

    class Draws:
        def __init__(self, name: str) -> None:
            self.name = name

        def run(self, env: Any, world: Any) -> Any:
            for _ in range(3):
                seen.setdefault(self.name, []).append(world.generator("x").random())
                yield env.timeout(1)
            seen[self.name].append(world.generator("y").random())

    played(table(), Draws("a"), Draws("b"))
    assert len({value for values in seen.values() for value in values}) == 8
    again, seen = seen, {}
    played(table(), Draws("a"))
    assert seen["a"] == again["a"]
