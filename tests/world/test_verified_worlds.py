"""`simfl verify` knows a forged world: events that no world makes, and tasks that do not follow."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from world_toys import At, table

import simfl
from simfl.engine.verify import audit
from simfl.results.verify import verify


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in which everything happens that a process can do to devices."""
    folder = tmp_path_factory.mktemp("honest") / "run"
    acts = {
        20.0: lambda world: world.set_speed(0, 0.5),
        30.0: lambda world: world.add(0),
        40.0: lambda world: world.leave(1),
        60.0: lambda world: world.come_back(1),
        70.0: lambda world: world.end_task(2, "strike"),
        110.0: lambda world: world.set_link(2, 0.5),
        150.0: lambda world: world.retire(3),
    }
    more = {"strategy": {"kind": "fedbuff", "concurrency": 4, "buffer": 2}}
    with pytest.warns(UserWarning, match="cannot be played again"):
        simfl.run(
            table(3, 50.0, stop={"after_s": 400.0}, **more),
            processes=[At(t, act) for t, act in acts.items()],
            out=folder,
        )
    return folder


def broken(folder: Path) -> set[str]:
    return {check.law for check in verify(simfl.open(folder)) if check.wrong}


def test_an_honest_world_keeps_every_law(honest: Path) -> None:
    assert broken(honest) == set()


def _set(column: str, row: int, value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame = frame.astype({column: object})
        frame.loc[row, column] = value
        return frame

    return change


EVENTS = "events are changes of the world in order of time"
FORGED = {
    "a time that runs backwards": ("events", _set("time", 3, 1.0), EVENTS),
    "a device that there is not": ("events", _set("device", 0, 9), EVENTS),
    "a factor of nothing": ("events", _set("value", 0, -0.5), EVENTS),
    "a change that no world makes": ("events", _set("kind", 0, "world.set_mood"), EVENTS),
    "a newcomer out of turn": ("events", _set("device", 1, 2), EVENTS),
    "a newcomer of another group": ("events", _set("value", 1, 5.0), EVENTS),
    "an end that nobody made": (
        "events", lambda frame: frame[frame["kind"] != "world.end_task"],
        "outcomes, causes and phases are possible",
    ),
    "a life after retirement": (
        "events", lambda frame: frame.assign(
            time=frame["time"].where(frame["kind"] != "world.retire", 149.0)
        ), EVENTS,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_world_is_found(what: str, honest: Path, tmp_path: Path) -> None:
    name, change, law = FORGED[what]
    folder = tmp_path / "forged"
    shutil.copytree(honest, folder)
    path = folder / f"{name}.parquet"
    frame = change(pd.read_parquet(path)).convert_dtypes()
    frame["kind"] = frame["kind"].astype("category")
    frame.to_parquet(path)
    assert law in broken(folder)


def test_a_forged_speed_does_not_fit_the_trainings(tmp_path: Path) -> None:
    run = simfl.run("processes/throttling", out=tmp_path / "run", **{"stop.versions": 10})
    assert not [check for check in audit(run) if check.wrong]
    path = tmp_path / "run" / "events.parquet"
    frame = pd.read_parquet(path)
    frame["value"] = frame["value"].where(frame["device"] != frame["device"].iloc[0], 0.9)
    frame.to_parquet(path)
    found = {check.law for check in audit(simfl.open(tmp_path / "run")) if check.wrong}
    assert "training takes what the device's law says" in found
