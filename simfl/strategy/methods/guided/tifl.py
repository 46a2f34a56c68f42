"""TiFL: each round asks one tier of devices of similar speed.

Chai et al., "TiFL: a tier-based federated learning system", HPDC 2020, arXiv 2001.09249. Devices
are profiled, sorted by latency and cut into tiers of equal size. Each draw picks a tier and then
uniformly within it. Every `interval` draws the tiers are ranked by accuracy: of n tiers that have
credits left the worst gets probability n/D, the next (n - 1)/D and so on, D = n(n + 1)/2; a draw
costs its tier one of `credits`, and when all are spent everyone gets them anew.

Two differences: a device is profiled by its first ordinary task instead of in rounds of their
own, and tiers are ranked by the training loss that their devices last reported, which costs no
extra message; the paper evaluates on each tier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import ClassVar

import numpy as np

from simfl.messages import Update
from simfl.strategy.base import Server
from simfl.strategy.selection import Selection
from simfl.units import Count


def tiers_of(seconds: dict[int, float], tiers: int) -> list[list[int]]:
    """Devices in tiers of (almost) equal size, the quickest first; empty tiers are left out.

    >>> tiers_of({0: 9.0, 1: 2.0, 2: 5.0}, 2)
    [[1, 2], [0]]
    """
    order = sorted(seconds, key=lambda device: (seconds[device], device))
    return [part.tolist() for part in np.array_split(order, tiers) if len(part)]


@dataclass(slots=True)
class TiflMemory:
    """What devices reported, and the standing of the tiers."""

    asked: dict[int, bool] = field(default_factory=dict)  #: devices profiled or being so
    seconds: dict[int, float] = field(default_factory=dict)  #: of a device's first task
    loss: dict[int, float] = field(default_factory=dict)  #: of a device's last task
    draws: int = 0
    left: list[int] = field(default_factory=list)  #: credits by tier
    odds: list[float] = field(default_factory=list)  #: weights by tier


@dataclass(frozen=True)
class Tifl(Selection):
    """A tier of similar speed at a time, the one with the worst loss most often."""

    reference: ClassVar[str] = "Chai et al., HPDC 2020, arXiv 2001.09249"

    tiers: Count = 5
    interval: Count = 20
    credits: Count = 50

    def init(self) -> TiflMemory:
        return TiflMemory()

    def observe(self, memory: TiflMemory, server: Server, updates: Sequence[Update]) -> None:
        for update in updates:
            memory.seconds.setdefault(update.device, update.arrived_s - update.dispatched_s)
            memory.loss[update.device] = update.loss

    def choose(self, memory: TiflMemory, server: Server, n: int) -> list[int]:
        if self.tiers == 1:
            return server.sample(n)
        new = [d for d in server.candidates().tolist() if d not in memory.asked]
        if new:
            chosen = server.sample(n, among=new)
            memory.asked.update(dict.fromkeys(chosen, True))
            return chosen
        return self._from_a_tier(memory, server, n)

    def _from_a_tier(self, memory: TiflMemory, server: Server, n: int) -> list[int]:
        tiers = tiers_of(memory.seconds, self.tiers)
        if len(memory.left) != len(tiers) or not any(memory.left):
            memory.left, memory.odds = [self.credits] * len(tiers), []
        if not memory.odds or memory.draws % self.interval == 0:
            memory.odds = self._odds(memory, tiers)
        memory.draws += 1
        odds = np.array(memory.odds) * (np.array(memory.left) > 0)
        for k in _in_random_order(odds, server.generator("selection")):
            if chosen := server.sample(n, among=tiers[k]):
                memory.left[k] -= 1
                return chosen
        return server.sample(n)  # no tier that has credits has a device present

    def _odds(self, memory: TiflMemory, tiers: list[list[int]]) -> list[float]:
        """Weights by rank of the mean loss, 1 for the best tier."""
        losses = [float(np.mean([memory.loss[device] for device in tier])) for tier in tiers]
        rank = np.argsort(np.argsort([x if isfinite(x) else 0.0 for x in losses], kind="stable"))
        return (rank + 1.0).tolist()


def _in_random_order(odds: np.ndarray, rng: np.random.Generator) -> list[int]:
    """Indices with positive odds, drawn one after another in proportion to them."""
    live = np.flatnonzero(odds)
    if not len(live):
        return []
    p = odds[live] / odds[live].sum()
    return rng.choice(live, size=len(live), replace=False, p=p).tolist()
