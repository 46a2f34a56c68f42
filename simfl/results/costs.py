"""What a run spent, and on what: device time, bytes, energy. Pure functions of the tasks.

*Useful* is what was spent on tasks whose update entered the model (outcome `applied`) and on
evaluations of it on devices (`evaluated`); everything else is *waste*, tasks still in flight at
the end included (cause `in_flight`). A device-second is a second of download, training or upload;
a pause costs none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from simfl.messages import PHASES
from simfl.results.tables import OUTCOMES, USEFUL

#: Outcomes whose cost is waste.
WASTED = tuple(outcome for outcome in OUTCOMES if outcome not in USEFUL)

#: Columns of `tasks` that these functions add up, by phase.
PHASE_S = {phase: f"{phase}_s" for phase in PHASES}
PHASE_BYTES = {"download": "down_bytes", "upload": "up_bytes"}

#: Columns that `spent` looks at, and `traffic`.
SPENT = ("outcome", "cause", *PHASE_S.values(), *PHASE_BYTES.values())
TRAFFIC = ("dispatched_s", "ended_s", "download_s", "upload_s", *PHASE_BYTES.values())


def spent(tasks: pd.DataFrame) -> pd.DataFrame:
    """Where device time and bytes went: one row for each outcome, cause and phase.

    Columns outcome, cause, phase, device_s, bytes. `phase` is what the time was spent on, not
    where the task ended. Nothing is counted twice or left out: the columns sum to all.
    """
    columns = [*PHASE_S.values(), *PHASE_BYTES.values()]
    sums = tasks.groupby(["outcome", "cause"], observed=True)[columns].sum()
    outcome, cause = (
        sums.index.get_level_values(level).astype(str).to_numpy(object)
        for level in ("outcome", "cause")
    )
    cause = np.where(outcome == "in_flight", "in_flight", cause)
    still = np.zeros(len(sums), np.int64)
    moved = [sums[PHASE_BYTES[phase]] if phase in PHASE_BYTES else still for phase in PHASES]
    return pd.DataFrame(
        {
            "outcome": np.tile(outcome, len(PHASES)).astype(str),
            "cause": np.tile(cause, len(PHASES)).astype(str),
            "phase": np.repeat(PHASES, len(sums)).astype(str),
            "device_s": np.concatenate([sums[PHASE_S[phase]] for phase in PHASES]),
            "bytes": np.concatenate(moved),
        }
    )


def united(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """What `spent` found in one or more parts of the tasks, as it finds it in all of them."""
    if len(tables) == 1:
        return tables[0]
    keys = ["outcome", "cause", "phase"]
    sums = pd.concat(tables).groupby(keys, sort=False)[["device_s", "bytes"]].sum()
    return sums.reset_index()


def waste(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of what `spent` found for tasks that were neither applied nor evaluated."""
    return table[table["outcome"].isin(WASTED)].reset_index(drop=True)


def wasted_share(table: pd.DataFrame, outcomes: Sequence[str] = WASTED) -> float:
    """Device-seconds of these outcomes over all, of what `spent` found; NaN if there are none."""
    total = float(table["device_s"].sum())
    wasted = float(table.loc[table["outcome"].isin(outcomes), "device_s"].sum())
    return wasted / total if total > 0 else math.nan


def utilisation(tasks: pd.DataFrame, concurrency: int, horizon_s: float) -> float:
    """Busy device-seconds over concurrency times horizon; NaN for an empty horizon.

    tasks: the run's table.
    concurrency: tasks that could be in flight.
    horizon_s: virtual seconds.

    >>> tasks = pd.DataFrame({"download_s": [1.0], "train_s": [6.0], "upload_s": [3.0]})
    >>> utilisation(tasks, concurrency=2, horizon_s=10.0)
    0.5
    """
    busy = sum(float(tasks[column].sum()) for column in PHASE_S.values())
    return busy / (concurrency * horizon_s) if horizon_s > 0 else math.nan


def energy(tasks: pd.DataFrame, column: str = "device_class") -> pd.DataFrame:
    """Joules for each value of a column: `energy_j`, and `wasted_j` of it."""
    wasted = tasks["energy_j"].where(tasks["outcome"].isin(WASTED), 0.0)
    table = pd.DataFrame({"energy_j": tasks["energy_j"], "wasted_j": wasted})
    return table.groupby(tasks[column], observed=True).sum()


def traffic(tasks: pd.DataFrame, bin_s: float, last_s: float | None = None) -> pd.DataFrame:
    """Bytes moved in each bin of virtual time: columns time_s (its start), down_bytes, up_bytes.

    A transfer's bytes are spread evenly over its seconds: a download follows the dispatch, an
    upload ends with its task. The columns sum to all bytes.

    tasks: of the run, or a part of them.
    last_s: when the last bin ends; by default with the last of the tasks.
    """
    sent, ended = tasks["dispatched_s"].to_numpy(), tasks["ended_s"].to_numpy()
    download_s, upload_s = tasks["download_s"].to_numpy(), tasks["upload_s"].to_numpy()
    last_s = ended.max(initial=0.0) if last_s is None else last_s
    edges = np.arange(max(1, math.ceil(last_s / bin_s)) + 1) * bin_s
    edges[-1] = max(edges[-1], last_s)  # the last bin holds the last instant
    down = _spread(sent, sent + download_s, tasks["down_bytes"].to_numpy(), edges)
    up = _spread(ended - upload_s, ended, tasks["up_bytes"].to_numpy(), edges)
    return pd.DataFrame({"time_s": edges[:-1], "down_bytes": down, "up_bytes": up})


def _spread(
    start: np.ndarray, stop: np.ndarray, nbytes: np.ndarray, edges: np.ndarray
) -> np.ndarray:
    """Bytes between edges, (bins,), of transfers that move at an even pace from start to stop."""
    bins = len(edges) - 1
    first = np.clip(np.searchsorted(edges, start, side="right") - 1, 0, bins - 1)
    pieces = np.clip(np.searchsorted(edges, stop, side="right") - 1, first, bins - 1) - first + 1
    owner = np.repeat(np.arange(len(start)), pieces)
    which = np.arange(len(owner)) - np.repeat(np.cumsum(pieces) - pieces - first, pieces)
    inside = np.minimum(stop[owner], edges[which + 1]) - np.maximum(start[owner], edges[which])
    length = (stop - start)[owner]
    portion = np.divide(inside, length, out=np.ones_like(inside), where=length > 0)
    return np.bincount(which, weights=nbytes[owner] * portion, minlength=bins)
