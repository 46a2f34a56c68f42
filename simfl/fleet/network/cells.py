"""Cells: what many devices share between them and the server, and what fails for all at once."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Annotated

import numpy as np
from annotated_types import Interval
from pydantic import StringConstraints

from simfl.errors import ScenarioError, did_you_mean
from simfl.fleet.network.varying import VaryingRate
from simfl.fleet.table import Table, view
from simfl.fleet.traces import TraceName
from simfl.units import MBPS, Duration, Rate

Name = Annotated[str, StringConstraints(min_length=1)]


class OutageOptions(Table):
    """A cell is up for `mean_up_s` and down for `mean_down_s` on average, in turns."""

    mean_up_s: Duration
    mean_down_s: Duration


class CellOptions(Table):
    """`count` cells that are alike; devices are dealt to them in turn.

    down_mbps, up_mbps: shared by the transfers of the moment (`server.sharing = "max-min"`).
    trace: a bandwidth trace, by which they move.
    outages: times when no device behind the cell is reachable.
    """

    name: Name
    count: Annotated[int, Interval(ge=1, le=100_000)] = 1
    down_mbps: Rate | None = None
    up_mbps: Rate | None = None
    trace: TraceName | None = None
    outages: OutageOptions | None = None

    @property
    def shares(self) -> bool:
        """True if devices behind it slow each other down."""
        return bool(self.down_mbps or self.up_mbps or self.trace)


class Cells:
    """All cells, numbered one after the other, and the cell of each device.

    of_device: (N,) int32; -1 for a device that is behind none.
    rates: (cells, 2) bytes/s down and up, inf where nothing is shared.
    varying: for each cell, how its rates move, if they do.
    """

    def __init__(
        self,
        names: Sequence[str],
        of_device: np.ndarray,
        rates: np.ndarray,
        varying: Sequence[VaryingRate | None],
    ) -> None:
        self.names = tuple(names)
        self.of_device = of_device
        self.rates = rates
        self._varying = list(varying)
        self._of = view(of_device)

    def __len__(self) -> int:
        return len(self.names)

    def dealt(self, of_device: np.ndarray) -> Cells:
        """The same cells with these devices behind them."""
        return Cells(self.names, of_device, self.rates, self._varying)

    def of(self, device: int) -> int:
        """The device's cell; -1 if it has none."""
        return self._of[device]

    def varies(self, cell: int) -> bool:
        """True if its rates move."""
        return self._varying[cell] is not None

    def rate(self, cell: int, t: float, *, up: bool) -> tuple[float, float]:
        """(bytes_per_s, until_s) of a cell at t."""
        varying = self._varying[cell]
        factor, until_s = (1.0, inf) if varying is None else varying.at(cell, t, up=up)
        return float(self.rates[cell, int(up)]) * factor, until_s

    @property
    def nbytes(self) -> int:
        """Memory that grows with the number of devices."""
        return self.of_device.nbytes

    def columns(self) -> dict[str, np.ndarray]:
        """cell: name of each device's cell, "" if it has none; absent without cells."""
        if not self.names:
            return {}
        return {"cell": np.array([*self.names, ""], dtype=object)[self.of_device]}


def deal(
    named: Sequence[str | None], counts: Sequence[int], cells: Sequence[CellOptions]
) -> np.ndarray:
    """(N,) the cell of each device. Raises ScenarioError.

    The cells of one name are dealt in turn over all devices that name them, group after group.

    named, counts: of each group.
    """
    firsts = dict(zip((c.name for c in cells), firsts_of(cells), strict=True))
    sizes = {cell.name: cell.count for cell in cells}
    met = dict.fromkeys(firsts, 0)
    parts = []
    for g, (name, n) in enumerate(zip(named, counts, strict=True)):
        if name is None:
            parts.append(np.full(n, -1, dtype=np.int32))
            continue
        if name not in firsts:
            hint = did_you_mean(name, firsts)
            raise ScenarioError(f"fleet.group.{g}.cell = {name!r} is not a network.cell {hint}")
        turn = (met[name] + np.arange(n)) % sizes[name]
        met[name] += n
        parts.append((firsts[name] + turn).astype(np.int32))
    return np.concatenate(parts)


def names_of(cells: Sequence[CellOptions]) -> list[str]:
    """The name of each cell: those that are alike are numbered from 0."""
    return [
        cell.name if cell.count == 1 else f"{cell.name}-{k}"
        for cell in cells
        for k in range(cell.count)
    ]


def rates_of(cells: Sequence[CellOptions], varying: Sequence[VaryingRate | None]) -> np.ndarray:
    """(cells, 2) bytes/s down and up. varying: one for each cell."""
    alike = [cell for cell in cells for _ in range(cell.count)]
    return np.array([
        [_rate(options, own, up) for up in (False, True)]
        for options, own in zip(alike, varying, strict=True)
    ]).reshape(-1, 2)  # fmt: skip


def _rate(options: CellOptions, varying: VaryingRate | None, up: bool) -> float:
    mbps = options.up_mbps if up else options.down_mbps
    if mbps is not None:
        return mbps * MBPS
    return float(varying.level(up=up)[0]) * MBPS if varying else inf


def firsts_of(cells: Sequence[CellOptions]) -> list[int]:
    """The number of the first cell of each name."""
    return np.cumsum([0, *(cell.count for cell in cells)])[:-1].tolist()
