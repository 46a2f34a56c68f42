"""Selection of devices: the plug point, and selections without memory.

A selection is a frozen dataclass of options; what it knows of the devices is made by `init` and
altered by `observe`. Any strategy that takes a `selection` works with any of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simfl.messages import Update
from simfl.strategy.base import Server
from simfl.units import Share


@dataclass(frozen=True)
class Selection:
    """Uniform among the idle and present devices."""

    def init(self) -> Any:
        """The memory at the start: a small dataclass, or None for a selection without one."""
        return None

    def choose(self, memory: Any, server: Server, n: int) -> list[int]:
        """Up to n distinct devices that are idle and present now."""
        return server.sample(n)

    def observe(self, memory: Any, server: Server, updates: Sequence[Update]) -> None:
        """Takes note of what arrived since the last step, and of `server.lost`.

        Called where there is a memory.
        """


@dataclass(frozen=True)
class Coin(Selection):
    """Each idle and present device with probability p, drawn again while that is none.

    How many take part is then random, as in many analyses; beyond the n asked for, some of them.
    """

    p: Share = 0.1

    def choose(self, memory: Any, server: Server, n: int) -> list[int]:
        devices, rng = server.candidates(), server.generator("selection")
        heads = devices[:0]
        while len(devices) and not len(heads):
            heads = devices[rng.random(len(devices)) < self.p]
        return sorted(rng.permutation(heads)[:n].tolist())


@dataclass(frozen=True)
class Weighted(Selection):
    """With probability proportional to the examples that a device holds.

    Devices are drawn one after another, without replacement (the scheme that the FedProx paper
    analyses, there with replacement): combine it with `weights = "uniform"`.
    """

    def choose(self, memory: Any, server: Server, n: int) -> list[int]:
        devices = server.candidates()
        n = min(n, len(devices))
        if not n:
            return []
        mass = server.examples[devices].astype(float)
        rng = server.generator("selection")
        return rng.choice(devices, size=n, replace=False, p=mass / mass.sum()).tolist()


@dataclass(slots=True)
class Turn:
    """next: the least number of the device whose turn it is."""

    next: int = 0


@dataclass(frozen=True)
class Cyclic(Selection):
    """In the order of their numbers, round and round; who is busy or away is passed over."""

    def init(self) -> Turn:
        return Turn()

    def choose(self, memory: Turn, server: Server, n: int) -> list[int]:
        devices = server.candidates()
        at = int(np.searchsorted(devices, memory.next))
        chosen = np.roll(devices, -at)[:n].tolist()
        if chosen:
            memory.next = chosen[-1] + 1
        return chosen
