"""What laws are asked about: a run's tables, what was played, and how to say what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from simfl.errors import InputError
from simfl.results.result import Result

#: Clock times are sums of floats; differences of them are known this well, in seconds.
SLACK_S = 1e-6


class Unchecked(Exception):
    """Raised by a law that this run folder does not let be checked; says why."""


@dataclass(frozen=True)
class Tables:
    """A run's tables and its scenario.

    waiting: devices whose tasks may pause or try again, between phases.
    queues: messages wait at the server until their device is free, and grow older there.
    finished: False for a run that was cut short: what was under way then has no row, and one table
        may have come further than another.
    folder: of the run, where its traces lie.
    learnt: the folder holds a final model.
    sound: all numbers of it are finite.
    """

    tasks: pd.DataFrame
    versions: pd.DataFrame
    evaluations: pd.DataFrame
    devices: pd.DataFrame
    scenario: Mapping[str, Any]
    waiting: Sequence[int] = ()
    queues: bool = False
    finished: bool = True
    folder: Path = Path()
    learnt: bool = False
    sound: bool = False
    events: pd.DataFrame = field(default_factory=pd.DataFrame)
    edges: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def own_loop(self) -> bool:
        """Whether a training function makes the steps on devices."""
        return "train" in self.scenario["learning"]

    @cached_property
    def applied(self) -> pd.DataFrame:
        return self.tasks[self.tasks["outcome"] == "applied"]

    @cached_property
    def made_s(self) -> np.ndarray:
        """When each version was made, from version 0 on; inf after the last."""
        return np.concatenate(([-np.inf], self.versions["time_s"].to_numpy(), [np.inf]))

    @cached_property
    def end_s(self) -> float:
        """The end of a finished run."""
        flying = self.tasks["outcome"] == "in_flight"
        if flying.any():
            return float(self.tasks.loc[flying, "ended_s"].max())
        asked_s = self.versions["time_s"] - self.versions["step_s"]
        times = (self.tasks["ended_s"], self.evaluations["time_s"], asked_s)
        return float(max((each.max() for each in times if len(each)), default=0.0))

    @property
    def strategy(self) -> Mapping[str, Any]:
        """The strategy that devices work for: in a run with edges the one that runs there."""
        whole: Mapping[str, Any] = self.scenario["strategy"]
        inner = whole.get("edge")
        return inner if isinstance(inner, Mapping) else whole

    @cached_property
    def left(self) -> np.ndarray:
        """(n,) bool: tasks that have left; others waited for the server's work, or for a model."""
        sizes = self.tasks[["examples", "download_s", "train_s", "upload_s", "down_bytes"]]
        return np.asarray((sizes != 0).any(axis=1))

    @property
    def groups(self) -> list[Mapping[str, Any]]:
        """The scenario's groups of devices."""
        return list(self.scenario["fleet"]["group"])

    def of_group(self, values: Sequence[Any]) -> np.ndarray:
        """A value of each group, for each device."""
        return np.array(values)[self.devices["group"].to_numpy()]

    def changed(self, *methods: str) -> pd.DataFrame:
        """The events in which a process called one of these methods of its world."""
        if self.events.empty:
            return self.events
        return self.events[self.events["kind"].isin([f"world.{one}" for one in methods])]

    def need_end(self) -> None:
        """Raises Unchecked where the run was cut short."""
        if not self.finished:
            raise Unchecked("the run is unfinished")


def tables_of(run: Result) -> Tables:
    """What the laws are asked about. Raises InputError if the tables cannot be read."""
    frames = (run.tasks, run.versions, run.evaluations, run.devices)
    model = run.params
    return Tables(
        *frames,
        run.scenario,
        waiting=_waiting(run),
        queues=plays_an_app(run.scenario.get("strategy", {})),
        finished=run.finished,
        folder=run.folder,
        learnt=model is not None,
        sound=model is not None and bool(model.flat.isfinite().all()),
        events=run.events,
        edges=run.edges,
    )


def plays_an_app(strategy: Mapping[str, Any]) -> bool:
    """Whether a Flower app decides: its messages are its own, and wait for busy devices."""
    return str(strategy.get("kind")).startswith("simfl.interop.flower")


def _waiting(run: Result) -> Sequence[int]:
    try:
        faults = [group.get("faults", {}) for group in run.scenario["fleet"]["group"]]
        waits = [f.get("on_offline") == "pause" or bool(f.get("retry")) for f in faults]
        found: list[int] = np.flatnonzero(np.array(waits)[run.devices["group"]]).tolist()
    except (LookupError, TypeError, AttributeError) as error:
        raise InputError(
            f"{run.folder}: its scenario.toml and devices.parquet do not say who took part"
        ) from error
    return found


def first(frame: pd.DataFrame, wrong: Any, what: str) -> str | None:
    """What is wrong, with the first row that shows it: a task, or a row by its number."""
    at = np.flatnonzero(np.asarray(wrong, dtype=bool))
    if not len(at):
        return None
    others = f" and {len(at) - 1} more" if len(at) > 1 else ""
    name = f"task {frame['task'].iloc[at[0]]}" if "task" in frame else f"row {at[0]}"
    return f"{what}: {name}{others}"


def apart(recorded: Any, right: Any) -> np.ndarray:
    """(n,) bool: moments that differ from the right ones by more than rounding, or are missing."""
    recorded, right = np.asarray(recorded, dtype=float), np.asarray(right, dtype=float)
    with np.errstate(invalid="ignore"):
        return ~(np.abs(recorded - right) <= SLACK_S + 1e-9 * np.abs(right))


def late(recorded: Any, last: Any) -> np.ndarray:
    """(n,) bool: moments after the last ones that are possible, or missing."""
    recorded, last = np.asarray(recorded, dtype=float), np.asarray(last, dtype=float)
    with np.errstate(invalid="ignore"):
        return ~(recorded <= last + SLACK_S + 1e-9 * np.abs(last))


def unequal(a: Any, b: Any) -> np.ndarray:
    """(n,) bool: numbers that differ by more than rounding; two missing ones do not."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    return ~((np.isnan(a) & np.isnan(b)) | np.isclose(a, b, rtol=1e-9, atol=1e-12))
