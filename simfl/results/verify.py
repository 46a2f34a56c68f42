"""Does a run folder hold what a run can have done? Its own ledger is replayed and checked.

Each check is a function from the run's tables to what is wrong with them, None if nothing is.
They read what was written and know nothing of the engine that wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from simfl.errors import InputError
from simfl.messages import FRAME_BYTES, PHASES
from simfl.results.digest import digest
from simfl.results.result import Result
from simfl.results.summary import summarise

#: Clock times are sums of floats; differences of them are known this well, in seconds.
SLACK_S = 1e-6


@dataclass(frozen=True)
class Check:
    """One law. wrong: what breaks it, or None."""

    law: str
    wrong: str | None


def verify(run: Result) -> list[Check]:
    """Every law, checked on a run. Raises InputError if its tables cannot be read."""
    kind = str(run.scenario.get("strategy", {}).get("kind"))
    queues = kind.startswith("simfl.interop.flower")
    tables = Tables(run.tasks, run.versions, run.evaluations, _waiting(run), queues)
    found = [Check(law, wrong(tables)) for law, wrong in LAWS.items()]
    if run.finished:
        found += [Check(law, wrong) for law, wrong in _against_summary(run)]
    return found


@dataclass(frozen=True)
class Tables:
    """A run's tables. waiting: devices whose tasks may pause or try again, between phases.

    queues: messages wait at the server until their device is free, and grow older there.
    """

    tasks: pd.DataFrame
    versions: pd.DataFrame
    evaluations: pd.DataFrame
    waiting: Sequence[int] = ()
    queues: bool = False

    @property
    def applied(self) -> pd.DataFrame:
        return self.tasks[self.tasks["outcome"] == "applied"]


def _waiting(run: Result) -> Sequence[int]:
    groups = run.scenario.get("fleet", {}).get("group", [])
    if not groups:
        raise InputError(f"{run.folder}: its scenario.toml does not say who took part")
    faults = [group.get("faults", {}) for group in groups]
    waits = [f.get("on_offline") == "pause" or bool(f.get("retry")) for f in faults]
    found: list[int] = np.flatnonzero(np.array(waits)[run.devices["group"]]).tolist()
    return found


def _serials(t: Tables) -> str | None:
    serials = np.sort(t.tasks["task"].to_numpy())
    return _first(t.tasks, serials != np.arange(len(serials)), "serial numbers have gaps or repeat")


def _time_order(t: Tables) -> str | None:
    tasks = t.tasks
    spent = tasks[["download_s", "train_s", "upload_s"]]
    if (spent < -SLACK_S).any(axis=None):
        return "a phase took less than no time"
    gap = tasks["ended_s"] - tasks["dispatched_s"] - spent.sum(axis=1)
    slack = SLACK_S + 1e-9 * tasks["ended_s"].abs()
    never_left = tasks["outcome"].isin(["in_flight", "cancelled"]) & (spent.sum(axis=1) == 0.0)
    wrong = (gap < -slack) | ((gap > slack) & ~tasks["device"].isin(t.waiting))
    return _first(tasks, wrong & ~never_left, "phases do not add up to the task's end")


def _versions_in_time(t: Tables) -> str | None:
    for name, frame in (("versions", t.versions), ("evaluations", t.evaluations)):
        if (np.diff(frame["time_s"]) < 0).any():
            return f"time runs backwards in {name}"
    numbers = t.versions["version"].to_numpy()
    return None if (numbers == np.arange(1, len(numbers) + 1)).all() else "versions have gaps"


def _one_at_a_time(t: Tables) -> str | None:
    tasks = t.tasks.sort_values(["device", "task"])
    same = tasks["device"].to_numpy()[1:] == tasks["device"].to_numpy()[:-1]
    begins, ends = tasks["dispatched_s"].to_numpy()[1:], tasks["ended_s"].to_numpy()[:-1]
    return _first(tasks[1:], same & (begins < ends - SLACK_S), "a device had two tasks at once")


def _staleness(t: Tables) -> str | None:
    applied = t.applied
    lag = applied["applied_version"] - 1 - applied["version"]
    return _first(applied, (lag != applied["staleness"]).to_numpy(bool), "staleness is not the lag")


def _version_at_dispatch(t: Tables) -> str | None:
    """A task carries the newest version of its moment; at one instant either side of it."""
    made_s = np.concatenate(([-np.inf], t.versions["time_s"].to_numpy(), [np.inf]))
    version, sent_s = t.tasks["version"].to_numpy(), t.tasks["dispatched_s"].to_numpy()
    if len(version) and version.max() > len(t.versions):
        return "a task carries a version that was never made"
    wrong = made_s[version] > sent_s + SLACK_S
    if not t.queues:
        wrong |= made_s[version + 1] < sent_s - SLACK_S
    return _first(t.tasks, wrong, "a task does not carry the version of its dispatch")


def _contributions(t: Tables) -> str | None:
    counts = t.applied["applied_version"].astype("int64").value_counts()
    told = t.versions.set_index("version")["updates"]
    found = counts.reindex(told.index, fill_value=0)
    bad = told.index[(told != found).to_numpy()]
    return f"version {bad[0]} counts updates that the tasks do not show" if len(bad) else None


def _bytes(t: Tables) -> str | None:
    tasks = t.tasks
    delivered = tasks["outcome"].isin(["applied", "discarded"])
    least = tasks.loc[delivered, ["down_bytes", "up_bytes"]].min().min()
    if delivered.any() and least < FRAME_BYTES:
        return "a delivered task moved less than a frame"
    early = tasks["phase"].isin(PHASES[:2]) & ~delivered & (tasks["up_bytes"] > 0)
    return _first(tasks, early.to_numpy(), "bytes went up before the upload began")


def _conservation(t: Tables) -> str | None:
    """Each version ages every task that was sent before it and is used or ends after it."""
    tasks = t.tasks
    last = len(t.versions)
    used = tasks["applied_version"].fillna(last + 1).astype("int64")
    counted = tasks["outcome"].isin(["applied", "in_flight"])
    ages = (used - 1 - tasks["version"])[counted]
    told = tasks.loc[counted, "staleness"]
    if told.isna().any() or int(told.sum()) != int(ages.sum()):
        return f"lags and ages add up to {told.sum()}, versions say {ages.sum()}"
    return None


LAWS: dict[str, Callable[[Tables], str | None]] = {
    "every task has one row": _serials,
    "phases follow each other to the task's end": _time_order,
    "versions and evaluations are in order of time": _versions_in_time,
    "a device has one task at a time": _one_at_a_time,
    "staleness is the lag in versions": _staleness,
    "a task carries the version of its dispatch": _version_at_dispatch,
    "versions count the updates that entered them": _contributions,
    "bytes move in their phase": _bytes,
    "staleness is conserved": _conservation,
}


def _against_summary(run: Result) -> Iterator[tuple[str, str | None]]:
    """The summary says what the tables say."""
    known: dict[str, Any] = run.summary
    again = summarise(run.read, devices=len(run.devices))
    differ = sorted(name for name, value in again.items() if known.get(name, value) != value)
    yield (
        "the summary is that of the tables",
        f"it differs in {', '.join(differ)}" if differ else None,
    )
    told = known.get("digest")
    found = digest(run.folder, run.params)
    wrong = None if told == found else f"the summary says {told}, the folder has {found}"
    yield "the digest is that of the tables and the model", wrong


def _first(frame: pd.DataFrame, wrong: Any, what: str) -> str | None:
    """What is wrong, with the first task that shows it."""
    at = np.flatnonzero(np.asarray(wrong))
    if not len(at):
        return None
    others = f" and {len(at) - 1} more" if len(at) > 1 else ""
    return f"{what}: task {frame['task'].iloc[at[0]]}{others}"
