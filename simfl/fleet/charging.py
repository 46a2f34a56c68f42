"""What flows into batteries over time: steadily, or as a charger trace recorded it."""

from __future__ import annotations

from math import ceil, inf
from typing import NamedTuple

import numpy as np

from simfl.fleet.network.series import TICKS, Series
from simfl.fleet.traces import Trace

COLUMN = "charge_w"


class Steady(NamedTuple):
    """The same watts all the time."""

    watts: float

    @property
    def period_s(self) -> float:
        """Seconds after which the watts repeat."""
        return inf

    def at(self, t: float) -> tuple[float, float]:
        """(watts, until_s): what flows at t, and until when."""
        return self.watts, inf

    def gained_s(self, t: float, joules: float) -> float:
        """When so many joules, more than 0, have flowed since t; inf if never."""
        return t + joules / self.watts if self.watts else inf


class Recorded(NamedTuple):
    """One recording of a charger trace, repeated after its last step.

    marks_s: 0, and the end of each step.
    marks_j: joules that have flowed by then since the recording began.
    rising_j, rising_s: joules, ascending, and the first moment at which so many have flowed.
    """

    series: Series
    row: int
    marks_s: np.ndarray
    marks_j: np.ndarray
    rising_j: np.ndarray
    rising_s: np.ndarray

    @property
    def period_s(self) -> float:
        """Seconds after which the watts repeat."""
        return float(self.marks_s[-1])

    def at(self, t: float) -> tuple[float, float]:
        """(watts, until_s): what flows at t, and until when."""
        return self.series.at(self.row, t)

    def gained_s(self, t: float, joules: float) -> float:
        """When so many joules, more than 0, have flowed since t; inf if never."""
        per_period_j = float(self.marks_j[-1])
        if not per_period_j:
            return inf
        wanted_j = self._since_zero(t) + joules
        periods = ceil(wanted_j / per_period_j) - 1  # the last one is not needed in full
        rest_j = min(wanted_j - periods * per_period_j, per_period_j)
        inside_s = float(np.interp(rest_j, self.rising_j, self.rising_s))
        return max(t, periods * self.period_s + inside_s)

    def _since_zero(self, t: float) -> float:
        """Joules that have flowed since second 0."""
        periods, inside_s = divmod(t, self.period_s)
        inside_j = float(np.interp(inside_s, self.marks_s, self.marks_j))
        return periods * float(self.marks_j[-1]) + inside_j


Inflow = Steady | Recorded


class Charger:
    """A charger trace and the devices of a group: the k-th has the k-th recording, in turn."""

    def __init__(self, trace: Trace, first: int) -> None:
        self._first = first
        series, own = trace.series(COLUMN), trace.columns["trace"]
        steps = np.split(np.arange(len(own)), np.flatnonzero(np.diff(own)) + 1)
        self._recordings = [
            _recording(series, row, trace, which) for row, which in enumerate(steps)
        ]

    def of(self, device: int) -> Recorded:
        """What flows into the battery of this device of the fleet."""
        return self._recordings[(device - self._first) % len(self._recordings)]


def _recording(series: Series, row: int, trace: Trace, which: np.ndarray) -> Recorded:
    marks_s = np.append(0.0, np.round(trace.columns["t_s"][which] * TICKS) / TICKS)
    marks_j = np.append(0.0, np.cumsum(trace.columns[COLUMN][which] * np.diff(marks_s)))
    flows = np.flatnonzero(np.diff(marks_j) > 0.0)
    rising_j, rising_s = (
        np.column_stack([marks[flows], marks[flows + 1]]).ravel() for marks in (marks_j, marks_s)
    )
    return Recorded(series, row, marks_s, marks_j, rising_j, rising_s)
