"""Checks of [[edge]]: every device under exactly one, and a strategy that works with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from simfl.errors import did_you_mean
from simfl.fleet.edges import Edges, cells_named, edges_of, groups_named, names_of_edge
from simfl.fleet.network.cells import names_of
from simfl.scenario.complain import KeyPath, Problem
from simfl.scenario.foreign import Foreign
from simfl.scenario.parts import kind_of
from simfl.strategy.common import AT_ONCE

if TYPE_CHECKING:
    from simfl.scenario import Scenario

#: Options of [server] that speak of what devices send to it, or get from it.
_OF_DEVICES = ("down_mbps", "up_mbps", "ingest_s", "ingest_s_per_mb", "processors")


def edges_in(scenario: Scenario) -> Edges | None:
    """The edges of a scenario that is right; None if it has none."""
    if not scenario.edge:
        return None
    return edges_of(scenario.edge, scenario.fleet.group, scenario.network.cell)


def worked_for(scenario: Scenario) -> tuple[KeyPath, Any]:
    """The strategy that devices work for, and its key path: with edges the one that runs there."""
    inner = getattr(scenario.strategy, "edge", None)
    if inner is not None and getattr(scenario.strategy, "tiered", False):
        return ("strategy", "edge"), inner
    return ("strategy",), scenario.strategy


def problems(scenario: Scenario) -> Iterator[Problem]:
    """What is wrong with the edges, or with a strategy that has none."""
    tiered = getattr(scenario.strategy, "tiered", False)
    if tiered and not scenario.edge:
        kind = kind_of(type(scenario.strategy))
        text = f" = {kind!r} needs edges: give at least one [[edge]] with a name"
        yield Problem(("strategy", "kind"), text)
    if not scenario.edge:
        return
    if not tiered and not isinstance(scenario.strategy, Foreign):
        kind = kind_of(type(scenario.strategy))
        text = f": the strategy {kind} asks devices itself and leaves edges aside; take kind = "
        yield Problem(("edge",), f'{text}"hierarchical" with edge = {{ kind = "{kind}", ... }}')
    yield from _server(scenario)
    found = [*_names(scenario), *_cells(scenario), *_groups(scenario), *_the_rest(scenario)]
    yield from found or [*_members(scenario)]


def _server(scenario: Scenario) -> Iterator[Problem]:
    for name in _OF_DEVICES:
        if getattr(scenario.server, name) is not None:
            text = " is about what devices and server exchange, but with [[edge]] devices reach "
            text += "their edge alone; leave it out, and limit an edge's link or a cell"
            yield Problem(("server", name), text)


def _names(scenario: Scenario) -> Iterator[Problem]:
    known: set[str] = set()
    for i, edge in enumerate(scenario.edge):
        for name in names_of_edge(edge):
            if name in known:
                yield Problem(("edge", i, "name"), f": {name!r} is the name of another edge")
                break
            known.add(name)


def _cells(scenario: Scenario) -> Iterator[Problem]:
    cells = scenario.network.cell
    names = names_of(cells)

    def taken(name: str, number: int, edge: str) -> str:
        return f"cell {names[number]!r} is under edge {edge!r} already; a cell is under one edge"

    known = {*names, *(cell.name for cell in cells)}
    numbers_of = partial(cells_named, cells=cells)
    yield from _named(scenario, "cells", numbers_of, known, "the name of a [[network.cell]]", taken)


def _groups(scenario: Scenario) -> Iterator[Problem]:
    groups = scenario.fleet.group

    def taken(name: str, number: int, edge: str) -> str:
        rule = "a group is dealt to the edges of one [[edge]]"
        return f"group {name!r} is under edge {edge!r} already; {rule}"

    known = {name for group in groups for name in (group.name, group.device) if name is not None}
    numbers_of = partial(groups_named, groups=groups)
    what = "the name or the device class of a [[fleet.group]]"
    yield from _named(scenario, "groups", numbers_of, known, what, taken)


def _named(
    scenario: Scenario,
    key: str,
    numbers_of: Callable[[str], list[int]],
    known: set[str],
    what: str,
    taken: Callable[[str, int, str], str],
) -> Iterator[Problem]:
    """What edges name under this key: nothing that there is, or what another edge has.

    numbers_of: what a name means.
    known: names that mean something, and `what` these are.
    taken: the sentence about a name, the number that it means, and the edge that has this.
    """
    owner = dict[int, str]()
    for i, edge in enumerate(scenario.edge):
        for k, name in enumerate(getattr(edge, key)):
            where, numbers = ("edge", i, key, k), numbers_of(name)
            if not numbers:
                yield Problem(where, f" = {name!r} is not {what} {did_you_mean(name, known)}")
            lost = [number for number in numbers if number in owner]
            if lost:
                yield Problem(where, f": {taken(name, lost[0], owner[lost[0]])}")
            owner.update(dict.fromkeys(numbers, edge.name))


def _the_rest(scenario: Scenario) -> Iterator[Problem]:
    takers = [i for i, edge in enumerate(scenario.edge) if edge.takes_the_rest]
    for i in takers[1:]:
        first = scenario.edge[takers[0]].name
        text = f": edge {first!r} takes all devices that are under no other; give this one `cells` "
        yield Problem(("edge", i), f"{text}or `groups`, or the other one a `count`")


def _members(scenario: Scenario) -> Iterator[Problem]:
    groups, cells = scenario.fleet.group, scenario.network.cell
    if any(group.cell not in (None, *(cell.name for cell in cells)) for group in groups):
        return  # a mistake of its own
    edges = edges_of(scenario.edge, groups, cells)
    begins = np.cumsum([0, *(group.count for group in groups)])
    for g, group in enumerate(groups):
        mine = edges.of_device[begins[g] : begins[g + 1]]
        if (mine < 0).any():
            text = f": {(mine < 0).sum()} of its devices are under no edge: name its cells or the "
            yield Problem(("fleet", "group", g), f"{text}group at an [[edge]]")
        first, count = edges.by_group.get(g, (0, len(edges)))
        strange = mine[(mine >= 0) & ((mine < first) | (mine >= first + count))]
        if len(strange):
            own, cell = edges.names[first], edges.names[strange[0]]
            text = f": the group is named at edge {own!r}, and its cell {group.cell!r} at {cell!r}"
            yield Problem(("fleet", "group", g), f"{text}; a device is under one edge")
    sizes = np.bincount(edges.of_device[edges.of_device >= 0], minlength=len(edges))
    yield from _sizes(scenario, edges, sizes)


def _sizes(scenario: Scenario, edges: Edges, sizes: np.ndarray) -> Iterator[Problem]:
    """Edges without devices, and work for more devices than any edge has."""
    owners = np.repeat(np.arange(len(scenario.edge)), [edge.count for edge in scenario.edge])
    for i in dict.fromkeys(owners[sizes == 0].tolist()):
        number = int(np.flatnonzero((owners == i) & (sizes == 0))[0])
        text = f": there is no device for edge {edges.names[number]!r}; give it fewer edges or more"
        yield Problem(("edge", i), f"{text} devices")
    path, inner = worked_for(scenario)
    for name in AT_ONCE:
        asked = getattr(inner, name, 0)
        if isinstance(asked, int) and asked > sizes.max() and not scenario.process:
            text = f" = {asked} is impossible concurrency: no edge has more than {sizes.max()} "
            text += "devices, and each has one task at a time; smaller edges ask all of theirs"
            yield Problem((*path, name), text)
