"""Devices that come and go for good.

Arrivals are a Poisson process; lifetimes are exponential. The number of devices is then that of a
queue with as many servers as customers, M/M/inf: its mean tends to arrivals times mean lifetime,
and its distribution to Poisson's (Kleinrock, Queueing Systems I, 1975, section 3.4). Measured
lifetimes of peers have heavier tails than that (Stutzbach and Rejaie, "Understanding Churn in
Peer-to-Peer Networks", IMC 2006).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heapify, heappush
from math import inf
from typing import ClassVar

from simfl.units import HOUR_S, Duration, NonNegative
from simfl.world.base import World
from simfl.world.choosing import CLOSE, due


@dataclass
class Population:
    """ends: (when, device) of those that will be retired, a heap. arrives_s: the next arrival."""

    ends: list[tuple[float, int]] = field(default_factory=list)
    arrives_s: float = inf


@dataclass(frozen=True)
class Churn:
    """Churn: devices join at random and are retired after an exponential lifetime.

    group: of those that join, by name; without one, the first.
    arrivals_per_hour: on average.
    mean_lifetime_s: from joining to retiring.
    existing: the scenario's devices have lifetimes, too, which begin at 0; else they stay.
    """

    reference: ClassVar[str] = "Kleinrock, Queueing Systems I, 1975, section 3.4 (M/M/inf)"
    group: str | None = None
    arrivals_per_hour: NonNegative = 60.0
    mean_lifetime_s: Duration = 3600.0
    existing: bool = True

    def init(self, world: World) -> Population:
        """Lifetimes of the devices that are there, and the first arrival."""
        there = Population()
        if self.existing:
            lives = world.generator("lifetime")
            there.ends = [
                (lives.exponential(self.mean_lifetime_s), device) for device in world.members()
            ]
            heapify(there.ends)
        there.arrives_s = self._gap_s(world)
        return there

    def next(self, there: Population, world: World) -> float | None:
        """Retires whose time has come, and lets one in."""
        for device in filter(world.is_member, due(there.ends, world)):
            world.retire(device)
        if there.arrives_s <= world.now_s * (1.0 + CLOSE):
            (device,) = world.add(self.group or 0)
            lives_s = world.generator("lifetime").exponential(self.mean_lifetime_s)
            heappush(there.ends, (world.now_s + lives_s, device))
            there.arrives_s = world.now_s + self._gap_s(world)
        due_s = min(there.arrives_s, there.ends[0][0] if there.ends else inf)
        return None if due_s == inf else max(0.0, due_s - world.now_s)

    def _gap_s(self, world: World) -> float:
        """Seconds to the next arrival."""
        if not self.arrivals_per_hour:
            return inf
        return float(world.generator("arrival").exponential(HOUR_S / self.arrivals_per_hour))
