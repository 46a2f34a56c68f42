"""The pool of idle devices. Sampling costs what it returns, not what the fleet holds.

Idle devices fill the front of one permutation; a device that becomes busy is swapped to the
back. Presence is asked only of the devices that a draw meets; when too many of them are away,
one vectorised scan finds the rest.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np


class Presence(Protocol):
    """The part of the fleet that sampling needs."""

    always: bool

    def is_on(self, device: int, t: float) -> bool: ...

    def mask(self, t: float) -> np.ndarray: ...


class Pool:
    """Idle and busy devices of a fleet. rng(k): the generator of the k-th block of draws."""

    #: Absent devices that one draw may meet before it scans all.
    PATIENCE = 64

    __snapshot__ = (
        "idle",
        "_order",
        "_where",
        "_block",
        "_draws",
    )  #: kept by checkpoints

    def __init__(
        self, devices: int, presence: Presence, rng: Callable[[int], np.random.Generator]
    ) -> None:
        self.idle = devices
        self._order = array("i", range(devices))  # idle devices first
        self._where = array("i", range(devices))  # device -> position in _order
        self._presence = presence
        self._rng = rng
        self._block = 0  # of draws; a block comes from a generator of its own
        self._draws: list[float] = []  # what is left of it

    def join(self) -> None:
        """One more device, which is idle."""
        device = len(self._order)
        self._order.append(device)
        self._where.append(device)
        self.put(device)

    def is_idle(self, device: int) -> bool:
        return self._where[device] < self.idle

    def take(self, device: int) -> bool:
        """The device is busy from now on; False if it was so already."""
        order, where, last = self._order, self._where, self.idle - 1
        here = where[device]
        if here > last:
            return False
        self.idle = last
        other = order[last]
        order[here], order[last] = other, device  # changes of place are written out: asked for
        where[other], where[device] = here, last  # three times a task, a call each takes a tenth
        return True

    def put(self, device: int) -> None:
        """The device is idle again."""
        order, where, first = self._order, self._where, self.idle
        here, other = where[device], order[first]
        order[here], order[first] = other, device
        where[other], where[device] = here, first
        self.idle = first + 1

    def sample(self, n: int, now_s: float, among: Sequence[int] | None = None) -> list[int]:
        """Up to n distinct devices, uniform among the idle and present ones (of `among`)."""
        if among is not None:
            there = [d for d in among if self.is_idle(d) and self._is_on(d, now_s)]
            return self._draw(there, n)
        if self._presence.always:
            if n == 1 <= self.idle:
                return [self._pick(0)]
            return [self._pick(met) for met in range(min(n, self.idle))]
        chosen: list[int] = []
        met, limit = 0, n + self.PATIENCE + n // 2
        while len(chosen) < n and met < self.idle:
            if met == limit:
                return chosen + self._draw(self._present(met, now_s).tolist(), n - len(chosen))
            device = self._pick(met)
            met += 1
            if self._presence.is_on(device, now_s):
                chosen.append(device)
        return chosen

    def candidates(self, now_s: float) -> np.ndarray:
        """All idle and present devices, ascending."""
        return np.sort(self._present(0, now_s))

    def _pick(self, met: int) -> int:
        """One of the idle devices that were not met yet; it is put after those that were."""
        order, where, draws = self._order, self._where, self._draws
        here = met + int((draws.pop() if draws else self._uniform()) * (self.idle - met))
        device, other = order[here], order[met]
        order[here], order[met] = other, device
        where[other], where[device] = here, met
        return device

    def _uniform(self) -> float:
        if not self._draws:
            self._draws = self._rng(self._block).random(1024).tolist()
            self._block += 1
        return self._draws.pop()

    def _is_on(self, device: int, now_s: float) -> bool:
        return self._presence.always or self._presence.is_on(device, now_s)

    def _draw(self, devices: list[int], n: int) -> list[int]:
        for i in range(min(n, len(devices))):
            j = i + int(self._uniform() * (len(devices) - i))
            devices[i], devices[j] = devices[j], devices[i]
        return devices[:n]

    def _present(self, met: int, now_s: float) -> np.ndarray:
        # A copy: a view would pin the array's buffer and outlive later swaps.
        idle = np.array(self._order[met : self.idle], dtype=np.int64)
        return idle if self._presence.always else idle[self._presence.mask(now_s)[idle]]
