"""Batteries: what tasks draw from, and who has enough for another one.

A level is booked when a task begins and when it ends, and follows from time in between: nothing
happens on the clock while a battery charges.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from simfl.fleet.table import view
from simfl.messages import Task

#: Levels this close to what is needed count as enough, lest rounding makes anybody wait.
_ENOUGH = 1.0 - 1e-9


class Batteries:
    """Joules in every device's battery; inf on mains."""

    def __init__(self, energy: Any) -> None:
        self._energy = energy
        traits = np.array([energy.battery(i) for i in range(len(energy.start_j))])
        self._full_j, self._charge_w, self._needed_j = traits.T.copy()
        self._levels_j = energy.start_j.copy()
        self._booked_s = np.zeros(len(self._levels_j))
        self._level_j, self._since_s = view(self._levels_j), view(self._booked_s)

    def level_j(self, device: int, t: float) -> float:
        """Joules at t, if the device has been idle since its last task."""
        full_j, charge_w, _ = self._energy.battery(device)
        idle_s: float = t - self._since_s[device]
        return min(full_j, self._level_j[device] + charge_w * idle_s)

    def begin(self, device: int, t: float) -> None:
        """A task begins at t."""
        self._level_j[device] = self.level_j(device, t)
        self._since_s[device] = t

    def end(self, task: Task, t: float) -> None:
        """The task that began last is over at t; what it drew is gone."""
        device = task.device
        full_j, *_ = self._energy.battery(device)
        left_j = self._level_j[device] + self._balance_j(task, t)
        self._level_j[device] = min(max(0.0, left_j), full_j)
        self._since_s[device] = t

    def stop(self, task: Task, work_s: list[float], t: float) -> tuple[int, float] | None:
        """(leg, share of it) at which the battery is empty, from the task's phase on; or None."""
        left_j = self._level_j[task.device] + self._balance_j(task, t)
        radio_w, train_w, charge_w = self._watts(task.device)
        draws_w = (radio_w - charge_w, train_w - charge_w, radio_w - charge_w)
        for leg in range(task.phase, len(work_s)):
            draw_j = draws_w[leg] * work_s[leg]
            if draw_j > left_j:
                return leg, max(0.0, left_j / draw_j)
            left_j -= draw_j
        return None

    def enough(self, t: float) -> np.ndarray:
        """(N,) bool: who has enough for a task, among those that are idle."""
        level_j = self._levels_j + self._charge_w * (t - self._booked_s)
        return np.asarray(np.minimum(level_j, self._full_j) >= self._needed_j * _ENOUGH)

    def enough_after(self, device: int, t: float) -> float:
        """When the idle device has enough for a task: t, later, or never (inf)."""
        _, charge_w, needed_j = self._energy.battery(device)
        lacks_j = needed_j * _ENOUGH - self.level_j(device, t)
        if lacks_j <= 0.0:
            return t
        return t + (needed_j - self.level_j(device, t)) / charge_w if charge_w else float("inf")

    def _balance_j(self, task: Task, t: float) -> float:
        """What flowed in since the task began, less what it has drawn."""
        radio_w, train_w, charge_w = self._watts(task.device)
        download_s, train_s, upload_s = task.phase_s
        in_j = charge_w * (t - self._since_s[task.device])
        return in_j - train_w * train_s - radio_w * (download_s + upload_s)

    def _watts(self, device: int) -> tuple[float, float, float]:
        energy = self._energy
        return energy.radio_w(device), energy.train_w(device), energy.battery(device)[1]


class Reachable:
    """Who can be given a task: present, with enough in the battery."""

    always = False

    def __init__(self, presence: Any, batteries: Batteries) -> None:
        self._presence, self._batteries = presence, batteries

    def is_on(self, device: int, t: float) -> bool:
        """True if the device can be given a task at t."""
        there: bool = self._presence.always or self._presence.is_on(device, t)
        return there and self._batteries.enough_after(device, t) <= t

    def on_after(self, device: int, t: float) -> float:
        """When it next can, if it stays idle: t, later, or never (inf)."""
        enough_s = self._batteries.enough_after(device, t)
        if self._presence.always:
            return enough_s
        back_s: float = self._presence.on_after(device, max(t, enough_s))
        return back_s

    def mask(self, t: float) -> np.ndarray:
        """(N,) bool."""
        enough = self._batteries.enough(t)
        return enough if self._presence.always else np.asarray(self._presence.mask(t) & enough)
