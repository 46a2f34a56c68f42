"""Presence of devices that are cut off together when their cell fails."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np

from simfl.fleet.network.cells import CellOptions
from simfl.fleet.presence.base import Always, Part
from simfl.fleet.presence.onoff import OnOff, OnOffOptions
from simfl.fleet.table import view
from simfl.streams import Streams


class Behind:
    """Devices that are present when they are there themselves and their cell is up.

    cells: presence of every cell, by number.
    cell_of: (n,) the cell of each device.
    """

    def __init__(self, own: Part, cells: Sequence[Part], cell_of: np.ndarray) -> None:
        self.own = own
        self._cells = list(cells)
        self._cell_of = np.ascontiguousarray(cell_of, dtype=np.int32)
        self._cell = view(self._cell_of)

    def spell(self, i: int, t: float) -> tuple[bool, float]:
        (on, until_s), (up, up_until_s) = self._both(i, t)
        if on and up:
            return True, min(until_s, up_until_s)
        while not (on and up):
            t = max(t if on else until_s, t if up else up_until_s)
            if t == inf:
                break
            (on, until_s), (up, up_until_s) = self._both(i, t)
        return False, t

    def mask(self, t: float) -> np.ndarray:
        met = {cell: self._cells[cell].spell(0, t)[0] for cell in np.unique(self._cell_of).tolist()}
        up = np.zeros(len(self._cells), dtype=bool)
        up[list(met)] = list(met.values())
        return self.own.mask(t) & up[self._cell_of]

    def is_cut_off(self, i: int, t: float) -> bool:
        """True if the cell is down."""
        return not self._cells[self._cell[i]].spell(0, t)[0]

    @property
    def nbytes(self) -> int:
        return self.own.nbytes + self._cell_of.nbytes

    def _both(self, i: int, t: float) -> tuple[tuple[bool, float], tuple[bool, float]]:
        return self.own.spell(i, t), self._cells[self._cell[i]].spell(0, t)


def outages(streams: Streams, cells: Sequence[CellOptions]) -> list[Part]:
    """The presence of every cell."""
    parts: list[Part] = []
    for cell in cells:
        for _ in range(cell.count):
            parts.append(_of(cell, streams, len(parts)))
    return parts


def behind(own: Part, cells: Sequence[Part], cell_of: np.ndarray) -> Part:
    """The presence of a group's devices behind their cells."""
    mine = [cells[number] for number in np.unique(cell_of).tolist() if number >= 0]
    failing = any(not isinstance(cell, Always) for cell in mine)
    return Behind(own, cells, cell_of) if failing else own


def _of(cell: CellOptions, streams: Streams, number: int) -> Part:
    if cell.outages is None:
        return Always(1)
    means = OnOffOptions(mean_on_s=cell.outages.mean_up_s, mean_off_s=cell.outages.mean_down_s)
    return OnOff(means, streams, range(number, number + 1), prefix="cell ")
