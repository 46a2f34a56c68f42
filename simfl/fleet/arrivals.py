"""Devices that join a fleet while a run lives: each of them is a fleet of one.

What chance decides about a newcomer depends on the seed and on its number alone, and not on when
or with whom it came. Of a presence trace it is given a device by chance; the cells of one name are
dealt to newcomers by their numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from simfl.fleet.columns import Fleet
from simfl.fleet.draws import GroupDraws, draw_group
from simfl.fleet.network.cells import CellOptions, firsts_of
from simfl.fleet.network.varying import VaryingRate
from simfl.fleet.presence.trace import RecordedOptions
from simfl.fleet.resolve import Plan
from simfl.streams import Streams

#: Puts a fleet of one together, from its draws and the number of its cell.
Assemble = Callable[[GroupDraws, int], Fleet]


@dataclass(frozen=True, eq=False)
class Arrivals:
    """Makes newcomers of a fleet's groups.

    plans: of all groups.
    """

    plans: Sequence[Plan]
    cells: Sequence[CellOptions]
    streams: Streams
    assemble: Assemble

    def __call__(self, group: int, device: int) -> Fleet:
        """The newcomer of this group and number, as a fleet whose only device is 0."""
        plan = self.plans[group]
        options = plan.options.model_copy(update={"count": 1, "presence": _by_chance(plan)})
        alone = replace(
            plan,
            options=options,
            members=range(device, device + 1),
            group=replace(plan.group, count=1),
        )
        draws = draw_group(alone, self.streams)
        varying = self._varying_rate(alone, device)
        return self.assemble(
            replace(draws, varying_rate=varying), self._cell(plan.options.cell, device)
        )

    def _varying_rate(self, plan: Plan, device: int) -> VaryingRate | None:
        """As its group's, of device 0."""
        if plan.bandwidth is None or plan.link is None:
            return None
        levels = (plan.link.down_mbps, plan.link.up_mbps)
        return VaryingRate(
            plan.bandwidth, range(1), self.streams.generator("roaming", device), levels
        )

    def _cell(self, name: str | None, device: int) -> int:
        if name is None:
            return -1
        for first, cell in zip(firsts_of(self.cells), self.cells, strict=True):
            if cell.name == name:
                return first + device % cell.count
        raise AssertionError(f"no cell {name!r}")  # the fleet could not have been built


def _by_chance(plan: Plan) -> object:
    presence = plan.options.presence
    if isinstance(presence, RecordedOptions):
        return presence.model_copy(update={"assign": "random"})
    return presence


def column_rows(
    fleets: Iterable[Fleet], numbers: Sequence[int], groups: Sequence[int]
) -> dict[str, np.ndarray]:
    """The columns of newcomers with these numbers, as those of a fleet.

    groups: of each.
    """
    tables = [fleet.columns() for fleet in fleets]
    names = dict.fromkeys(name for one in tables for name in one)
    missing = np.array([np.inf])  # on mains, where others have batteries
    joined = {n: np.concatenate([one.get(n, missing) for one in tables]) for n in names}
    own: dict[str, np.ndarray] = {
        "device": np.asarray(numbers, np.int64),
        "group": np.asarray(groups, np.int32),
    }
    return {**joined, **own}
