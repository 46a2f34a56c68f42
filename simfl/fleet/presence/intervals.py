"""Presence by recorded intervals, repeated for ever or not."""

from __future__ import annotations

from bisect import bisect_right
from math import inf

import numpy as np
from numpy.typing import ArrayLike

from simfl.errors import TraceError
from simfl.fleet.table import view


class Intervals:
    """n devices, each present in half-open intervals of its own within a period.

    offsets: (n + 1,) int; device i has the intervals offsets[i] to offsets[i + 1].
    starts, ends: seconds since the period began, ascending and apart for each device.
    period_s: the intervals come again after so long (inf: never), one number or (n,). Times are
        kept in multiples of 1/1024 s, so that adding periods to them is exact.
    Raises TraceError.
    """

    def __init__(
        self, offsets: np.ndarray, starts: np.ndarray, ends: np.ndarray, period_s: ArrayLike = inf
    ) -> None:
        self._offsets = np.asarray(offsets, dtype=np.int64)
        self._starts, self._ends = _grid(starts), _grid(ends)
        self._periods = np.broadcast_to(_grid(period_s), (len(self._offsets) - 1,)).copy()
        _check(self._offsets, self._starts, self._ends, self._periods)
        self._at = view(self._offsets)
        self._start, self._end, self._period = map(view, (self._starts, self._ends, self._periods))

    def spell(self, i: int, t: float) -> tuple[bool, float]:
        low, high = self._at[i], self._at[i + 1]
        if low == high:
            return False, inf
        period_s = self._period[i]
        base = 0.0 if period_s == inf else t // period_s * period_s  # when this period began
        k = bisect_right(self._start, t - base, low, high)
        if k > low and t < base + self._end[k - 1]:
            return True, base + self._joined(self._end[k - 1], low, period_s)
        return False, base + (self._start[k] if k < high else period_s + self._start[low])

    def mask(self, t: float) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            bases = np.where(np.isinf(self._periods), 0.0, t // self._periods * self._periods)
        local = np.repeat(t - bases, np.diff(self._offsets))
        running = (self._starts <= local) & (local < self._ends)
        before = np.concatenate([[0], np.cumsum(running)])[self._offsets]
        return np.asarray(before[1:] > before[:-1])

    def share(self) -> np.ndarray:
        """(n,) of the time that each device is there; 0 where nothing repeats."""
        before = np.concatenate([[0.0], np.cumsum(self._ends - self._starts)])[self._offsets]
        return np.asarray(np.diff(before) / self._periods)

    @property
    def nbytes(self) -> int:
        parts = (self._offsets, self._starts, self._ends, self._periods)
        return sum(part.nbytes for part in parts)

    def _joined(self, end: float, low: int, period_s: float) -> float:
        """An interval up to the period's end goes on with one that begins the next period."""
        if end < period_s or self._start[low] > 0.0:
            return end
        return inf if self._end[low] == end else end + self._end[low]


def _grid(seconds: ArrayLike) -> np.ndarray:
    return np.asarray(np.round(np.asarray(seconds, dtype=np.float64) * 1024.0) / 1024.0)


def _check(
    offsets: np.ndarray, starts: np.ndarray, ends: np.ndarray, periods_s: np.ndarray
) -> None:
    if not len(starts) == len(ends) == offsets[-1]:
        raise TraceError(f"{len(starts)} starts, {len(ends)} ends, {offsets[-1]} intervals")
    floor = np.concatenate([[0.0], np.nextafter(ends[:-1], inf)]) if len(ends) else ends
    floor[offsets[:-1][np.diff(offsets) > 0]] = 0.0  # each device's first
    stops = np.repeat(periods_s, np.diff(offsets))
    wrong = np.flatnonzero(~((floor <= starts) & (starts < ends) & (ends <= stops)))
    if len(wrong):
        k = wrong[0]
        i = int(np.searchsorted(offsets, k, side="right")) - 1
        raise TraceError(
            f"device {i}: the interval from {starts[k]:g} s to {ends[k]:g} s should end after its "
            f"start, begin after the one before it ended, and lie within 0 to {stops[k]:g} s"
        )
