"""Guided selection: prefer devices whose data teach most and that are quick.

Lai et al., "Oort: efficient federated learning via guided participant selection", OSDI 2021, arXiv
2010.06081. A device that has taken part has the utility Uᵢ = nᵢ √(mean loss²), met while it
trained, and the score

    (norm(min(Uᵢ, clip)) + √(0.1 ln R / Lᵢ)) · (T/tᵢ)^α if tᵢ > T

with R the current round, Lᵢ the last one it took part in, tᵢ the seconds that its task took and T
a percentile of those of all devices; norm is min-max over the devices known. A share ε of every
draw explores devices never tried, uniformly (the paper may weigh them by speed); the rest is
drawn in proportion to the score from those above `cutoff` times the last score that would make
the cut. The pacer raises the percentile when the utility gathered in `window` draws falls below
that of the `window` before. The authors' two code bases disagree on most constants: the defaults
are the paper's where known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite, log
from typing import Any, ClassVar

import numpy as np

from simfl.messages import Update
from simfl.strategy.base import Server
from simfl.strategy.selection import Selection
from simfl.units import Count, Fraction, NonNegative


@dataclass(slots=True, kw_only=True)
class GuidedMemory:
    """What guided selection remembers.

    known: facts by device that has taken part.
    draws: so far.
    epsilon: ε of the next draw.
    """

    epsilon: float
    known: dict[int, tuple[Any, ...]] = field(default_factory=dict)
    draws: int = 0


@dataclass(frozen=True)
class Guided(Selection):
    """Explores the unknown, exploits by a score: what Oort and Pisces share."""

    explore: Fraction = 0.9  #: ε at the start
    decay: Fraction = 0.98  #: of ε, per draw
    floor: Fraction = 0.2  #: of ε

    def init(self) -> GuidedMemory:
        return GuidedMemory(epsilon=self.explore)

    def choose(self, memory: GuidedMemory, server: Server, n: int) -> list[int]:
        devices = server.candidates().tolist()
        n = min(n, len(devices))
        if not n:
            return []
        memory.draws += 1
        rng = server.generator("selection")
        known = [device for device in devices if device in memory.known]
        new = [device for device in devices if device not in memory.known]
        # A fraction of a device is explored that often.
        wanted = int(memory.epsilon * n + rng.random())
        wanted = min(max(wanted, n - len(known)), len(new))
        memory.epsilon = max(self.floor, memory.epsilon * self.decay)
        explored = rng.choice(new, size=wanted, replace=False).tolist() if wanted else []
        return explored + (self.exploit(memory, known, n - wanted, rng) if n > wanted else [])

    def exploit(
        self, memory: GuidedMemory, devices: list[int], n: int, rng: np.random.Generator
    ) -> list[int]:
        """n of these known devices, at least as many."""
        raise NotImplementedError


def utility(update: Update) -> float:
    """n √(mean loss²); 0 where nothing was learnt."""
    value = update.examples * update.loss_rms
    return value if isfinite(value) else 0.0


@dataclass(slots=True, kw_only=True)
class OortMemory(GuidedMemory):
    """known: utility, seconds and the draw of its last participation, by device.

    percentile: of T.
    gained: utility since the last draw.
    history: utility gained before each of the last draws.
    """

    percentile: float
    gained: float = 0.0
    history: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Oort(Guided):
    """By the loss that devices meet and the time that they take."""

    reference: ClassVar[str] = "Lai et al., OSDI 2021, arXiv 2010.06081"

    alpha: NonNegative = 2.0
    cutoff: Fraction = 0.95
    clip: Fraction = 0.95  #: quantile of the utilities above which they count no more
    percentile: Fraction = 0.1  #: of all durations: T at the start; 1 disables the penalty
    pacer_step: Fraction = 0.05
    window: Count = 20

    def init(self) -> OortMemory:
        return OortMemory(epsilon=self.explore, percentile=self.percentile)

    def observe(self, memory: OortMemory, server: Server, updates: Sequence[Update]) -> None:
        for update in updates:
            seconds = update.arrived_s - update.dispatched_s
            memory.known[update.device] = (utility(update), seconds, memory.draws)
            memory.gained += utility(update)

    def choose(self, memory: OortMemory, server: Server, n: int) -> list[int]:
        chosen = super().choose(memory, server, n)
        if chosen:
            self._pace(memory)
        return chosen

    def exploit(
        self, memory: OortMemory, devices: list[int], n: int, rng: np.random.Generator
    ) -> list[int]:
        scores = self.scores(memory, devices)
        bar = self.cutoff * np.sort(scores)[-n]
        pool = np.flatnonzero(scores >= bar)
        mass = np.maximum(scores[pool], 1e-12)
        picks = rng.choice(pool, size=n, replace=False, p=mass / mass.sum())
        return [devices[k] for k in picks.tolist()]

    def scores(self, memory: OortMemory, devices: list[int]) -> np.ndarray:
        """(len(devices),) scores of known devices."""
        everyone = np.array(list(memory.known.values()), dtype=float)
        utilities, seconds, last = np.array([memory.known[d] for d in devices], dtype=float).T
        top = np.quantile(everyone[:, 0], self.clip)
        low = 0.999 * everyone[:, 0].min()
        span = max(top - low, 1e-4)
        age = np.sqrt(0.1 * log(memory.draws) / np.maximum(last, 1.0))
        preferred = np.quantile(everyone[:, 1], memory.percentile)
        slow = (preferred / np.maximum(seconds, 1e-12)) ** self.alpha
        return ((np.minimum(utilities, top) - low) / span + age) * np.where(
            seconds > preferred, slow, 1.0
        )

    def _pace(self, memory: OortMemory) -> None:
        """More patience, if less was gained in this window than in the one before."""
        history = memory.history
        history.append(memory.gained)
        memory.gained = 0.0
        if len(history) < 2 * self.window:
            return
        if sum(history[self.window :]) < sum(history[: self.window]):
            memory.percentile = min(1.0, memory.percentile + self.pacer_step)
        del history[: self.window]
