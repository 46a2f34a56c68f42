"""Rates that move: which recording each device of a group replays, and from which moment on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simfl.errors import TraceError
from simfl.fleet.network.series import Series, on_the_grid
from simfl.fleet.table import view
from simfl.fleet.traces import Trace

COLUMNS = ("down_mbps", "up_mbps")


class VaryingRate:
    """The bandwidth of n devices over time, around each one's own mean.

    A recording, and a moment in it, is drawn for each device; both directions of a device replay
    the same moment.
    levels: what the scenario says in Mbit/s, None where the trace says it.
    Raises TraceError where neither does.
    """

    def __init__(
        self,
        trace: Trace,
        devices: range,
        rng: np.random.Generator,
        levels: Sequence[float | None],
    ) -> None:
        recorded = {name: trace.series(name) for name in COLUMNS if name in trace.columns}
        for name, level in zip(COLUMNS, levels, strict=True):
            if level is None and name not in recorded:
                raise TraceError(f"the trace has no {name}, so the network has to say it")
        either = next(iter(recorded.values()))
        draws = rng.random((len(devices), 2))
        self._rows = (draws[:, 0] * len(either)).astype(np.int32)
        self._shifts = on_the_grid(draws[:, 1] * either.periods_s()[self._rows])
        self._means = {name: series.means() for name, series in recorded.items()}
        self._series = [self._shape(recorded, name) for name in COLUMNS]
        self._first = devices.start
        self._row, self._shift = view(self._rows), view(self._shifts)

    def at(self, device: int, t: float, *, up: bool) -> tuple[float, float]:
        """(factor, until_s): the rate at t over the device's mean, and until when it holds."""
        i = device - self._first
        factor, until_s = self._series[up].at(self._row[i], t + self._shift[i])
        return factor, until_s - self._shift[i]

    def level(self, *, up: bool) -> np.ndarray:
        """(n,) mean Mbit/s of each device's recording."""
        return self._means[COLUMNS[up]][self._rows]

    @property
    def nbytes(self) -> int:
        """Memory that grows with the number of devices."""
        return self._rows.nbytes + self._shifts.nbytes

    def _shape(self, recorded: dict[str, Series], name: str) -> Series:
        """Around 1; a direction that was not recorded moves like the other."""
        known = name if name in recorded else next(iter(recorded))
        return recorded[known].scaled(1.0 / self._means[known])
