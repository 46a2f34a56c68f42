"""What a run spent, and on what: device time, bytes, energy. Pure functions of the tasks.

*Useful* is what was spent on tasks whose update entered the model (outcome `applied`);
everything else is *waste*, tasks still in flight at the end included (cause `in_flight`). A
device-second is a second of download, training or upload; a pause costs none.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from simfl.messages import PHASES

#: Columns of `tasks` that these functions add up, by phase.
PHASE_S = {phase: f"{phase}_s" for phase in PHASES}
PHASE_BYTES = {"download": "down_bytes", "upload": "up_bytes"}


def spent(tasks: pd.DataFrame) -> pd.DataFrame:
    """Where device time and bytes went: one row for each outcome, cause and phase.

    Columns outcome, cause, phase, device_s, bytes. `phase` is what the time was spent on, not
    where the task ended. Nothing is counted twice or left out: the columns sum to all.
    """
    # as plain text: a sum by categories would list combinations that never occurred
    keys = [tasks["outcome"].astype(str), tasks["cause"].astype(str)]
    parts = []
    for phase in PHASES:
        moved = tasks[PHASE_BYTES[phase]] if phase in PHASE_BYTES else 0
        cost = pd.DataFrame({"device_s": tasks[PHASE_S[phase]], "bytes": moved})
        parts.append(cost.groupby(keys).sum().reset_index().assign(phase=phase))
    table = pd.concat(parts, ignore_index=True)
    table.loc[table["outcome"] == "in_flight", "cause"] = "in_flight"
    return table[["outcome", "cause", "phase", "device_s", "bytes"]]


def waste(tasks: pd.DataFrame) -> pd.DataFrame:
    """The rows of `spent` for tasks whose update never entered the model."""
    table = spent(tasks)
    return table[table["outcome"] != "applied"].reset_index(drop=True)


def wasted_share(table: pd.DataFrame) -> float:
    """Wasted device-seconds over all device-seconds, of what `spent` found; NaN if none."""
    total = float(table["device_s"].sum())
    wasted = float(table.loc[table["outcome"] != "applied", "device_s"].sum())
    return wasted / total if total > 0 else math.nan


def utilisation(tasks: pd.DataFrame, concurrency: int, horizon_s: float) -> float:
    """Busy device-seconds over concurrency times horizon; NaN for an empty horizon."""
    busy = sum(float(tasks[column].sum()) for column in PHASE_S.values())
    return busy / (concurrency * horizon_s) if horizon_s > 0 else math.nan


def energy(tasks: pd.DataFrame, column: str = "device_class") -> pd.DataFrame:
    """Joules for each value of a column: `energy_j`, and `wasted_j` of it."""
    wasted = tasks["energy_j"].where(tasks["outcome"] != "applied", 0.0)
    table = pd.DataFrame({"energy_j": tasks["energy_j"], "wasted_j": wasted})
    return table.groupby(tasks[column], observed=True).sum()


def traffic(tasks: pd.DataFrame, bin_s: float) -> pd.DataFrame:
    """Bytes moved in each bin of virtual time: columns time_s (its start), down_bytes, up_bytes.

    A transfer's bytes are spread evenly over its seconds: a download follows the dispatch, an
    upload ends with its task. The columns sum to all bytes.
    """
    sent, ended = tasks["dispatched_s"].to_numpy(), tasks["ended_s"].to_numpy()
    download_s, upload_s = tasks["download_s"].to_numpy(), tasks["upload_s"].to_numpy()
    down = _spread(sent, sent + download_s, tasks["down_bytes"], bin_s)
    up = _spread(ended - upload_s, ended, tasks["up_bytes"], bin_s)
    bins = max(len(down), len(up))
    table = {"time_s": np.arange(bins) * bin_s}
    for name, column in (("down_bytes", down), ("up_bytes", up)):
        table[name] = np.pad(column, (0, bins - len(column)))
    return pd.DataFrame(table)


def _spread(start: np.ndarray, stop: np.ndarray, nbytes: pd.Series, bin_s: float) -> np.ndarray:
    """Bytes per bin of transfers that move at an even pace from start to stop: (bins,)."""
    amounts = nbytes.to_numpy().astype(np.float64)
    first = np.floor(start / bin_s).astype(np.int64)
    pieces = np.floor(stop / bin_s).astype(np.int64) - first + 1
    owner = np.repeat(np.arange(len(start)), pieces)
    which = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces, pieces) + first[owner]
    inside = np.minimum(stop[owner], (which + 1) * bin_s) - np.maximum(start[owner], which * bin_s)
    length = (stop - start)[owner]
    portion = np.divide(inside, length, out=np.ones_like(inside), where=length > 0)
    return np.bincount(which, weights=amounts[owner] * portion)
