"""Laws of energy: power times time, out of what batteries held and took in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from simfl.results.verify.subject import Tables, Unchecked, first, unequal

#: (a device's place in its group, start_s, end_s) -> joules that flow into its battery meanwhile
Joules = Callable[[int, float, float], float]

#: Joules that rounding makes of nothing, relative to what a battery holds.
_SLACK = 1e-6


def power(t: Tables) -> str | None:
    """Energies are watts times the seconds of phases."""
    tasks = t.tasks
    device = tasks["device"].to_numpy()
    watts = t.devices[["train_w", "radio_w"]].to_numpy()[device]
    radio_s = tasks["download_s"] + tasks["upload_s"]
    right = watts[:, 0] * tasks["train_s"] + watts[:, 1] * radio_s
    wrong = unequal(tasks["energy_j"], right.to_numpy())
    return first(tasks, wrong, "energy is not power times time")


def batteries(t: Tables) -> str | None:
    """No device spends more than its battery held and took in; what does not fit is lost."""
    if "battery_start_j" not in t.devices:
        return None
    taken_in = t.of_group([_charger(group, t.folder) for group in t.groups])
    turns = t.devices.groupby("group").cumcount().to_numpy()
    full_j = t.devices["battery_j"].to_numpy()
    held_j, since_s = t.devices["battery_start_j"].to_numpy().copy(), np.zeros(len(full_j))
    tasks = t.tasks.sort_values("task")
    names = ["device", "dispatched_s", "ended_s", "energy_j"]
    wrong = np.zeros(len(tasks), dtype=bool)
    for row, (i, sent_s, ended_s, spent_j) in enumerate(tasks[names].itertuples(index=False)):
        if full_j[i] == np.inf:
            continue
        begun_s = min(sent_s, ended_s)
        joules, turn = taken_in[i], turns[i]
        at_most_j = min(full_j[i], held_j[i] + joules(turn, since_s[i], begun_s))
        at_most_j += joules(turn, begun_s, ended_s)
        wrong[row] = not spent_j <= at_most_j + _SLACK * (1.0 + full_j[i])
        held_j[i], since_s[i] = min(full_j[i], max(0.0, at_most_j - spent_j)), ended_s
    return first(tasks, wrong, "more energy than the battery held and took in")


def _charger(group: Mapping[str, Any], folder: Path) -> Joules:
    """What flows into the group's batteries."""
    battery = group.get("battery", {})
    if "charger" not in battery:
        charge_w = float(battery.get("charge_w", 0.0))
        return lambda turn, start_s, end_s: charge_w * (end_s - start_s)
    path = folder / "traces" / f"{battery['charger']}.parquet"
    if not path.is_file():
        raise Unchecked(f"the run folder has no {path.name}, by which batteries are charged")
    recordings = [part for _, part in pd.read_parquet(path).groupby("trace", sort=True)]
    return lambda turn, start_s, end_s: (
        _since_zero(recordings[turn % len(recordings)], end_s)
        - _since_zero(recordings[turn % len(recordings)], start_s)
    )


def _since_zero(recording: pd.DataFrame, t: float) -> float:
    """Joules that a recording of a charger has given by then."""
    ends_s = np.append(0.0, recording["t_s"])
    given_j = np.append(0.0, np.cumsum(recording["charge_w"] * np.diff(ends_s)))
    periods, inside_s = divmod(t, ends_s[-1])
    return float(periods * given_j[-1] + np.interp(inside_s, ends_s, given_j))
