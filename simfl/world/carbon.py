"""The carbon intensity of electricity by the hour, and with it grams of CO2 of each task.

A task that draws P watts at intensity I (g/kWh) emits P I / 3.6e6 grams a second; `co2_g` of the
table of tasks is the integral over its phases. Source of the default: IEA, Electricity 2025,
"Emissions": 445 g of CO2 per kWh in 2024, the average of the world. Intensities by the hour are
published by operators of grids; the world's average knows no hours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simfl.units import DAY_S, HOUR_S, NonNegative
from simfl.world.base import World

#: Grams of CO2 per kWh: IEA, Electricity 2025.
WORLD_2024 = 445.0


@dataclass(frozen=True)
class Carbon:
    """Carbon intensity: adds grams of CO2 to the tasks, at 24 intensities for the hours of the day.

    g_per_kwh: of each hour, from midnight on, which is virtual time 0.
    """

    reference: ClassVar[str] = 'IEA, Electricity 2025, "Emissions"'
    g_per_kwh: tuple[NonNegative, ...] = (WORLD_2024,) * 24

    def __post_init__(self) -> None:
        if len(self.g_per_kwh) != 24:
            raise ValueError(f"g_per_kwh has {len(self.g_per_kwh)} entries, expected 24")

    def next(self, state: None, world: World) -> float:
        """A new hour."""
        hour = round(world.now_s % DAY_S / HOUR_S) % 24
        world.set_carbon(self.g_per_kwh[hour])
        return HOUR_S
