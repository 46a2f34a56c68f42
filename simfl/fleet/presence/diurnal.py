"""Presence by day: one window each day, as of a phone that charges at night.

Virtual time 0 is midnight. A device's window of a day begins at `start_hour`, plus the device's
own shift (sigma `spread_hours`), plus that day's (sigma `jitter_hours`, at most 11 hours either
way), and lasts log-normally long with mean `mean_hours`, at most a day. Windows that meet join.
"""

from __future__ import annotations

from functools import lru_cache
from math import floor
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Interval, Lt

from simfl.fleet.table import Table, view
from simfl.streams import Streams
from simfl.units import DAY_S, HOUR_S, NonNegative, Positive

#: Days whose windows are kept. What happens at one moment asks for four at most.
_DAYS = 5


class DiurnalOptions(Table):
    """A window each day.

    sigma: natural-log spread of its length from day to day.
    """

    kind: Literal["diurnal"] = "diurnal"
    mean_hours: Annotated[Positive, Lt(24.0)] = 8.0
    start_hour: Annotated[float, Interval(ge=0.0, lt=24.0)] = 22.5
    spread_hours: NonNegative = 1.0
    jitter_hours: Annotated[float, Interval(ge=0.0, le=4.0)] = 1.0
    sigma: Annotated[float, Interval(ge=0.0, le=2.0)] = 0.4

    def part(self, streams: Streams, devices: range) -> Diurnal:
        """This presence for a range of devices."""
        return Diurnal(self, streams, devices)


class Diurnal:
    """Daily windows of a range of devices, drawn for all of them one day at a time."""

    def __init__(self, options: DiurnalOptions, streams: Streams, devices: range) -> None:
        self._options, self._streams, self._devices = options, streams, devices
        z = streams.generator("diurnal device", devices.start).standard_normal(len(devices))
        hours = (options.start_hour + options.spread_hours * z) % 24.0
        self._phases = (hours * HOUR_S).astype(np.float32)  # when a device's windows are due
        self._phase = view(self._phases)
        self._windows = lru_cache(_DAYS)(self._draw)

    def spell(self, i: int, t: float) -> tuple[bool, float]:
        end = self._end(i, t)
        if end == t:
            return False, self._next(i, t)
        while (later := self._end(i, end)) > end:
            end = later
        return True, end

    def mask(self, t: float) -> np.ndarray:
        today = floor(t / DAY_S + 0.5)
        present = np.zeros(len(self._devices), dtype=bool)
        for day in range(today - 2, today + 1):
            (starts, ends), _ = self._windows(day)
            midnight = np.float64(day * DAY_S)  # a plain float would be rounded to single
            present |= (midnight + starts <= t) & (t < midnight + ends)
        return present

    @property
    def nbytes(self) -> int:
        return self._phases.nbytes * (1 + 2 * _DAYS)

    def _end(self, i: int, t: float) -> float:
        """The latest end of the windows that hold t; t if none does."""
        latest = t
        day = self._day(i, t)
        for start, end in (self._window(i, day - 1), self._window(i, day)):
            if start <= t < end:
                latest = max(latest, end)
        return latest

    def _next(self, i: int, t: float) -> float:
        """The first start of a window after t."""
        day = self._day(i, t)
        start, _ = self._window(i, day)
        return start if start > t else self._window(i, day + 1)[0]

    def _day(self, i: int, t: float) -> int:
        """The day due within half a day of t: no later day's window has begun by then."""
        return floor((t - self._phase[i]) / DAY_S + 0.5)

    def _window(self, i: int, day: int) -> tuple[float, float]:
        _, (starts, ends) = self._windows(day)
        return day * DAY_S + starts[i], day * DAY_S + ends[i]

    def _draw(self, day: int) -> tuple[tuple[np.ndarray, ...], tuple[Any, ...]]:
        """When each device's window begins and ends, in seconds from this day's midnight."""
        o = self._options
        rng = self._streams.generator("diurnal day", self._devices.start, day)
        z = rng.standard_normal((len(self._devices), 2))
        shift_h = np.clip(o.jitter_hours * z[:, 0], -11.0, 11.0)
        length_h = o.mean_hours * np.exp(o.sigma * z[:, 1] - 0.5 * o.sigma**2)
        start = self._phases + HOUR_S * shift_h
        end = start + np.clip(HOUR_S * length_h, 1.0, DAY_S)
        window = start.astype(np.float32), end.astype(np.float32)
        return window, tuple(view(edge) for edge in window)
