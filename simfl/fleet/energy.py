"""Power drawn while training and while the radio is busy, above idle; and what a battery holds."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Annotated

import numpy as np
from annotated_types import Interval
from pydantic import model_validator

from simfl.fleet.charging import Charger, Inflow, Recorded, Steady
from simfl.fleet.table import Table, view
from simfl.fleet.traces import TraceName
from simfl.units import Fraction, NonNegative, Positive


class PowerOptions(Table):
    """Watts above idle; 0 where unknown."""

    train_w: NonNegative = 0.0
    radio_w: NonNegative = 0.0


class BatteryOptions(Table):
    """What tasks may draw from. Idle consumption is not counted.

    start_low, start_high: share at the beginning, uniform over the devices.
    charge_w: flows in all the time, up to the capacity.
    charger: a charger trace in its place; its k-th recording is that of the group's k-th device.
    resume: a device takes no task below this share; at 0 its task is lost.
    """

    capacity_j: Positive
    start_low: Fraction = 1.0
    start_high: Fraction = 1.0
    charge_w: NonNegative = 0.0
    charger: TraceName | None = None
    resume: Annotated[float, Interval(ge=0.01, le=1.0)] = 0.2

    @model_validator(mode="after")
    def _ordered(self) -> BatteryOptions:
        if self.start_low > self.start_high:
            raise ValueError(
                f"start_low = {self.start_low:g} is above start_high = {self.start_high:g}"
            )
        if self.charger is not None and self.charge_w:
            raise ValueError("give one of `charge_w` and `charger`, which says it over time")
        return self


class Energy:
    """The power of every device, and its battery.

    options, batteries, chargers: one for each group.
    starts: (N,) joules at the beginning; None where no device has a battery.
    """

    def __init__(
        self,
        options: Sequence[PowerOptions],
        group: np.ndarray,
        batteries: Sequence[BatteryOptions | None] = (),
        starts: np.ndarray | None = None,
        chargers: Sequence[Charger | None] = (),
    ) -> None:
        self.group = group
        #: (N,) joules that every battery holds at the beginning; None: there are no batteries.
        self.start_j = starts
        self._train_w = [one.train_w for one in options]
        self._radio_w = [one.radio_w for one in options]
        self._battery = [_battery(one) for one in batteries] or [_MAINS] * len(options)
        self._charger = list(chargers) or [None] * len(options)
        self._group = view(group)

    def train_w(self, device: int) -> float:
        """Watts while training."""
        return self._train_w[self._group[device]]

    def radio_w(self, device: int) -> float:
        """Watts while the link is busy, either way."""
        return self._radio_w[self._group[device]]

    def watts(self, devices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) watts of these devices while training, and while the link is busy."""
        groups = self.group[devices]
        return np.array(self._train_w)[groups], np.array(self._radio_w)[groups]

    def battery(self, device: int) -> tuple[float, float, float]:
        """(joules when full, watts flowing in, joules needed for a task); inf, 0, 0 on mains."""
        return self._battery[self._group[device]]

    def charger(self, device: int) -> Recorded | None:
        """What flows into its battery, where a trace says so."""
        charger = self._charger[self._group[device]]
        return None if charger is None else charger.of(device)

    def inflow(self, device: int) -> Inflow:
        """What flows into its battery over time."""
        return self.charger(device) or Steady(self.battery(device)[1])

    def columns(self) -> dict[str, np.ndarray]:
        """Watts of each device, and joules where there are batteries."""
        powers = {"train_w": self._train_w, "radio_w": self._radio_w}
        columns = {name: np.array(values)[self.group] for name, values in powers.items()}
        if self.start_j is not None:
            columns["battery_j"] = np.array([full_j for full_j, *_ in self._battery])[self.group]
            columns["battery_start_j"] = self.start_j
        return columns

    @property
    def nbytes(self) -> int:
        """Memory that grows with the number of devices."""
        return 0 if self.start_j is None else self.start_j.nbytes


def starts_of(
    batteries: Sequence[BatteryOptions | None], draws: Sequence[np.ndarray]
) -> np.ndarray | None:
    """(N,) joules at the beginning, inf on mains; None without batteries. draws: (n,) in (0, 1)."""
    if not any(batteries):
        return None
    parts = []
    for battery, u in zip(batteries, draws, strict=True):
        if battery is None:
            parts.append(np.full(len(u), inf))
        else:
            share = battery.start_low + (battery.start_high - battery.start_low) * u
            parts.append(battery.capacity_j * share)
    return np.concatenate(parts)


_MAINS = (inf, 0.0, 0.0)


def _battery(options: BatteryOptions | None) -> tuple[float, float, float]:
    if options is None:
        return _MAINS
    return options.capacity_j, options.charge_w, options.capacity_j * options.resume
