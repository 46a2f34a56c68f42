"""Presence as a trace recorded it."""

from __future__ import annotations

from typing import Literal

import numpy as np

from simfl.fleet.presence.intervals import Intervals
from simfl.fleet.table import Table, view
from simfl.fleet.traces import Trace, TraceName
from simfl.streams import Streams


class RecordedOptions(Table):
    """Each device is there when one of the trace's devices was.

    assign: "in-order" gives the k-th device of the group the trace's k-th (again from the first
    when they are used up), "random" any of them by chance.
    """

    kind: Literal["trace"] = "trace"
    trace: TraceName
    assign: Literal["in-order", "random"] = "in-order"

    def part(self, streams: Streams, devices: range, trace: Trace) -> Recorded:
        """This presence for a range of devices."""
        intervals, n = trace.intervals(), trace.about["devices"]
        rows = np.arange(len(devices)) % n
        if self.assign == "random":
            draws = streams.generator("recorded", devices.start).random(len(devices))
            rows = (draws * n).astype(np.int64)
        return Recorded(intervals, rows.astype(np.int32))


class Recorded:
    """Devices that share recorded intervals. rows: (n,) int32, whose intervals each has."""

    def __init__(self, intervals: Intervals, rows: np.ndarray) -> None:
        self._intervals, self._rows = intervals, rows
        self._row = view(rows)

    def spell(self, i: int, t: float) -> tuple[bool, float]:
        return self._intervals.spell(self._row[i], t)

    def mask(self, t: float) -> np.ndarray:
        return self._intervals.mask(t)[self._rows]

    @property
    def nbytes(self) -> int:
        return self._rows.nbytes + self._intervals.nbytes
