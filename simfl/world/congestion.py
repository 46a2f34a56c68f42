"""Congestion: other users fill cells every evening, or once, when a crowd gathers.

Evening congestion. The capacity that is left falls once a day by a raised cosine:

    share(h) = 1 - depth (1 + cos(2 pi (h - peak_hour) / width_hours)) / 2

within half a width of the peak, and is 1 elsewhere.

Source: FCC, "Measuring Broadband America", which reports speeds of the peak period, 7 to 11 p.m.
on weeknights, beside those of the whole day. Their ratio depends on the operator; `depth` is an
estimate.

Flash crowd. The demand of others rises to `shock` times the usual within `ramp_s`, stays for
`hold_s` and falls back within `decay_s`; each demand gets an equal part, so the share that is left
is 1 / (1 + (shock - 1) level). Source: Ari, Hong, Miller, Brandt and Long, "Managing Flash Crowds
on the Internet", MASCOTS 2003, whose model has these three phases.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi
from typing import Annotated, ClassVar

from annotated_types import Ge, Interval, Lt

from simfl.units import DAY_S, HOUR_S, Every, Seconds
from simfl.world.base import World
from simfl.world.choosing import limited_cells, set_share

Rates = dict[int, tuple[float, float]]


@dataclass(frozen=True)
class Congestion:
    """Evening congestion: once a day a cell's capacity falls and comes back.

    cell: its name; without one, all cells that have a capacity.
    depth: share of the capacity that is gone at the peak.
    peak_hour: of the day that begins at virtual time 0.
    width_hours: from the beginning of the evening to its end.
    every_s: between two changes.
    """

    reference: ClassVar[str] = "FCC, Measuring Broadband America: peak period"
    cell: str | None = None
    depth: Annotated[float, Ge(0.0), Lt(1.0)] = 0.3
    peak_hour: Annotated[float, Interval(ge=0.0, lt=24.0)] = 21.0
    width_hours: Annotated[float, Interval(gt=0.0, le=24.0)] = 6.0
    every_s: Every = 900.0

    def init(self, world: World) -> Rates:
        """What each cell carries by day."""
        return limited_cells(world, self.cell)

    def next(self, rates: Rates, world: World) -> float:
        """All cells get the share of this moment."""
        for cell, usual in rates.items():
            set_share(world, cell, usual, self.share(world.now_s))
        return self.every_s

    def share(self, t: float) -> float:
        """The share of the capacity that is left at t.

        >>> evening = Congestion(depth=0.5, peak_hour=21.0, width_hours=6.0)
        >>> [round(evening.share(3600.0 * hour), 3) for hour in (12, 19.5, 21, 22.5)]
        [1.0, 0.75, 0.5, 0.75]
        """
        apart = (t % DAY_S / HOUR_S - self.peak_hour + 12.0) % 24.0 - 12.0
        if abs(apart) >= 0.5 * self.width_hours:
            return 1.0
        return 1.0 - 0.5 * self.depth * (1.0 + cos(2.0 * pi * apart / self.width_hours))


@dataclass(frozen=True)
class FlashCrowd:
    """A flash crowd fills a cell: the demand of others rises, stays and falls back.

    cell: its name; without one, all cells that have a capacity.
    at_s: when the crowd gathers.
    ramp_s, hold_s, decay_s: how long it grows, stays and goes.
    shock: how many times the usual demand there is meanwhile.
    every_s: between two changes.
    """

    reference: ClassVar[str] = "Ari, Hong, Miller, Brandt and Long, MASCOTS 2003"
    cell: str | None = None
    at_s: Seconds = 600.0
    ramp_s: Seconds = 60.0
    hold_s: Seconds = 600.0
    decay_s: Seconds = 900.0
    shock: Annotated[float, Ge(1.0)] = 10.0
    every_s: Every = 30.0

    def init(self, world: World) -> Rates:
        """What each cell carries without the crowd."""
        return limited_cells(world, self.cell)

    def next(self, rates: Rates, world: World) -> float | None:
        """All cells get the share of this moment; None once the crowd has gone."""
        now_s, over_s = world.now_s, self.at_s + self.ramp_s + self.hold_s + self.decay_s
        if now_s < self.at_s:
            return self.at_s - now_s
        for cell, usual in rates.items():
            set_share(world, cell, usual, self.share(now_s))
        return None if now_s >= over_s else min(self.every_s, over_s - now_s)

    def share(self, t: float) -> float:
        """The share of the capacity that is left at t.

        >>> [FlashCrowd(at_s=0.0, shock=5.0).share(t) for t in (0.0, 60.0, 5000.0)]
        [1.0, 0.2, 1.0]
        """
        grown = _ratio(t - self.at_s, self.ramp_s)
        gone = _ratio(t - self.at_s - self.ramp_s - self.hold_s, self.decay_s)
        return 1.0 / (1.0 + (self.shock - 1.0) * (grown - gone))


def _ratio(past_s: float, whole_s: float) -> float:
    """How much of a stretch is over, between 0 and 1."""
    if past_s <= 0.0:
        return 0.0 if whole_s or past_s < 0.0 else 1.0
    return min(1.0, past_s / whole_s) if whole_s else 1.0
