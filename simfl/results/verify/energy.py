"""Laws of energy: power times time, out of what batteries held and took in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from simfl.results.verify.subject import Tables, first, unequal

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
    charge_w = t.of_group([_charge_w(group) for group in t.groups])
    full_j = t.devices["battery_j"].to_numpy()
    held_j, since_s = t.devices["battery_start_j"].to_numpy().copy(), np.zeros(len(full_j))
    tasks = t.tasks.sort_values("task")
    names = ["device", "dispatched_s", "ended_s", "energy_j"]
    wrong = np.zeros(len(tasks), dtype=bool)
    for row, (i, sent_s, ended_s, spent_j) in enumerate(tasks[names].itertuples(index=False)):
        if full_j[i] == np.inf:
            continue
        begun_s = min(sent_s, ended_s)
        at_most_j = min(full_j[i], held_j[i] + charge_w[i] * (begun_s - since_s[i]))
        at_most_j += charge_w[i] * (ended_s - begun_s)
        wrong[row] = not spent_j <= at_most_j + _SLACK * (1.0 + full_j[i])
        held_j[i], since_s[i] = min(full_j[i], max(0.0, at_most_j - spent_j)), ended_s
    return first(tasks, wrong, "more energy than the battery held and took in")


def _charge_w(group: Mapping[str, Any]) -> float:
    return float(group.get("battery", {}).get("charge_w", 0.0))
