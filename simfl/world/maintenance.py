"""Devices that are taken off-line by the calendar: a depot, a hospital, a server room.

With windows of `lasts_s` every `every_s` a device is there for 1 - lasts_s / every_s of the time:
the planned part of steady-state availability, (up time) / (up time + down time), as IEC 60050-192
defines it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simfl.units import Duration, Seconds
from simfl.world.base import World
from simfl.world.choosing import devices_of


@dataclass(frozen=True)
class Maintenance:
    """Maintenance windows: some devices leave at fixed times and come back together.

    group, cell: whose devices; without them, all.
    first_s: when the first window begins.
    lasts_s: each window.
    every_s: from one beginning to the next; it must be longer than a window.
    """

    reference: ClassVar[str] = "IEC 60050-192, steady-state availability"
    group: str | None = None
    cell: str | None = None
    first_s: Seconds = 0.0
    lasts_s: Duration = 3600.0
    every_s: Duration = 86400.0

    def __post_init__(self) -> None:
        if self.lasts_s >= self.every_s:
            raise ValueError(
                f"lasts_s = {self.lasts_s:g} leaves no time between windows that begin every "
                f"{self.every_s:g} s"
            )

    def init(self, world: World) -> list[int]:
        """The devices that are off-line."""
        list(devices_of(world, self.group, self.cell))  # to know its names before the run
        return []

    def next(self, away: list[int], world: World) -> float:
        """A window begins or ends."""
        if world.now_s < self.first_s:
            return self.first_s - world.now_s
        if not away:
            away += devices_of(world, self.group, self.cell)
            for device in away:
                world.leave(device)
            return self.lasts_s
        for device in filter(world.is_member, away):
            world.come_back(device)
        away.clear()
        return self.every_s - self.lasts_s
