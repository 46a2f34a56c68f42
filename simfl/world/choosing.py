"""Chooses the cells and devices that a process acts on, and those whose moment has come."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop
from math import isfinite

from simfl.errors import PluginError, did_you_mean
from simfl.world.base import World

#: Moments this close, relatively, are one.
CLOSE = 1e-12


def cells_named(world: World, name: str | None) -> list[int]:
    """The cells of this name in the scenario, all of them if it is None. Raises PluginError."""
    names = world.cells
    found = [k for k, each in enumerate(names) if name in (None, each, each.rpartition("-")[0])]
    if not found:
        raise PluginError(f"cell = {name!r} is not a cell of the scenario {_hint(name, names)}")
    return found


def limited_cells(world: World, name: str | None) -> dict[int, tuple[float, float]]:
    """Cells of this name and their Mbit/s down and up. Raises PluginError without any limit."""
    found = {cell: world.cell_mbps(cell) for cell in cells_named(world, name)}
    limited = {cell: rates for cell, rates in found.items() if any(map(isfinite, rates))}
    if not limited:
        what = "no cell" if name is None else f"cell {name!r}"
        raise PluginError(
            f"{what} has a capacity that could change: give it down_mbps or up_mbps, and "
            '`server.sharing = "max-min"`'
        )
    return limited


def devices_of(world: World, group: str | None, cell: str | None) -> Iterator[int]:
    """Devices of a group and behind a cell; None: of any. Raises PluginError."""
    cells = None if cell is None else cells_named(world, cell)
    if group is not None and group not in world.groups:
        raise PluginError(f"group = {group!r} is not a group {_hint(group, world.groups)}")
    for device in world.members():
        if group in (None, world.group(device)) and (cells is None or world.cell(device) in cells):
            yield device


def set_share(world: World, cell: int, rates: tuple[float, float], share: float) -> None:
    """A cell keeps a share of its rates, as far as they are limited."""
    down, up = (share * mbps if isfinite(mbps) else None for mbps in rates)
    world.set_cell(cell, down_mbps=down, up_mbps=up)


def due(agenda: list[tuple[float, int]], world: World) -> Iterator[int]:
    """Takes the devices whose moment has come off a heap of (when, device), the earliest first."""
    now_s = world.now_s * (1.0 + CLOSE)
    while agenda and agenda[0][0] <= now_s:
        yield heappop(agenda)[1]


def _hint(name: str | None, names: tuple[str, ...]) -> str:
    return did_you_mean(str(name), names)
