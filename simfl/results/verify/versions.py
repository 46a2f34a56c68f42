"""Laws of versions: what entered them, how stale it was, and what a task carried."""

from __future__ import annotations

import numpy as np
import pandas as pd

from simfl.results.verify.subject import SLACK_S, Tables, apart, first, late, unequal


def in_order(t: Tables) -> str | None:
    """Versions are numbered in the order of time."""
    for name, frame in (("versions", t.versions), ("evaluations", t.evaluations)):
        if not (np.diff(frame["time_s"]) >= 0).all() or frame["time_s"].isna().any():
            return f"time runs backwards in {name}"
    if not (t.versions["step_s"] >= 0).all():
        return "a step took less than no time"
    numbers = t.versions["version"].to_numpy()
    return None if (numbers == np.arange(1, len(numbers) + 1)).all() else "versions have gaps"


def at_dispatch(t: Tables) -> str | None:
    """At one instant either side of a new version."""
    tasks = t.tasks if t.finished else t.tasks[t.tasks["version"] <= len(t.versions)]
    version, sent_s = tasks["version"].to_numpy(), tasks["dispatched_s"].to_numpy()
    if len(version) and not 0 <= version.min() <= version.max() <= len(t.versions):
        return "a task carries a version that was never made"
    wrong = ~(t.made_s[version] <= sent_s + SLACK_S)
    if not t.queues:
        wrong |= ~(t.made_s[version + 1] >= sent_s - SLACK_S)
    return first(tasks, wrong, "a task does not carry the version of its dispatch")


def staleness(t: Tables) -> str | None:
    """In versions and in seconds, of what was used or is in flight, and of nothing else."""
    applied = t.applied
    lag = applied["applied_version"] - 1 - applied["version"]
    differs = (lag != applied["staleness"]).to_numpy(bool, na_value=True)
    if differs.any():
        return first(applied, differs, "staleness is not the lag")
    return _used(t) or _unused(t)


def _used(t: Tables) -> str | None:
    applied = t.applied
    made = applied["applied_version"].to_numpy(np.int64)
    if len(made) and not 1 <= made.min() <= made.max():
        return "an update entered a version that there is not"
    known = made <= len(t.versions)  # of an unfinished run, versions may be behind
    if t.finished and not known.all():
        return first(applied, ~known, "an update entered a version that there is not")
    applied, used_s = applied[known], t.made_s[made[known]]
    asked_s = used_s - np.concatenate(([0.0], t.versions["step_s"].to_numpy()))[made[known]]
    early = late(applied["ended_s"], asked_s)
    wrong = apart(applied["staleness_s"], used_s - applied["dispatched_s"].to_numpy())
    return first(applied, early, "an update was used before it arrived") or first(
        applied, wrong, "staleness_s is not the time from dispatch to use"
    )


def _unused(t: Tables) -> str | None:
    others = t.tasks[t.tasks["outcome"] != "applied"]
    flying = (others["outcome"] == "in_flight").to_numpy()
    age_s = others["ended_s"].to_numpy() - others["dispatched_s"].to_numpy()
    wrong = flying & apart(others["staleness_s"], age_s)
    if wrong.any():
        return first(others, wrong, "staleness_s is not the time in flight")
    filled = others[["staleness", "staleness_s"]].notna().any(axis=1).to_numpy() & ~flying
    entered = others["applied_version"].notna().to_numpy()
    return first(others, filled, "staleness of what was not used") or first(
        others, entered, "entered a version without being applied"
    )


def conserved(t: Tables) -> str | None:
    """Each version ages every task that was sent before it and is used or ends after it."""
    tasks = t.tasks
    last = len(t.versions)
    used = tasks["applied_version"].fillna(last + 1).astype("int64")
    counted = tasks["outcome"].isin(["applied", "in_flight"])
    ages = (used - 1 - tasks["version"])[counted]
    recorded = tasks.loc[counted, "staleness"]
    if recorded.isna().any():
        return "an age in versions is missing"
    return first(
        tasks[counted], (recorded != ages).to_numpy(bool), "an age is not the versions' count"
    )


def contributions(t: Tables) -> str | None:
    """How many, how stale at the mean and at most, and of what weight."""
    known = t.applied[["applied_version", "staleness", "weight"]].astype(float)
    by = known.groupby("applied_version")
    numbers = t.versions["version"].to_numpy()
    found = pd.DataFrame({"updates": by.size()}).reindex(numbers)
    counted = found["updates"].fillna(0).to_numpy()
    recorded = t.versions["updates"].to_numpy()
    wrong = recorded != counted if t.finished else counted > recorded
    if wrong.any():
        return f"version {numbers[wrong][0]} counts updates that the tasks do not show"
    whole = recorded == counted
    for column, values in {
        "staleness_mean": by["staleness"].mean(),
        "staleness_max": by["staleness"].max(),
        "weight_sum": by["weight"].sum(),
    }.items():
        right = values.reindex(numbers).to_numpy(float)
        if column == "weight_sum":
            right = np.nan_to_num(right)  # of no updates
        wrong = unequal(t.versions[column].astype(float), right) & whole
        if wrong.any():
            return f"{column} of version {numbers[wrong][0]} is not that of its updates"
    return None
