"""Batteries: what tasks draw from, and who has enough for another one.

A level rises by what the charger gives and falls by what the task at work draws, between empty
and full. It is booked whenever the draw changes (a phase ends, a device pauses, a task is over)
and follows from time in between, so idle devices need no events; the moment at which a level will
be zero is computed ahead, for every phase that a task begins, and watched by the clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import inf
from typing import Any, NamedTuple

import numpy as np

from simfl.fleet.table import view

#: A charge that is enough within this share of the time of day is enough now: rounding errors
#: must not decide which of two devices, equally charged on paper, can be given a task.
_HARDLY = 1e-11


class Work(NamedTuple):
    """A stretch of a task: it draws so many watts from start_s to end_s, but not in pauses."""

    start_s: float
    end_s: float
    watts: float


class Battery(NamedTuple):
    """One device's: its level at a moment, its capacity, and what flows in."""

    level_j: float
    since_s: float
    full_j: float
    inflow: Any  #: see `simfl.fleet.charging.Inflow`

    def at(self, t: float, draw_w: float = 0.0) -> Battery:
        """Later, after a steady draw."""
        level_j, since_s = self.level_j, self.since_s
        while since_s < t:
            charge_w, until_s = self.inflow.at(since_s)
            until_s = min(t, until_s)
            gained_j = (charge_w - draw_w) * (until_s - since_s)
            level_j, since_s = max(0.0, min(self.full_j, level_j + gained_j)), until_s
        return self._replace(level_j=level_j, since_s=t)

    def empty_s(self, draw_w: float, end_s: float = inf) -> float:
        """When a steady draw has emptied it; inf, or a moment after end_s, if it lasts till then.

        A level that has not fallen from one period of the inflow to the next never will.
        """
        here, turn_s, left_j = self, self.since_s + self.inflow.period_s, self.level_j
        while True:
            charge_w, until_s = self.inflow.at(here.since_s)
            falls_w = draw_w - charge_w
            empty_s = here.since_s + here.level_j / falls_w if falls_w > 0.0 else inf
            if empty_s < until_s or until_s >= end_s:
                return empty_s
            here = here.at(until_s, draw_w)
            if until_s >= turn_s:
                if here.level_j >= left_j:
                    return inf
                turn_s, left_j = until_s + self.inflow.period_s, here.level_j


class Batteries:
    """Joules in every device's battery; inf on mains."""

    __snapshot__ = (
        "_levels_j",
        "_booked_s",
        "_enough_s",
    )  #: kept by checkpoints

    def __init__(self, energy: Any, presence: Any) -> None:
        self._energy, self._presence = energy, presence
        traits = np.array([energy.battery(i) for i in range(len(energy.start_j))])
        self._full_j, self._charge_w, self._needed_j = traits.T.copy()
        self._levels_j = energy.start_j.copy()
        self._booked_s = np.zeros(len(self._levels_j))
        self._level_j, self._since_s = view(self._levels_j), view(self._booked_s)
        #: (N,) when it has enough for a task, if it stays idle; NaN where the inflow is steady.
        self._enough_s = np.full(len(self._levels_j), np.nan)
        self._moving = [i for i, full_j in enumerate(self._full_j) if self._moves(i, full_j)]
        for device in self._moving:
            self.look_ahead(device)

    def join(self, like: int, start_j: float, t: float) -> None:
        """One more device, with a battery like that of another device; it holds so much at t."""
        full_j, charge_w, needed_j = self._energy.battery(like)
        self._full_j = np.append(self._full_j, full_j)
        self._charge_w = np.append(self._charge_w, charge_w)
        self._needed_j = np.append(self._needed_j, needed_j)
        self._levels_j = np.append(self._levels_j, start_j)
        self._booked_s = np.append(self._booked_s, t)
        self._enough_s = np.append(self._enough_s, np.nan)
        self._level_j, self._since_s = view(self._levels_j), view(self._booked_s)
        if self._moves(like, full_j):
            self._moving.append(len(self._levels_j) - 1)

    def level_j(self, device: int, t: float) -> float:
        """Joules at t, if the device has been idle since it was booked."""
        return self._of(device).at(t).level_j

    def watts(self, device: int, phase: int) -> float:
        """What a task draws in a phase (1 trains, else the radio is on), pauses apart."""
        return self._energy.train_w(device) if phase == 1 else self._energy.radio_w(device)

    def book(self, device: int, work: Work, *, pauses: bool) -> None:
        """This work has been done, the part of it that was booked before excepted."""
        battery = self._of(device)
        for start_s, end_s in self._stretches(device, work, pauses):
            battery = battery.at(start_s).at(end_s, work.watts)
        self._level_j[device], self._since_s[device] = battery.level_j, battery.since_s
        self.look_ahead(device)

    def empty_s(self, device: int, ahead: Iterable[Work], *, pauses: bool) -> float:
        """When the battery is empty if all this is done; inf if it lasts.

        A stretch that ends with the last joule is done.
        """
        battery = self._of(device)
        if battery.full_j == inf:
            return inf
        for work in ahead:
            for start_s, end_s in self._stretches(device, work, pauses):
                battery = battery.at(start_s)
                empty_s = battery.empty_s(work.watts, end_s)
                if empty_s < end_s:
                    return empty_s
                battery = battery.at(end_s, work.watts)
        return inf

    def drained(self, device: int, t: float) -> None:
        """The battery is empty, not empty but for a rounding error."""
        self._level_j[device], self._since_s[device] = 0.0, t
        self.look_ahead(device)

    def enough(self, t: float) -> np.ndarray:
        """(N,) bool: who has enough for a task, among those that are idle."""
        lacks_j = self._needed_j - self._levels_j
        with np.errstate(all="ignore"):  # without a charger: never
            later = self._booked_s + lacks_j / self._charge_w <= _latest(t)
            if self._moving:
                later |= self._enough_s <= _latest(t)
        return np.asarray((lacks_j <= 0.0) | later)

    def enough_after(self, device: int, t: float) -> float:
        """When the idle device has enough for a task: t, later, or never (inf)."""
        _, charge_w, needed_j = self._energy.battery(device)
        lacks_j = needed_j - self._level_j[device]
        if lacks_j <= 0.0:
            return t
        enough_s: float = self._since_s[device] + lacks_j / charge_w if charge_w else inf
        if self._energy.charger(device) is not None:
            enough_s = float(self._enough_s[device])
        return enough_s if enough_s > _latest(t) else t

    def look_ahead(self, device: int) -> None:
        """Computes, where the inflow moves, when the device has enough for a task."""
        charger = self._energy.charger(device)
        if charger is not None:
            lacks_j = self._energy.battery(device)[2] - self._level_j[device]
            since_s = self._since_s[device]
            gained_s = charger.gained_s(since_s, lacks_j) if lacks_j > 0.0 else since_s
            self._enough_s[device] = gained_s

    def _of(self, device: int) -> Battery:
        full_j = self._energy.battery(device)[0]
        return Battery(
            self._level_j[device], self._since_s[device], full_j, self._energy.inflow(device)
        )

    def _moves(self, device: int, full_j: float) -> bool:
        return full_j < inf and self._energy.charger(device) is not None

    def _stretches(self, device: int, work: Work, pauses: bool) -> Iterator[tuple[float, float]]:
        """When the work is under way, from what is booked on: all the time, or while present."""
        start_s, end_s = max(work.start_s, self._since_s[device]), work.end_s
        while start_s < end_s:
            if not pauses:
                yield start_s, end_s
                return
            start_s = self._presence.on_after(device, start_s)
            if start_s < end_s:
                off_s = min(self._presence.off_after(device, start_s), end_s)
                yield start_s, off_s
                start_s = off_s


def _latest(t: float) -> float:
    return t + _HARDLY * max(1.0, t)


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
        if self._presence.always or enough_s == inf:
            return enough_s
        back_s: float = self._presence.on_after(device, max(t, enough_s))
        return back_s

    def mask(self, t: float) -> np.ndarray:
        """(N,) bool."""
        enough = self._batteries.enough(t)
        return enough if self._presence.always else np.asarray(self._presence.mask(t) & enough)
