"""From the options of groups and cells to a fleet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from simfl.errors import ScenarioError
from simfl.fleet.arrivals import Arrivals
from simfl.fleet.catalogue import catalogue_dirs
from simfl.fleet.charging import Charger
from simfl.fleet.columns import Fleet
from simfl.fleet.draws import GroupDraws, draw_group
from simfl.fleet.energy import Energy, starts_of
from simfl.fleet.faults import Faults
from simfl.fleet.laws import Compute
from simfl.fleet.network.cells import CellOptions, Cells, deal, names_of, rates_of
from simfl.fleet.network.link import Link
from simfl.fleet.network.varying import VaryingRate
from simfl.fleet.options import GroupOptions
from simfl.fleet.presence.base import Part, Presence
from simfl.fleet.presence.outages import behind, outages
from simfl.fleet.resolve import Folders, Plan, plans_of
from simfl.fleet.traces import FOLDER, load_trace
from simfl.streams import Streams


def build(
    groups: Sequence[GroupOptions],
    streams: Streams,
    dirs: Sequence[Path] | None = None,
    *,
    cells: Sequence[CellOptions] = (),
    traces: Sequence[Path] = (Path(FOLDER),),
) -> Fleet:
    """The fleet of these groups, in their order.

    What sets devices apart depends on the seed and on their numbers alone, so a group added at
    the end changes no other device. Raises CatalogueError, TraceError, and ScenarioError where
    there is no group or no such cell.

    dirs, traces: where classes and traces lie.
    """
    if not groups:
        raise ScenarioError("fleet.group: a fleet needs at least one group of devices")
    folders = Folders(catalogue_dirs() if dirs is None else dirs, traces)
    plans = plans_of(groups, folders)
    draws = [draw_group(plan, streams) for plan in plans]
    sizes = [options.count for options in groups]
    group = _fixed(np.repeat(np.arange(len(groups), dtype=np.int32), sizes))
    cell_of = _fixed(deal([options.cell for options in groups], sizes, cells))
    return _fleet(_World(streams, cells, folders), draws, group, cell_of, plans)


class _World:
    """What all devices of a scenario share: cells that fail and whose rates move."""

    def __init__(self, streams: Streams, cells: Sequence[CellOptions], folders: Folders) -> None:
        self.streams, self.options = streams, cells
        self.outages = outages(streams, cells)
        self.cells = _cells(cells, np.zeros(0, dtype=np.int32), streams, folders)


def _fleet(
    world: _World,
    draws: Sequence[GroupDraws],
    group: np.ndarray,
    cell_of: np.ndarray,
    plans: Sequence[Plan] | None = None,
) -> Fleet:
    """A fleet of these draws.

    plans: of all groups; without them it can have no newcomers.
    """

    def newcomer(drawn: GroupDraws, cell: int) -> Fleet:
        alone = np.zeros(1, dtype=np.int32)
        return _fleet(world, [drawn], alone, np.array([cell], dtype=np.int32))

    made = None if plans is None else Arrivals(plans, world.options, world.streams, newcomer)
    return Fleet(
        groups=tuple(one.plan.group for one in draws),
        group=group,
        compute=_compute(draws, group),
        link=_link(draws, group),
        presence=_presence(draws, group, world.outages, cell_of),
        faults=Faults([one.plan.options.faults for one in draws], group),
        energy=_energy(draws, group),
        cells=world.cells.dealt(cell_of),
        arrivals=made,
    )


def _compute(draws: Sequence[GroupDraws], group: np.ndarray) -> Compute:
    return Compute(
        [one.plan.law for one in draws], group, _joined([one.slowness() for one in draws])
    )


def _link(draws: Sequence[GroupDraws], group: np.ndarray) -> Link:
    down, up = (_joined(rates) for rates in zip(*(one.rates() for one in draws), strict=True))
    return Link(
        [one.plan.link for one in draws], group, down, up, [one.varying_rate for one in draws]
    )


def _presence(
    draws: Sequence[GroupDraws], group: np.ndarray, cells: Sequence[Part], cell_of: np.ndarray
) -> Presence:
    firsts = [int(np.searchsorted(group, g)) for g in range(len(draws))]
    parts = [
        behind(one.presence, cells, cell_of[first : first + one.plan.options.count])
        for one, first in zip(draws, firsts, strict=True)
    ]
    return Presence(parts, firsts, group)


def _energy(draws: Sequence[GroupDraws], group: np.ndarray) -> Energy:
    batteries = [one.plan.options.battery for one in draws]
    starts_j = starts_of(batteries, [one.charge for one in draws])
    firsts = [int(np.searchsorted(group, g)) for g in range(len(draws))]
    # A newcomer, which is device 0 of its own fleet, is given the trace's row of its number.
    traces = [
        (one.plan.charger, first if first == one.plan.members.start else -one.plan.members.start)
        for one, first in zip(draws, firsts, strict=True)
    ]
    chargers = [None if trace is None else Charger(trace, first) for trace, first in traces]
    return Energy([one.plan.power for one in draws], group, batteries, starts_j, chargers)


def _cells(
    cells: Sequence[CellOptions], cell_of: np.ndarray, streams: Streams, folders: Folders
) -> Cells:
    varying: list[VaryingRate | None] = []
    for options in cells:
        trace = load_trace(options.trace, "bandwidth", folders.traces) if options.trace else None
        for number in range(len(varying), len(varying) + options.count):
            rng = streams.generator("cell roaming", number)
            levels = (options.down_mbps, options.up_mbps)
            alone = range(number, number + 1)
            varying.append(VaryingRate(trace, alone, rng, levels) if trace else None)
    return Cells(names_of(cells), cell_of, rates_of(cells, varying), varying)


def _joined(columns: Sequence[np.ndarray]) -> np.ndarray:
    return _fixed(np.concatenate(columns))


def _fixed(column: np.ndarray) -> np.ndarray:
    column.setflags(write=False)
    return column


def unused(groups: Sequence[GroupOptions], cells: Sequence[CellOptions], fleet: Fleet) -> list[str]:
    """One sentence for each setting that can never fire, with its key path."""
    failing = {cell.name for cell in cells if cell.outages is not None}
    found = [
        f"fleet.group.{g}.{text}"
        for g, options in enumerate(groups)
        for text in _of_group(options, fleet, g, failing)
    ]
    named = {options.cell for options in groups}
    return found + [
        f"network.cell.{i}: no group is behind {cell.name!r}"
        for i, cell in enumerate(cells)
        if cell.name not in named
    ]


def _of_group(options: GroupOptions, fleet: Fleet, g: int, failing: set[str]) -> Iterator[str]:
    faults = options.faults
    stays = options.presence.kind == "always" and options.cell not in failing
    if stays and "on_offline" in faults.model_fields_set:
        yield f'faults.on_offline = "{faults.on_offline}": its devices never go away'
    if faults.retry and not faults.drop_probability:
        yield "faults.retry: nothing is retried where drop_probability is 0"
    if faults.suspend and not faults.suspend.probability:
        yield "faults.suspend: its probability is 0"
    if options.battery is not None and not _draws(fleet, g):
        yield "battery: its devices draw no power; give them `power`, or a device class"


def _draws(fleet: Fleet, g: int) -> bool:
    first = int(np.searchsorted(fleet.group, g))
    return fleet.energy.train_w(first) > 0.0 or fleet.energy.radio_w(first) > 0.0
