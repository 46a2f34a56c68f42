"""What each version waited for: the last task to end before it, and that task's phases.

A synchronous round lasts as long as its slowest device; an asynchronous step as long as it takes
the next update to come. Either way the time between two versions is the history of one task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

#: Where the seconds between two versions went, in order of time.
SHARES = ("idle_s", "download_s", "train_s", "pause_s", "upload_s", "held_s")

#: Columns of the tasks and of the versions that are read here.
TASKS = (
    *("task", "device", "device_class", "outcome", "dispatched_s", "ended_s"),
    *("download_s", "train_s", "upload_s"),
)
VERSIONS = ("version", "time_s", "step_s")

_SLACK = 1 + 1e-12  # a version's time less its step may round to just below the arrival
_NONE = -1  # row of a version before which no task had ended

#: Gives the tasks part by part, as often as it is called.
Tasks = Callable[[], Iterable[pd.DataFrame]]


def critical_path(tasks: pd.DataFrame, versions: pd.DataFrame) -> pd.DataFrame:
    """One row per version: the task that it waited for and where the seconds went.

    Columns version, opened_s (when the version before was made), made_s, task, device,
    device_class, outcome, and SHARES, which sum to made_s - opened_s: `idle_s` before the task
    was sent, its phases, `pause_s` away, `held_s` from its end to the version (the server's own
    work, a deadline). A task under way before opened_s counts from then on.
    """
    made = Made.of(versions)
    (path,) = _paths([tasks], made, last_ended([tasks], made.decided_s))
    return path.drop(columns="at")


@dataclass(frozen=True, eq=False)
class Made:
    """When each version was made, (n,) each: the version before, decided, and made."""

    version: np.ndarray
    opened_s: np.ndarray
    decided_s: np.ndarray
    made_s: np.ndarray

    @classmethod
    def of(cls, versions: pd.DataFrame) -> Made:
        """Of the run's table."""
        made_s = versions["time_s"].to_numpy(np.float64)
        opened_s = np.concatenate([np.zeros(min(1, len(made_s))), made_s[:-1]])
        decided_s = (made_s - versions["step_s"].to_numpy(np.float64)) * _SLACK
        return cls(versions["version"].to_numpy(), opened_s, decided_s, made_s)

    def only(self, version: int) -> Made:
        """One version, or none if it was not made."""
        chosen = self.version == version
        columns = (self.version, self.opened_s, self.decided_s, self.made_s)
        return Made(*(column[chosen] for column in columns))


@dataclass(frozen=True, eq=False)
class Stretches:
    """Critical paths of neighbouring versions together, so that those of a long run can be drawn.

    edges: (n + 1,) versions between which stretches lie.
    shares: one row per stretch, the mean of each of SHARES over its versions.
    slowest: the row of `critical_path` of the version that took longest; None without a version.
    """

    edges: np.ndarray
    shares: pd.DataFrame
    slowest: pd.Series | None


def stretches(tasks: Tasks, made: Made, most: int) -> Stretches:
    """The critical path of these versions, in at most so many stretches of as many each."""
    rows = last_ended(tasks(), made.decided_s)
    before = int((rows == _NONE).sum())  # versions that waited for no task: the first ones
    n = len(rows) - before
    width = max(1, -(-n // most))
    firsts = np.arange(0, n, width)
    sums = np.zeros((len(firsts), len(SHARES)))
    slowest: pd.Series | None = None
    for path in _paths(tasks(), made, rows):
        where = (path["at"].to_numpy() - before) // width
        np.add.at(sums, where, path[list(SHARES)].to_numpy())
        slowest = _slower(slowest, path)
    counts = np.diff(np.append(firsts, n))
    known = made.version[before:]
    edges = np.append(known[firsts] - 0.5, known[-1:] + 0.5)
    shares = pd.DataFrame(sums / counts[:, None], columns=list(SHARES))
    return Stretches(edges, shares, slowest)


def _slower(before: pd.Series | None, path: pd.DataFrame) -> pd.Series | None:
    """The row that took longest; of equals, the earliest version."""
    if path.empty:
        return before
    row = path.iloc[int((path["made_s"] - path["opened_s"]).to_numpy().argmax())]
    if before is None:
        return row
    old_s, new_s = (float(one["made_s"] - one["opened_s"]) for one in (before, row))
    earlier = new_s == old_s and row["version"] < before["version"]
    return row if new_s > old_s or earlier else before


def last_ended(parts: Iterable[pd.DataFrame], decided_s: np.ndarray) -> np.ndarray:
    """(n,) int64, the row of the last task to end before each of these times; -1 for none.

    Of tasks that end at one time, the one with the greatest number.
    """
    rows = np.full(len(decided_s), _NONE)
    ends_s, serials = np.full(len(decided_s), -np.inf), np.full(len(decided_s), -1)
    first = 0
    for part in parts:
        ended = part[["ended_s", "task"]].assign(row=np.arange(first, first + len(part)))
        ended = ended[(part["outcome"] != "in_flight").to_numpy()].sort_values(["ended_s", "task"])
        first += len(part)
        at = np.searchsorted(ended["ended_s"], decided_s, side="right") - 1
        some = np.flatnonzero(at >= 0)
        end_s, serial, row = (
            ended[name].to_numpy()[at[some]] for name in ("ended_s", "task", "row")
        )
        old_s, old = ends_s[some], serials[some]
        later = (end_s > old_s) | ((end_s == old_s) & (serial > old))
        won = some[later]
        rows[won], ends_s[won], serials[won] = row[later], end_s[later], serial[later]
    return rows


def _paths(parts: Iterable[pd.DataFrame], made: Made, rows: np.ndarray) -> Iterator[pd.DataFrame]:
    """For each part of the tasks, rows of `critical_path` that it has; `at`: place in `made`."""
    first = 0
    for part in parts:
        at = np.flatnonzero((rows >= first) & (rows < first + len(part)) & (rows != _NONE))
        chosen = part.iloc[rows[at] - first].reset_index(drop=True)
        opened_s, made_s = made.opened_s[at], made.made_s[at]
        shares = np.diff(_edges(chosen, opened_s, made_s), axis=0)
        table = {
            "version": made.version[at],
            "opened_s": opened_s,
            "made_s": made_s,
            **{name: chosen[name] for name in ("task", "device", "device_class", "outcome")},
            **dict(zip(SHARES, shares, strict=True)),
            "at": at,
        }
        yield pd.DataFrame(table)
        first += len(part)


def _edges(task: pd.DataFrame, opened_s: np.ndarray, made_s: np.ndarray) -> np.ndarray:
    """(7, versions) times between which SHARES lie, within the version's own time."""
    sent, ended = task["dispatched_s"].to_numpy(), task["ended_s"].to_numpy()
    downloaded = sent + task["download_s"].to_numpy()
    uploading = ended - task["upload_s"].to_numpy()
    trained = np.minimum(downloaded + task["train_s"].to_numpy(), uploading)
    inner = np.stack([sent, downloaded, trained, uploading, ended])
    whole = np.concatenate([opened_s[None], np.clip(inner, opened_s, made_s), made_s[None]])
    return np.maximum.accumulate(whole, axis=0)
