"""Numbers that change with time: step functions, repeated for ever."""

from __future__ import annotations

from bisect import bisect_right
from math import inf

import numpy as np

from simfl.errors import TraceError
from simfl.fleet.table import view

#: Times are kept in multiples of 1/1024 s, so that adding periods to them is exact.
TICKS = 1024.0


class Series:
    """n step functions, each repeated after its own last step.

    offsets: (n + 1,) int; row i has the steps offsets[i] to offsets[i + 1].
    ends: when each step ends, in seconds since the row began, ascending.
    values: one for each step.
    Raises TraceError.
    """

    def __init__(self, offsets: np.ndarray, ends: np.ndarray, values: np.ndarray) -> None:
        self._offsets = np.asarray(offsets, dtype=np.int64)
        self._ends = np.round(np.asarray(ends, dtype=np.float64) * TICKS) / TICKS
        self._values = np.asarray(values, dtype=np.float64)
        _check(self._offsets, self._ends, self._values)
        self._at = view(self._offsets)
        self._end, self._value = view(self._ends), view(self._values)

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def at(self, row: int, t: float) -> tuple[float, float]:
        """(value, until_s): what holds at t, and until when; until_s > t (inf: for ever)."""
        low, high = self._at[row], self._at[row + 1]
        if high - low == 1:
            return self._value[low], inf
        period_s = self._end[high - 1]
        base_s = t // period_s * period_s
        k = bisect_right(self._end, t - base_s, low, high)
        if k == high:  # the floor above was one period short
            k, base_s = low, base_s + period_s
        return self._value[k], base_s + self._end[k]

    def periods_s(self) -> np.ndarray:
        """(n,) seconds after which each row repeats."""
        return self._ends[self._offsets[1:] - 1]

    def means(self) -> np.ndarray:
        """(n,) averages over time."""
        starts = np.concatenate([[0.0], self._ends[:-1]])
        starts[self._offsets[:-1]] = 0.0
        area = np.add.reduceat(self._values * (self._ends - starts), self._offsets[:-1])
        return np.asarray(area / self.periods_s())

    def scaled(self, factors: np.ndarray) -> Series:
        """The same steps with the values of each row multiplied. factors: (n,)."""
        each = np.repeat(factors, np.diff(self._offsets))
        return Series(self._offsets, self._ends, self._values * each)


def on_the_grid(seconds: np.ndarray) -> np.ndarray:
    """Seconds as multiples of a tick: shifts that keep a series exact."""
    return np.asarray(np.floor(np.asarray(seconds, dtype=np.float64) * TICKS) / TICKS)


def _check(offsets: np.ndarray, ends: np.ndarray, values: np.ndarray) -> None:
    if len(offsets) < 2 or np.any(np.diff(offsets) < 1) or not offsets[-1] == len(ends):
        raise TraceError("every row of a series needs at least one step")
    floor = np.concatenate([[0.0], ends[:-1]])
    floor[offsets[:-1]] = 0.0
    good = (ends > floor) & np.isfinite(ends) & (values >= 0.0) & np.isfinite(values)
    if not good.all():
        k = int(np.argmin(good))
        row = int(np.searchsorted(offsets, k, side="right")) - 1
        raise TraceError(
            f"trace {row}: the step that ends at {ends[k]:g} s with {values[k]:g} should end after "
            "the one before it, and have a finite value of at least 0"
        )
