"""What each version waited for: the last task to end before it, and that task's phases.

A synchronous round lasts as long as its slowest device; an asynchronous step as long as it takes
the next update to come. Either way the time between two versions is the history of one task.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

#: Where the seconds between two versions went, in order of time.
SHARES = ("idle_s", "download_s", "train_s", "pause_s", "upload_s", "held_s")

_SLACK = 1 + 1e-12  # a version's time less its step may round to just below the arrival


def critical_path(tasks: pd.DataFrame, versions: pd.DataFrame) -> pd.DataFrame:
    """One row per version: the task that it waited for and where the seconds went.

    Columns version, opened_s (when the version before was made), made_s, task, device,
    device_class, outcome, and SHARES, which sum to made_s - opened_s: `idle_s` before the task
    was sent, its phases, `pause_s` away, `held_s` from its end to the version (the server's own
    work, a deadline). A task under way before opened_s counts from then on.
    """
    ended = tasks[tasks["outcome"] != "in_flight"].sort_values(["ended_s", "task"])
    made_s = versions["time_s"].to_numpy(np.float64)
    opened_s = np.concatenate([np.zeros(min(1, len(made_s))), made_s[:-1]])
    decided_s = (made_s - versions["step_s"].to_numpy(np.float64)) * _SLACK
    last = np.searchsorted(ended["ended_s"], decided_s, side="right") - 1
    known = last >= 0
    chosen = ended.iloc[last[known]].reset_index(drop=True)
    shares = np.diff(_edges(chosen, opened_s[known], made_s[known]), axis=0)
    table = {
        "version": versions["version"].to_numpy()[known],
        "opened_s": opened_s[known],
        "made_s": made_s[known],
        **{name: chosen[name] for name in ("task", "device", "device_class", "outcome")},
        **dict(zip(SHARES, shares, strict=True)),
    }
    return pd.DataFrame(table)


def _edges(task: pd.DataFrame, opened_s: np.ndarray, made_s: np.ndarray) -> np.ndarray:
    """(7, versions) times between which SHARES lie, within the version's own time."""
    sent, ended = task["dispatched_s"].to_numpy(), task["ended_s"].to_numpy()
    downloaded = sent + task["download_s"].to_numpy()
    uploading = ended - task["upload_s"].to_numpy()
    trained = np.minimum(downloaded + task["train_s"].to_numpy(), uploading)
    inner = np.stack([sent, downloaded, trained, uploading, ended])
    whole = np.concatenate([opened_s[None], np.clip(inner, opened_s, made_s), made_s[None]])
    return np.maximum.accumulate(whole, axis=0)
