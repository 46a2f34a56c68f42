"""Waste by cause and phase, energy by phase, and faults that never happened."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from simfl.messages import PHASES
from simfl.results.costs import PHASE_S

#: Column of `devices` -> the cause that it should have brought about, and what that is called.
_FAULTS = {
    "drop_probability": ("drop-out", "dropped out"),
    "suspend_probability": ("suspended", "was suspended"),
    "hazard_per_hour": ("hazard", "was lost to its hazard"),
}


#: Columns of `devices` that are read here.
AT_RISK = ["train_w", "radio_w", *_FAULTS, "retries"]


def by_cause(wasted: pd.DataFrame) -> dict[str, dict[str, dict[str, float]]]:
    """What was spent in vain, as cause -> phase -> {device_s, bytes}; what is 0 is left out.

    A discarded or cancelled task without a cause counts under its outcome. wasted: rows of
    `costs.waste`.
    """
    named = wasted["cause"].where(wasted["cause"] != "", wasted["outcome"])
    spent = wasted.groupby([named, wasted["phase"]])[["device_s", "bytes"]].sum()
    found: dict[str, dict[str, dict[str, float]]] = {}
    for (cause, phase), device_s, moved in spent.itertuples(name=None):
        if device_s or moved:
            numbers = {"device_s": float(device_s), "bytes": int(moved)}
            found.setdefault(cause, {})[phase] = numbers
    return {
        cause: {phase: phases[phase] for phase in PHASES if phase in phases}
        for cause, phases in sorted(found.items())
    }


def energy_by_phase(tasks: pd.DataFrame, devices: pd.DataFrame) -> dict[str, float]:
    """Joules spent in each phase; they add up to `energy_j`. Empty if no watts are known."""
    if not {"train_w", "radio_w"} <= set(devices.columns):
        return {}
    watts = {"train": "train_w", "download": "radio_w", "upload": "radio_w"}
    device = tasks["device"].to_numpy()
    return {
        phase: float((devices[watts[phase]].to_numpy()[device] * tasks[PHASE_S[phase]]).sum())
        for phase in PHASES
    }


def never_fired(tasks: pd.DataFrame, devices: pd.DataFrame) -> list[str]:
    """Faults that devices of this run have and of which none of their tasks died.

    Retries may heal every drop-out, so devices with retries are not asked about theirs.
    """
    return silent(risks(tasks, devices))


def risks(tasks: pd.DataFrame, devices: pd.DataFrame) -> pd.DataFrame:
    """One row for each fault: `tasks` that ended on devices that have it, and those `struck`.

    Rows of several parts of the tasks add up. The index has the fault and how many devices have it.
    """
    ended = tasks[tasks["outcome"] != "in_flight"]
    rows = {}
    for column, (cause, _) in _FAULTS.items():
        have = _at_risk(devices, column)
        if have.any():
            theirs = ended[have[ended["device"].to_numpy()]]
            struck = int((theirs["cause"] == cause).sum())
            rows[column, int(have.sum())] = [len(theirs), struck]
    return pd.DataFrame.from_dict(rows, orient="index", columns=["tasks", "struck"], dtype="int64")


def silent(found: pd.DataFrame) -> list[str]:
    """A sentence for each fault of `risks` that struck no task."""
    return [
        f"{column} is set for {have} devices, but none of their {tasks} tasks {_FAULTS[column][1]}"
        for (column, have), tasks, struck in found.itertuples(name=None)
        if not struck
    ]


def _at_risk(devices: pd.DataFrame, column: str) -> np.ndarray:
    if column not in devices:
        return np.zeros(len(devices), dtype=bool)
    values: Any = devices[column].to_numpy()
    at_risk = np.asarray((values > 0) & np.isfinite(values))
    if column == "drop_probability" and "retries" in devices:
        at_risk &= devices["retries"].to_numpy() == 0
    return at_risk
