"""A fleet as processes have altered it, with the methods of the fixed one.

A part answers as the fleet's own does until something is changed. Absences are remembered for as
long as a task may ask about them, so presence stays a function of device and time.
"""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np

from simfl.clock.living.members import Joined, JoinedEnergy, Members


class AlteredLink:
    """Links whose rates are multiplied. factors: device -> (down, up), where they are not 1."""

    __snapshot__ = ("factors",)  #: kept by checkpoints

    #: Rates may change in mid-transfer, so a transfer's end is not known when it begins.
    varying = True

    def __init__(self, members: Members) -> None:
        link: Any = Joined(members, "link", "down", "up", "of", "goodput", "swing")
        self._link = link
        self.factors: dict[int, tuple[float, float]] = {}
        self.down, self.up, self.of, self.goodput = link.down, link.up, link.of, link.goodput

    def swing(self, device: int, t: float, *, up: bool) -> tuple[float, float]:
        """(factor, until_s): what the rate is multiplied by at t, and until when."""
        own = self.factors.get(device, (1.0, 1.0))[up]
        if not self._link.varying:
            return own, inf
        factor, until_s = self._link.swing(device, t, up=up)
        return factor * own, until_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)


class AlteredPresence:
    """Who is there, less those that have left. absences: device -> [[left_s, back_s], ...]."""

    __snapshot__ = ("absences",)  #: kept by checkpoints

    always = False

    def __init__(self, members: Members) -> None:
        asked = ("is_on", "off_after", "on_after", "why_away")
        self._presence = Joined(members, "presence", *asked)
        self._members = members
        self.absences: dict[int, list[list[float]]] = {}

    def leave(self, device: int, t: float) -> None:
        """From t on the device is away."""
        self.absences.setdefault(device, []).append([t, inf])

    def come_back(self, device: int, t: float) -> None:
        """The device's absence ends at t."""
        self.absences[device][-1][1] = t

    def forget(self, device: int) -> None:
        """The past of this device, which is back, is not needed any more."""
        if not self.has_left(device):
            self.absences.pop(device, None)

    def has_left(self, device: int) -> bool:
        """True from `leave` to `come_back`."""
        spans = self.absences.get(device)
        return spans is not None and spans[-1][1] == inf

    def is_on(self, device: int, t: float) -> bool:
        """Whether the device is present at t."""
        return self._back_s(device, t) == t and bool(self._presence.is_on(device, t))

    def off_after(self, device: int, t: float) -> float:
        """When the device, present at t, next goes away; t if it is away, inf if it stays."""
        if self._back_s(device, t) > t:
            return t
        off_s: float = self._presence.off_after(device, t)
        later = [left_s for left_s, _ in self.absences.get(device, ()) if left_s > t]
        return min([off_s, *later])

    def on_after(self, device: int, t: float) -> float:
        """t if the device is present, else when it next comes; inf if it never does."""
        while t < inf:
            t = self._presence.on_after(device, t)
            back_s = self._back_s(device, t)
            if back_s == t:
                break
            t = back_s
        return t

    def why_away(self, device: int, t: float) -> str:
        """ "outage" if the device's cell is down at t, else "offline"."""
        why: str = self._presence.why_away(device, t)
        return why

    def mask(self, t: float) -> np.ndarray:
        """(N,) bool: who is present at t."""
        newcomers = range(self._members.first, len(self._members))
        present = np.concatenate([
            self._presence.mask(t),
            np.array([self.is_on(device, t) for device in newcomers], dtype=bool),
        ])  # fmt: skip
        present[list(self._members.gone)] = False
        away = [device for device in self.absences if self._back_s(device, t) > t]
        present[away] = False
        return present

    def _back_s(self, device: int, t: float) -> float:
        """When the absence that holds t ends; t if none does."""
        if not self._members.has(device):
            return inf
        spans = self.absences.get(device)
        if spans is not None:
            for left_s, back_s in spans:
                if left_s <= t < back_s:
                    return back_s
        return t

    def __getattr__(self, name: str) -> Any:
        return getattr(self._presence, name)


class AlteredCells:
    """Cells whose capacities were set. set_rates: (cell, up) -> bytes/s. moved: device -> cell."""

    __snapshot__ = ("set_rates", "moved")  #: kept by checkpoints

    def __init__(self, members: Members) -> None:
        cells: Any = Joined(members, "cells", "of")
        self._cells = cells
        self.set_rates: dict[tuple[int, bool], float] = {}
        self.moved: dict[int, int] = {}

    def of(self, device: int) -> int:
        """The device's cell; -1 if it has none."""
        moved = self.moved.get(device)
        return int(self._cells.of(device)) if moved is None else moved

    def varies(self, cell: int) -> bool:
        """True if its rates move by themselves."""
        return bool(self._cells.varies(cell))

    def rate(self, cell: int, t: float, *, up: bool) -> tuple[float, float]:
        """(bytes_per_s, until_s) of a cell at t; what a process has set stays so."""
        given = self.set_rates.get((cell, up))
        if given is not None:
            return given, inf
        rate, until_s = self._cells.rate(cell, t, up=up)
        return rate, until_s

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cells, name)

    def __len__(self) -> int:
        return len(self._cells.names)


class AlteredFleet:
    """A fleet under processes. speeds: device -> factor of its training, where it is not 1."""

    __snapshot__ = ("speeds",)  #: kept by checkpoints

    def __init__(self, fleet: Any) -> None:
        self.base = fleet
        self.members = Members(fleet)
        self.speeds: dict[int, float] = {}
        self.compute = Joined(self.members, "compute", "train_s", "setup_s")
        self.faults = Joined(self.members, "faults", "drop_phase", "fate", "again", "on_offline")
        self.energy = JoinedEnergy(self.members)
        self.link = AlteredLink(self.members)
        self.presence = AlteredPresence(self.members)
        self.cells = AlteredCells(self.members)

    @property
    def class_id(self) -> np.ndarray:
        """The class of each device that ever belonged to the run."""
        own: np.ndarray = self.base.class_id
        groups = self.members.groups
        if not groups:
            return own
        classes = [self.base.device_classes.index(group.device_class) for group in self.base.groups]
        return np.concatenate([own, np.array(classes, dtype=own.dtype)[np.asarray(groups)]])

    def columns(self) -> dict[str, np.ndarray]:
        """Of all devices that ever belonged to the run."""
        return self.members.columns()

    def forget(self, device: int) -> None:
        """Nothing of what was changed for this device stays."""
        tables: tuple[dict[int, Any], ...] = (
            self.speeds, self.link.factors, self.presence.absences, self.cells.moved
        )  # fmt: skip
        for table in tables:
            table.pop(device, None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.base, name)

    def __len__(self) -> int:
        return len(self.members)
