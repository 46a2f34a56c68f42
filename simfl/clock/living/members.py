"""The devices of a run whose fleet grows and shrinks, and parts that answer for all of them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from simfl.fleet.arrivals import column_rows


class Members:
    """Who belongs to a run: the scenario's devices, and newcomers with the numbers behind theirs.

    first: the number of the first newcomer. groups: of every newcomer so far, retired ones too.
    A retired newcomer leaves the number of its group behind, and nothing else.
    """

    __snapshot__ = ("groups", "gone", "here")  #: kept by checkpoints

    def __init__(self, fleet: Any) -> None:
        self.base = fleet
        self.first = len(fleet)
        self.groups = array("i")
        self.gone: set[int] = set()  #: of the scenario's devices, those that were retired
        self.newcomers: dict[int, Any] = {}  #: number -> a fleet of one

    def __len__(self) -> int:
        return self.first + len(self.groups)

    def has(self, device: int) -> bool:
        """True if the device has not been retired."""
        return device not in self.gone if device < self.first else device in self.newcomers

    def is_cut_off_at_times(self, group: int) -> bool:
        """True if cells of the group's devices may fail."""
        return hasattr(self.base.presence.parts[group], "is_cut_off")

    def numbers(self) -> list[int]:
        """The devices that have not been retired, ascending."""
        return [device for device in range(self.first) if device not in self.gone] + sorted(
            self.newcomers
        )

    def join(self, group: int) -> int:
        """A newcomer of this group; returns its number."""
        device = len(self)
        self.newcomers[device] = self.base.arrivals(group, device)
        self.groups.append(group)
        return device

    def retire(self, device: int) -> None:
        """The device is no longer a member."""
        if device < self.first:
            self.gone.add(device)
        else:
            del self.newcomers[device]

    def group_of(self, device: int) -> int:
        """The number of the device's group."""
        if device < self.first:
            return int(self.base.group[device])
        return self.groups[device - self.first]

    @property
    def here(self) -> list[int]:
        """The newcomers that have not been retired."""
        return list(self.newcomers)

    @here.setter
    def here(self, numbers: Iterable[int]) -> None:
        make = self.base.arrivals
        self.newcomers = {i: make(self.groups[i - self.first], i) for i in numbers}

    def columns(self) -> dict[str, np.ndarray]:
        """Of all devices that ever belonged to the run; newcomers are made again for it."""
        columns: dict[str, np.ndarray] = self.base.columns()
        if not self.groups:
            return columns
        numbers = range(self.first, len(self))
        fleets = map(self.base.arrivals, self.groups, numbers)  # one at a time
        further = column_rows(fleets, numbers, self.groups)
        return {n: np.concatenate([c, further[n]]) for n, c in columns.items()}


class Joined:
    """A part of the fleet that answers some questions about newcomers as well."""

    def __init__(self, members: Members, part: str, *questions: str) -> None:
        self._own = getattr(members.base, part)
        for question in questions:
            setattr(self, question, _asking(members, part, question))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


class JoinedEnergy(Joined):
    """Power and batteries, of all devices that ever were."""

    def __init__(self, members: Members) -> None:
        super().__init__(members, "energy", "train_w", "radio_w", "battery", "charger", "inflow")
        self._members = members

    def watts(self, devices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(n,) watts of these devices; a newcomer has those of its group."""
        base, groups = self._members.base, np.asarray(self._members.groups)
        rows, new = devices.copy(), devices >= self._members.first
        rows[new] = np.searchsorted(base.group, groups[devices[new] - self._members.first])
        watts: tuple[np.ndarray, np.ndarray] = self._own.watts(rows)
        return watts


def _asking(members: Members, part: str, question: str) -> Callable[..., Any]:
    own = getattr(getattr(members.base, part), question)
    first = members.first

    def ask(device: int, *given: Any, **options: Any) -> Any:
        if device < first:
            return own(device, *given, **options)
        return getattr(getattr(members.newcomers[device], part), question)(0, *given, **options)

    return ask
