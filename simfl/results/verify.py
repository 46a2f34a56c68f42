"""Does a run folder hold what a run can have done? Its own ledger is replayed and checked.

Each check is a function from the run's tables to what is wrong with them, None if nothing is.
They read what was written and know nothing of the engine that wrote it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from simfl.errors import InputError
from simfl.messages import FRAME_BYTES, PHASES
from simfl.results.digest import digest
from simfl.results.result import Result
from simfl.results.summary import summarise
from simfl.results.tables import DELIVERED

#: Clock times are sums of floats; differences of them are known this well, in seconds.
SLACK_S = 1e-6


@dataclass(frozen=True)
class Check:
    """One law. wrong: what breaks it, or None."""

    law: str
    wrong: str | None


def verify(run: Result) -> list[Check]:
    """Every law, checked on a run. Raises InputError if its tables cannot be read."""
    frames = (run.tasks, run.versions, run.evaluations, run.devices)
    queues, finished = plays_an_app(run.scenario.get("strategy", {})), run.finished
    tables = Tables(*frames, waiting=_waiting(run), queues=queues, finished=finished)
    found = [checked(law, wrong, tables) for law, wrong in LAWS.items()]
    if run.finished:
        found += [checked(law, wrong, run) for law, wrong in SUMMARY_LAWS.items()]
    return found


def plays_an_app(strategy: Mapping[str, Any]) -> bool:
    """Whether a Flower app decides: its messages are its own, and wait for busy devices."""
    return str(strategy.get("kind")).startswith("simfl.interop.flower")


def checked(law: str, wrong: Callable[[Any], str | None], subject: Any) -> Check:
    """A law that cannot even be asked, for what it reads makes no sense, is broken."""
    try:
        return Check(law, wrong(subject))
    except Exception as error:
        return Check(law, f"cannot be checked: {type(error).__name__}: {error}")


@dataclass(frozen=True)
class Tables:
    """A run's tables. waiting: devices whose tasks may pause or try again, between phases.

    queues: messages wait at the server until their device is free, and grow older there. finished:
    False for a run that was cut short: what was under way then has no row, and one table may have
    come further than another.
    """

    tasks: pd.DataFrame
    versions: pd.DataFrame
    evaluations: pd.DataFrame
    devices: pd.DataFrame
    waiting: Sequence[int] = ()
    queues: bool = False
    finished: bool = True

    @property
    def applied(self) -> pd.DataFrame:
        return self.tasks[self.tasks["outcome"] == "applied"]


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


def _serials(t: Tables) -> str | None:
    if not t.finished:
        return _first(t.tasks, t.tasks["task"].duplicated(), "a serial number repeats")
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
    tasks = t.tasks if t.finished else t.tasks[t.tasks["version"] <= len(t.versions)]
    version, sent_s = tasks["version"].to_numpy(), tasks["dispatched_s"].to_numpy()
    if len(version) and version.max() > len(t.versions):
        return "a task carries a version that was never made"
    wrong = made_s[version] > sent_s + SLACK_S
    if not t.queues:
        wrong |= made_s[version + 1] < sent_s - SLACK_S
    return _first(tasks, wrong, "a task does not carry the version of its dispatch")


def _contributions(t: Tables) -> str | None:
    counts = t.applied["applied_version"].astype("int64").value_counts()
    told = t.versions.set_index("version")["updates"]
    found = counts.reindex(told.index, fill_value=0)
    wrong = told != found if t.finished else found > told
    bad = told.index[wrong.to_numpy()]
    return f"version {bad[0]} counts updates that the tasks do not show" if len(bad) else None


def _bytes(t: Tables) -> str | None:
    tasks = t.tasks
    delivered = tasks["outcome"].isin(DELIVERED)
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


def _moved(t: Tables) -> str | None:
    """Totals lie between what had been moved for certain and what was on its way at most.

    What ends or begins at the very instant may be on either side of it.
    """
    tasks, now_s = t.tasks, t.evaluations["time_s"].to_numpy()
    up_s = tasks["dispatched_s"] + tasks["download_s"] + tasks["train_s"]
    latest_s = np.where(tasks["phase"] == PHASES[0], tasks["ended_s"], _download_by(t))
    spans = {"down_bytes": (tasks["dispatched_s"], latest_s), "up_bytes": (up_s, tasks["ended_s"])}
    for column, (first_s, last_s) in spans.items():
        told, nbytes = t.evaluations[column].to_numpy(), tasks[column].to_numpy()
        least = _by(np.asarray(last_s), nbytes, now_s - SLACK_S)
        most = _by(np.asarray(first_s), nbytes, now_s + SLACK_S)
        if ((told < least) | ((told > most) & t.finished)).any():
            return f"{column} of the evaluations are not what the tasks had moved"
    return None


def _download_by(t: Tables) -> pd.Series:
    """When a task's download had ended at the latest, if it did."""
    tasks = t.tasks
    straight_s = tasks["dispatched_s"] + tasks["download_s"]
    latest_s = tasks["ended_s"] - tasks["train_s"] - tasks["upload_s"]
    return straight_s.where(~tasks["device"].isin(t.waiting), latest_s)


def _by(moments_s: np.ndarray, nbytes: np.ndarray, now_s: np.ndarray) -> np.ndarray:
    """Bytes of all moments up to each of these."""
    order = np.argsort(moments_s, kind="stable")
    totals = np.concatenate(([0], np.cumsum(nbytes[order])))
    return totals[np.searchsorted(moments_s[order], now_s, "right")]


def _devices(t: Tables) -> str | None:
    classes = t.devices["device_class"].astype(str).to_numpy()
    device, told = t.tasks["device"].to_numpy(), t.tasks["device_class"].astype(str).to_numpy()
    if len(device) and not 0 <= device.min() <= device.max() < len(classes):
        return f"a task has a device that the fleet of {len(classes)} has not"
    return _first(t.tasks, classes[device] != told, "a device is of another class")


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
    "waste and use add up to what was moved": _moved,
    "tasks belong to devices of the fleet": _devices,
}


def _summary(run: Result) -> str | None:
    known: dict[str, Any] = run.summary
    again = summarise(run.read, devices=len(run.devices))
    differ = sorted(name for name, value in again.items() if known.get(name, value) != value)
    return f"it differs in {', '.join(differ)}" if differ else None


def _digest(run: Result) -> str | None:
    told, found = run.summary.get("digest"), digest(run.folder, run.params)
    return None if told == found else f"the summary says {told}, the folder has {found}"


#: What the summary says, against what the tables say.
SUMMARY_LAWS: dict[str, Callable[[Result], str | None]] = {
    "the summary is that of the tables": _summary,
    "the digest is that of the tables and the model": _digest,
}


def _first(frame: pd.DataFrame, wrong: Any, what: str) -> str | None:
    """What is wrong, with the first task that shows it."""
    at = np.flatnonzero(np.asarray(wrong))
    if not len(at):
        return None
    others = f" and {len(at) - 1} more" if len(at) > 1 else ""
    return f"{what}: task {frame['task'].iloc[at[0]]}{others}"
