"""Phones that slow down while they train long, and recover at rest.

A device has a heat x between 0 and 1. By Newton's law of cooling it tends to 1 with the time
constant `heats_s` while its device trains, and to 0 with `cools_s` at rest:

    x <- target + (x - target) exp(-every_s / tau)
    speed = 1 - (1 - floor) max(0, (x - onset) / (1 - onset)), in steps of `step`

Sources. Kang et al., "Fire in Your Hands: Understanding Thermal Behavior of Smartphones", MobiCom
2019: surfaces pass 50 °C within ten minutes of load. Zhou et al., "Play It Cool: Dynamic Shifting
Prevents Thermal Throttling", arXiv:2206.10849: the clock falls, and inference slows down, while the
same model goes on. A phone that took 85 ms for an inference took 220 ms after five minutes without
rest (xckevin.com, "Android On-device AI Power and Thermal Management"): 0.39 of its speed, which is
`floor`. The time constants and the onset are estimates.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp
from typing import Annotated, ClassVar

from annotated_types import Ge, Lt

from simfl.units import Duration, Every, Share
from simfl.world.base import World

#: A heat without a noticeable effect.
COLD = 1e-3


@dataclass(frozen=True)
class Throttling:
    """Thermal throttling: speed falls with minutes of training and recovers at rest.

    heats_s, cools_s: time constants while it trains, and at rest.
    onset: heat at which it begins to slow down.
    floor: speed when it is as hot as it gets; 1 is no throttling.
    step: between two speeds.
    every_s: between two looks at all devices; what a device is at then counts since the last.
    """

    reference: ClassVar[str] = "Kang et al., MobiCom 2019; Zhou et al., arXiv:2206.10849"
    heats_s: Duration = 100.0
    cools_s: Duration = 300.0
    onset: Annotated[float, Ge(0.0), Lt(1.0)] = 0.4
    floor: Share = 0.39
    step: Share = 0.05
    every_s: Every = 10.0

    def init(self, world: World) -> dict[int, float]:
        """The heat of each device that is not cold."""
        return {}

    def next(self, heats: dict[int, float], world: World) -> float:
        """Looks at all devices that train or are warm."""
        if world.now_s > 0.0:
            training = {device for device in world.busy() if world.phase(device) == "train"}
            for device in sorted(training | heats.keys()):
                self._look(heats, world, device, device in training)
        return self.every_s

    def speed(self, heat: float) -> float:
        """The factor at a heat.

        >>> Throttling(onset=0.5, floor=0.5).speed(0.75), Throttling().speed(0.1)
        (0.75, 1.0)
        """
        lost = (1.0 - self.floor) * max(0.0, (heat - self.onset) / (1.0 - self.onset))
        return max(self.floor, round((1.0 - lost) / self.step) * self.step)

    def _look(self, heats: dict[int, float], world: World, device: int, trains: bool) -> None:
        if not world.is_member(device):
            del heats[device]
            return
        goal, tau_s = (1.0, self.heats_s) if trains else (0.0, self.cools_s)
        heat = goal + (heats.get(device, 0.0) - goal) * exp(-self.every_s / tau_s)
        heats[device] = heat
        world.set_speed(device, self.speed(heat))
        if heat < COLD:
            del heats[device]
