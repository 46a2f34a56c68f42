"""When a device is reachable: pure functions of device and time, never a cursor.

Each kind of presence answers one question, `spell(i, t)`: is its i-th device present at t, and
until when does that stay so? A spell holds its start and not its end. Everything else follows
from it, so the answers agree whatever is asked, in whatever order, at whatever spacing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import inf
from typing import Literal, Protocol

import numpy as np

from simfl.fleet.table import Table, view
from simfl.streams import Streams


class Part(Protocol):
    """The presence of one group, whose devices it counts from 0."""

    def spell(self, i: int, t: float) -> tuple[bool, float]:
        """Whether device i is present at t, and when that next changes (inf: never)."""

    def mask(self, t: float) -> np.ndarray:
        """(n,) bool: the first half of `spell` for every device."""

    @property
    def nbytes(self) -> int:
        """Memory that grows with the devices, kept answers included."""


class AlwaysOptions(Table):
    """Present for ever."""

    kind: Literal["always"] = "always"

    def part(self, streams: Streams, devices: range) -> Always:
        return Always(len(devices))


class Always:
    """n devices that are never away."""

    nbytes = 0

    def __init__(self, n: int) -> None:
        self._n = n

    def spell(self, i: int, t: float) -> tuple[bool, float]:
        return True, inf

    def mask(self, t: float) -> np.ndarray:
        return np.ones(self._n, dtype=bool)


class Never:
    """n devices that take no part."""

    nbytes = 0

    def __init__(self, n: int) -> None:
        self._n = n

    def spell(self, i: int, t: float) -> tuple[bool, float]:
        return False, inf

    def mask(self, t: float) -> np.ndarray:
        return np.zeros(self._n, dtype=bool)


class Presence:
    """The presence of a fleet, one part for each group.

    firsts: the first device of each.
    """

    def __init__(self, parts: Sequence[Part], firsts: Sequence[int], group: np.ndarray) -> None:
        self.parts = tuple(parts)
        #: True if no device is ever away.
        self.always = all(isinstance(part, Always) for part in parts)
        self._spell = [part.spell for part in parts]
        self._first = list(firsts)
        self._group = view(group)

    def without(self, groups: Collection[int]) -> Presence:
        """The same, but the devices of these groups never come."""
        sizes = np.bincount(self._group, minlength=len(self.parts)).tolist()
        parts = [Never(sizes[g]) if g in groups else part for g, part in enumerate(self.parts)]
        return Presence(parts, self._first, np.asarray(self._group))

    def is_on(self, device: int, t: float) -> bool:
        """Whether the device is present at t."""
        return self._ask(device, t)[0]

    def off_after(self, device: int, t: float) -> float:
        """When the device, present at t, next goes away; t if it is away, inf if it stays."""
        on, until_s = self._ask(device, t)
        return until_s if on else t

    def on_after(self, device: int, t: float) -> float:
        """t if the device is present, else when it next comes; inf if it never does."""
        on, until_s = self._ask(device, t)
        return t if on else until_s

    def why_away(self, device: int, t: float) -> str:
        """ "outage" if the device's cell is down at t, else "offline"."""
        g = self._group[device]
        cut_off = getattr(self.parts[g], "is_cut_off", None)
        return "outage" if cut_off and cut_off(device - self._first[g], t) else "offline"

    def mask(self, t: float) -> np.ndarray:
        """(N,) bool: who is present at t. A scan of the fleet."""
        return np.concatenate([part.mask(t) for part in self.parts])

    @property
    def nbytes(self) -> int:
        """Memory that grows with the number of devices."""
        return sum(part.nbytes for part in self.parts)

    def _ask(self, device: int, t: float) -> tuple[bool, float]:
        g = self._group[device]
        return self._spell[g](device - self._first[g], t)
