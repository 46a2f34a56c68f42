"""Presence by chance: alternating spells, exponential with means `mean_on_s` and `mean_off_s`.

Arrivals and departures are two independent Poisson processes; a device is present when the last
event was an arrival, and an arrival of a present device changes nothing. This is the alternating
renewal process with exponential spells, stationary at every t, and any moment can be looked up
without what came before it.
"""

from __future__ import annotations

from functools import lru_cache
from math import log, log2
from typing import Literal

import numpy as np

from simfl.fleet.table import Table, view
from simfl.streams import Streams
from simfl.units import Duration


class OnOffOptions(Table):
    """Present for `mean_on_s` and away for `mean_off_s` on average, in turns."""

    kind: Literal["onoff"] = "onoff"
    mean_on_s: Duration
    mean_off_s: Duration

    def part(self, streams: Streams, devices: range) -> OnOff:
        """This presence for a range of devices."""
        return OnOff(self, streams, devices)


class OnOff:
    """Independent on/off devices. Keeps the spell that each was last asked about.

    prefix: of the names of the random streams.
    """

    def __init__(
        self, options: OnOffOptions, streams: Streams, devices: range, prefix: str = ""
    ) -> None:
        self._devices = devices
        self._arrivals = Poisson(streams, f"{prefix}arrivals", options.mean_off_s)
        self._departures = Poisson(streams, f"{prefix}departures", options.mean_on_s)
        self._spells = np.full((3, len(devices)), np.nan)  # present, since, until
        self._on, self._since, self._until = (view(row) for row in self._spells)

    def spell(self, i: int, t: float) -> tuple[bool, float]:
        if not self._since[i] <= t < self._until[i]:
            self._find(i, t)
        return self._on[i] > 0.0, self._until[i]

    def mask(self, t: float) -> np.ndarray:
        on, since, until = self._spells
        for i in np.flatnonzero(~((since <= t) & (t < until))).tolist():
            self._find(i, t)
        return on > 0.0

    @property
    def nbytes(self) -> int:
        return self._spells.nbytes

    def _find(self, i: int, t: float) -> None:
        device = self._devices[i]
        came = self._arrivals.last(device, t)
        left = self._departures.last(device, t)
        ending = self._departures if came > left else self._arrivals
        self._on[i], self._since[i] = float(came > left), max(came, left)
        self._until[i] = ending.next(device, t)


class Poisson:
    """A Poisson process for each device, each a pure function of (seed, purpose, device).

    Time is cut into cells whose points are drawn by themselves. A cell's length is a power of
    two near two mean gaps, so that the borders are exact.
    """

    def __init__(self, streams: Streams, purpose: str, mean_s: float) -> None:
        self._streams, self._purpose, self._mean_s = streams, purpose, mean_s
        self._cell_s = 2.0 ** round(log2(2.0 * mean_s))
        self._points = lru_cache(4096)(self._draw)

    def last(self, device: int, t: float) -> float:
        """The last point up to t."""
        cell = int(t // self._cell_s)
        while True:
            for point in reversed(self._points(device, cell)):
                if point <= t:
                    return point
            cell -= 1

    def next(self, device: int, t: float) -> float:
        """The first point after t."""
        cell = int(t // self._cell_s)
        while True:
            for point in self._points(device, cell):
                if point > t:
                    return point
            cell += 1

    def _draw(self, device: int, cell: int) -> list[float]:
        """The points of one cell, ascending. Gaps are memoryless, so each cell begins afresh."""
        points: list[float] = []
        t, end = cell * self._cell_s, (cell + 1) * self._cell_s
        for block in range(256):  # of eight gaps each: far more than fit into a cell
            for u in self._streams.uniforms(self._purpose, device, cell * 256 + block):
                t -= self._mean_s * log(u)
                if t >= end:
                    return points
                points.append(t)
        return points
