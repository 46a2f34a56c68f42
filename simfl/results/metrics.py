"""Targets, staleness and participation: pure functions of the tables of a run.

A quantile is the smallest value that at least that share of the data does not exceed, so a
staleness quantile is a staleness that occurred.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from simfl import directions
from simfl.errors import InputError, did_you_mean
from simfl.results.counts import Counts

#: Attribute of a frame of evaluations: names of further metrics that are the better the lower.
LOWER = "lower_is_better"

#: Columns of `evaluations` that are no metrics.
_COUNTERS = ("time_s", "version", "tasks_ended", "down_bytes", "up_bytes")


def reached(evaluations: pd.DataFrame, **target: float) -> pd.Series | None:
    """The first evaluation that meets the target, or None if the run ended before one did.

    target: one metric and its value, `accuracy=0.8`; a loss or an error is met from above, any
    other metric from below (see `lower_is_better`). Raises InputError for an unknown metric, and
    for one that no evaluation has a number of: a bound on its time would be wrong.
    """
    if len(target) != 1:
        raise InputError(f"a target is one metric and its value, accuracy=0.8, not {target}")
    ((metric, value),) = target.items()
    if metric not in evaluations:
        hint = did_you_mean(metric, measures(evaluations))
        raise InputError(f"target {metric!r} was not evaluated {hint}")
    found = evaluations[metric]
    if len(found) and found.isna().all():
        has = [name for name in measures(evaluations) if evaluations[name].notna().any()]
        options = ", ".join(has) or "no measures"
        raise InputError(f"target {metric!r}: the run has no {metric} (it has: {options})")
    lower = lower_is_better(evaluations, metric)
    met = evaluations[found <= value if lower else found >= value]
    return None if met.empty else met.iloc[0]


def measures(evaluations: pd.DataFrame) -> list[str]:
    """Columns that are measures of the model, and not counters of the run."""
    return [str(name) for name in evaluations if name not in _COUNTERS]


def lower_is_better(evaluations: pd.DataFrame, metric: str) -> bool:
    """Which way a metric of a run is better: `simfl.directions`, or as the run records."""
    return directions.lower_is_better(metric, evaluations.attrs.get(LOWER, ()))


def time_to(evaluations: pd.DataFrame, **target: float) -> float:
    """Virtual seconds until an evaluation first meets the target; inf (censored) if none does.

    >>> table = pd.DataFrame({"time_s": [10.0, 20.0], "accuracy": [0.7, 0.9]})
    >>> time_to(table, accuracy=0.8), time_to(table, accuracy=0.95)
    (20.0, inf)
    """
    row = reached(evaluations, **target)
    return math.inf if row is None else float(row["time_s"])


def bytes_to(evaluations: pd.DataFrame, **target: float) -> float:
    """Bytes moved, down and up, until the target was first met; inf (censored) if never.

    >>> sums = {"down_bytes": [100, 200], "up_bytes": [10, 20]}
    >>> bytes_to(pd.DataFrame({"loss": [1.0, 0.5], **sums}), loss=0.6)
    220.0
    """
    row = reached(evaluations, **target)
    return math.inf if row is None else float(row["down_bytes"] + row["up_bytes"])


def versions_to(evaluations: pd.DataFrame, **target: float) -> float:
    """Server version that first met the target; inf (censored) if none did.

    >>> versions_to(pd.DataFrame({"version": [5, 10], "accuracy": [0.7, 0.9]}), accuracy=0.8)
    10.0
    """
    row = reached(evaluations, **target)
    return math.inf if row is None else float(row["version"])


def speedup(reference_s: float, other_s: float) -> float:
    """How many times sooner than the reference: reference over other, each from `time_to`.

    Censored times are inf: the result is inf if only the reference never met the target, 0 if
    only the other never did, NaN if neither did.

    >>> speedup(30.0, 10.0), speedup(30.0, math.inf)
    (3.0, 0.0)
    """
    if reference_s == other_s:
        return math.nan if math.isinf(other_s) else 1.0
    return reference_s / other_s if other_s > 0 else math.inf


def last_version(tasks: pd.DataFrame) -> int:
    """The newest version that a task has seen or made; 0 without tasks."""
    newest = tasks[["version", "applied_version"]].max().max()
    return 0 if pd.isna(newest) else int(newest)


def ages_in_flight(tasks: pd.DataFrame, final_version: int) -> pd.Series:
    """Age in versions, at the end of the run, of every task that was still in flight."""
    return final_version - tasks.loc[tasks["outcome"] == "in_flight", "version"]


def staleness_of(tasks: pd.DataFrame, final_version: int | None = None) -> pd.Series:
    """Staleness in versions of every applied task.

    With `final_version`, tasks in flight at the end count with their age so far: leaving them
    out hides the slowest devices.

    >>> outcomes = {"outcome": ["applied", "lost", "in_flight"], "version": [0, 0, 1]}
    >>> tasks = pd.DataFrame({**outcomes, "staleness": [2, None, None]})
    >>> staleness_of(tasks).tolist(), staleness_of(tasks, final_version=8).tolist()
    ([2], [2, 7])
    """
    known = tasks.loc[tasks["outcome"] == "applied", "staleness"].astype("int64")
    if final_version is None:
        return known
    return pd.concat([known, ages_in_flight(tasks, final_version)]).rename("staleness")


def spread(values: pd.Series) -> dict[str, float]:
    """count, mean, p50, p95 and max of whole numbers; NaN where there is nothing.

    >>> spread(pd.Series([0, 1, 5]))
    {'count': 3, 'mean': 2.0, 'p50': 1, 'p95': 5, 'max': 5}
    """
    return Counts.of(values).spread()


def staleness_summary(tasks: pd.DataFrame, final_version: int | None = None) -> dict[str, float]:
    """count, mean, p50, p95, max of staleness in versions; see `staleness_of`."""
    return spread(staleness_of(tasks, final_version))


def staleness_by(
    tasks: pd.DataFrame, column: str = "device_class", final_version: int | None = None
) -> pd.DataFrame:
    """`staleness_summary` for each value of a column; one row each, named by the value.

    tasks: the run's table.
    column: of `tasks`, by which rows are grouped.
    final_version: as in `staleness_of`.
    """
    values = staleness_of(tasks, final_version)
    groups = values.groupby(tasks.loc[values.index, column], observed=True)
    return pd.DataFrame({key: spread(group) for key, group in groups}).T.rename_axis(column)


def participation(tasks: pd.DataFrame, devices: int) -> np.ndarray:
    """(devices,) int64: how many applied updates each device contributed.

    >>> tasks = pd.DataFrame({"outcome": ["applied", "lost", "applied"], "device": [2, 1, 2]})
    >>> participation(tasks, devices=4).tolist()
    [0, 0, 2, 0]
    """
    took_part = tasks.loc[tasks["outcome"] == "applied", "device"].to_numpy()
    return np.bincount(took_part, minlength=devices)


def jain(counts: np.ndarray) -> float:
    """Jain's fairness index: 1 if all are equal, 1/n if one has everything (Jain et al., 1984).

    >>> jain(np.array([3, 3, 3, 3])), jain(np.array([12, 0, 0, 0]))
    (1.0, 0.25)
    """
    squares = float(np.square(counts, dtype=np.float64).sum())
    return float(counts.sum()) ** 2 / (len(counts) * squares) if squares > 0 else math.nan


def gini(counts: np.ndarray) -> float:
    """Gini coefficient: 0 if all are equal, 1 - 1/n if one has everything.

    >>> gini(np.array([3, 3, 3, 3])), gini(np.array([12, 0, 0, 0]))
    (0.0, 0.75)
    """
    ordered = np.sort(counts).astype(np.float64)
    n, total = len(ordered), float(ordered.sum())
    rank = np.arange(1, n + 1)
    return float(2 * (rank * ordered).sum() / (n * total) - (n + 1) / n) if total > 0 else math.nan
