"""Devices that move from cell to cell.

A device stays in its cell for an exponential time and moves to another one, each as likely: a
Markov chain in continuous time, whose stationary distribution over the cells is uniform (the random
walk of Bar-Noy, Kessler and Sidi, "Mobile Users: To Update or Not to Update?", Wireless Networks,
1995, on a complete graph).
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappush
from typing import ClassVar

from simfl.errors import PluginError
from simfl.units import Duration
from simfl.world.base import World
from simfl.world.choosing import cells_named, due


@dataclass(frozen=True)
class Mobility:
    """Mobility: devices move between cells by a Markov chain; transfers under way go along.

    Devices that are behind none of the cells stay where they are.

    cell: the name of the cells between which devices move; without one, all.
    mean_stay_s: in one cell.
    """

    reference: ClassVar[str] = "Bar-Noy, Kessler and Sidi, Wireless Networks, 1995"
    cell: str | None = None
    mean_stay_s: Duration = 900.0

    def init(self, world: World) -> list[tuple[float, int]]:
        """(when, device) of the next moves, a heap."""
        cells = cells_named(world, self.cell)
        if len(cells) < 2:
            raise PluginError("mobility needs two cells at least to move between")
        stays = world.generator("stay")
        mine = [device for device in world.members() if world.cell(device) in cells]
        moves = [(float(stays.exponential(self.mean_stay_s)), device) for device in mine]
        heapify(moves)
        return moves

    def next(self, moves: list[tuple[float, int]], world: World) -> float | None:
        """Moves the devices whose time has come."""
        cells = cells_named(world, self.cell)
        for device in filter(world.is_member, due(moves, world)):
            others = [cell for cell in cells if cell != world.cell(device)]
            world.move(device, others[int(world.generator("cell").integers(len(others)))])
            stay_s = float(world.generator("stay").exponential(self.mean_stay_s))
            heappush(moves, (world.now_s + stay_s, device))
        return max(0.0, moves[0][0] - world.now_s) if moves else None
