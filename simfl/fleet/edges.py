"""Edges: aggregators between devices and the cloud, each with its own devices and its own link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Annotated

import numpy as np
from annotated_types import Interval
from pydantic import Strict, StringConstraints

from simfl.fleet.network.cells import CellOptions, deal, firsts_of, names_of
from simfl.fleet.options import GroupOptions
from simfl.fleet.table import Table
from simfl.units import MBPS, Rate, Seconds

Name = Annotated[str, StringConstraints(min_length=1)]
Names = Annotated[tuple[Name, ...], Strict(False)]


class EdgeOptions(Table):
    """[[edge]]: `count` edges that are alike, between their devices and the cloud.

    cells, groups: whose devices are under it, by name. Of several edges each takes its turn: at the
        cells, and at the devices of the groups. An edge without either takes all devices that are
        under no other.
    down_mbps, up_mbps: of its link from and to the cloud; without them a model takes no time.
    latency_s: of that link, one way.
    """

    name: Name
    count: Annotated[int, Interval(ge=1, le=100_000)] = 1
    cells: Names = ()
    groups: Names = ()
    down_mbps: Rate | None = None
    up_mbps: Rate | None = None
    latency_s: Seconds = 0.0

    @property
    def takes_the_rest(self) -> bool:
        """True if it names neither cells nor groups."""
        return not (self.cells or self.groups)


@dataclass(frozen=True)
class EdgeLink:
    """The link of one edge with the cloud. Rates in bytes per second, down to the edge."""

    name: str
    latency_s: float = 0.0
    down_rate: float = inf
    up_rate: float = inf

    def seconds(self, nbytes: float, *, up: bool) -> float:
        """That a message takes.

        >>> EdgeLink("north", 0.5, up_rate=1e6).seconds(2e6, up=True)
        2.5
        """
        return self.latency_s + nbytes / (self.up_rate if up else self.down_rate)

    def passed(self, nbytes: float, spent_s: float, *, up: bool) -> float:
        """Bytes of a message that have passed after so long."""
        rate, flown_s = self.up_rate if up else self.down_rate, spent_s - self.latency_s
        return min(nbytes, flown_s * rate) if flown_s > 0.0 else 0.0


@dataclass(frozen=True)
class Edges:
    """The edges of a scenario, numbered one after the other, and who is under which.

    by_cell: the edge of a cell.
    by_group: (first, count) of the edges that a group's devices are dealt to.
    rest: the same, for all others.
    of_device: (N,) the edge of each device of the scenario; -1 for none.
    """

    links: tuple[EdgeLink, ...]
    by_cell: Mapping[int, int]
    by_group: Mapping[int, tuple[int, int]]
    rest: tuple[int, int]
    of_device: np.ndarray
    groups: Sequence[GroupOptions]
    cells: Sequence[CellOptions]

    def __len__(self) -> int:
        return len(self.links)

    @property
    def names(self) -> list[str]:
        """Of the edges, by number."""
        return [link.name for link in self.links]

    def of_newcomer(self, group: int, device: int) -> int:
        """The edge of a device that joins: by its cell, else dealt by its number."""
        name = self.groups[group].cell
        if name is not None:
            first, count = _span(name, self.cells)
            at = self.by_cell.get(first + device % count)
            if at is not None:
                return at
        first, count = self.by_group.get(group, self.rest)
        return first + device % count if count else -1


def edges_of(
    edges: Sequence[EdgeOptions], groups: Sequence[GroupOptions], cells: Sequence[CellOptions]
) -> Edges:
    """The edges that these options make; names that are unknown count for nothing."""
    firsts = np.cumsum([0, *(edge.count for edge in edges)]).tolist()
    by_cell, by_group, rest = dict[int, int](), dict[int, tuple[int, int]](), (0, 0)
    for first, edge in zip(firsts, edges, strict=False):
        turns = [cell for name in edge.cells for cell in cells_named(name, cells)]
        by_cell.update((cell, first + turn % edge.count) for turn, cell in enumerate(turns))
        for name in edge.groups:
            by_group.update((g, (first, edge.count)) for g in groups_named(name, groups))
        rest = (first, edge.count) if edge.takes_the_rest else rest
    of_device = _dealt(groups, cells, by_cell, by_group, rest)
    return Edges(_links(edges), by_cell, by_group, rest, of_device, groups, cells)


def _dealt(
    groups: Sequence[GroupOptions],
    cells: Sequence[CellOptions],
    by_cell: Mapping[int, int],
    by_group: Mapping[int, tuple[int, int]],
    rest: tuple[int, int],
) -> np.ndarray:
    """(N,) int32, group after group."""
    sizes = [group.count for group in groups]
    found = np.full(sum(sizes), -1, dtype=np.int32)
    cell_of = deal([group.cell for group in groups], sizes, cells)
    if by_cell:
        edge_of = np.full(max(int(cell_of.max()), *by_cell) + 2, -1, dtype=np.int32)
        edge_of[list(by_cell)] = list(by_cell.values())
        found = edge_of[cell_of]  # -1, behind no cell, is the last
    begins, met = np.cumsum([0, *sizes]), dict[tuple[int, int], int]()
    for g, (begin, end) in enumerate(pairwise(begins.tolist())):
        first, count = pool = by_group.get(g, rest)
        mine = begin + np.flatnonzero(found[begin:end] < 0)
        if count:
            found[mine] = first + (met.get(pool, 0) + np.arange(len(mine))) % count
            met[pool] = met.get(pool, 0) + len(mine)
    return found


def _links(edges: Sequence[EdgeOptions]) -> tuple[EdgeLink, ...]:
    return tuple(
        EdgeLink(name, edge.latency_s, _rate(edge.down_mbps), _rate(edge.up_mbps))
        for edge in edges
        for name in names_of_edge(edge)
    )


def names_of_edge(edge: EdgeOptions) -> list[str]:
    """Edges that are alike are numbered from 0."""
    return [edge.name if edge.count == 1 else f"{edge.name}-{k}" for k in range(edge.count)]


def cells_named(name: str, cells: Sequence[CellOptions]) -> list[int]:
    """The numbers of the cells of a name, all of those that are alike or one of them."""
    known = names_of(cells)
    if name in known:
        return [known.index(name)]
    first, count = _span(name, cells)
    return list(range(first, first + count))


def groups_named(name: str, groups: Sequence[GroupOptions]) -> list[int]:
    """The numbers of the groups of a name, or of a device class."""
    return [g for g, group in enumerate(groups) if name in (group.name, group.device)]


def _span(name: str, cells: Sequence[CellOptions]) -> tuple[int, int]:
    """(first, count) of the cells of a name; (0, 0) if there are none."""
    spans = zip(firsts_of(cells), cells, strict=True)
    return next(((first, cell.count) for first, cell in spans if cell.name == name), (0, 0))


def _rate(mbps: float | None) -> float:
    return inf if mbps is None else mbps * MBPS
