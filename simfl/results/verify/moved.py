"""Laws of bytes: each way in its phase, and running totals that are those of the tasks."""

from __future__ import annotations

import numpy as np
import pandas as pd

from simfl.messages import FRAME_BYTES, PHASES
from simfl.results.tables import DELIVERED
from simfl.results.verify.subject import SLACK_S, Tables, first


def in_phase(t: Tables) -> str | None:
    """Bytes moved in the phases that moved them, and no others."""
    tasks = t.tasks
    delivered = tasks["outcome"].isin(DELIVERED)
    least = tasks.loc[delivered, ["down_bytes", "up_bytes"]].min().min()
    if delivered.any() and least < FRAME_BYTES:
        return "a delivered task moved less than a frame"
    early = tasks["phase"].isin(PHASES[:2]) & (tasks["up_bytes"] > 0)
    short = (tasks["phase"] != PHASES[0]) & (tasks["down_bytes"] < FRAME_BYTES)
    return first(tasks, early, "bytes went up before the upload began") or first(
        tasks, short, "trained on less than a frame"
    )


def so_far(t: Tables) -> str | None:
    """Totals lie between what had been moved for certain and what was on its way at most.

    What ends or begins at the very instant may be on either side of it.
    """
    tasks, now_s = t.tasks, t.evaluations["time_s"].to_numpy()
    ended_s = tasks["ended_s"].to_numpy()
    up_s = (tasks["dispatched_s"] + tasks["download_s"] + tasks["train_s"]).to_numpy()
    down_s = np.where(tasks["phase"] == PHASES[0], ended_s, _download_by(t))
    spans = {
        "down_bytes": (tasks["dispatched_s"].to_numpy(), down_s, tasks["down_bytes"].to_numpy()),
        "up_bytes": (up_s, ended_s, tasks["up_bytes"].to_numpy()),
        "tasks_ended": (ended_s, ended_s, (tasks["outcome"] != "in_flight").to_numpy(np.int64)),
    }
    for column, (first_s, last_s, counts) in spans.items():
        recorded = t.evaluations[column].to_numpy()
        least = _by(last_s, counts, now_s - SLACK_S)
        most = _by(first_s, counts, now_s + SLACK_S)
        if ((recorded < least) | ((recorded > most) & t.finished)).any():
            return f"{column} of the evaluations is not what the tasks say"
        if (np.diff(recorded) < 0).any():
            return f"{column} of the evaluations falls"
    return None


def _download_by(t: Tables) -> pd.Series:
    """When a task's download had ended at the latest, if it did."""
    tasks = t.tasks
    straight_s = tasks["dispatched_s"] + tasks["download_s"]
    latest_s = tasks["ended_s"] - tasks["train_s"] - tasks["upload_s"]
    return straight_s.where(~tasks["device"].isin(t.waiting), latest_s)


def _by(moments_s: np.ndarray, counts: np.ndarray, now_s: np.ndarray) -> np.ndarray:
    """The sum of the counts up to each of these moments."""
    order = np.argsort(moments_s, kind="stable")
    totals = np.concatenate(([0], np.cumsum(counts[order])))
    return np.asarray(totals[np.searchsorted(moments_s[order], now_s, "right")])
