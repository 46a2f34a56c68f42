"""Asynchrony that chooses its devices and its own pace.

Jiang, Wang, Li and Li, "Pisces: efficient federated learning via guided asynchronous training",
SoCC 2022, arXiv 2206.09264. Selection: Oort's utility, discounted by how stale a device tends to
be, Uᵢ (mean of its last 5 τ + 1)^-β, best first. Pace: fold what has come once the time since the
last fold is at least L_max/b, L_max being the longest latency known among the tasks in flight and
b the staleness aimed at (`bound`, the concurrency by default); no update then becomes much
staler than b. A device without history counts with the longest latency met so far.

    w ← w + server_lr · Σ pᵢ s(τᵢ) dᵢ,   pᵢ = nᵢ/Σnⱼ;  s = 1 in the paper
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from simfl.messages import Update
from simfl.strategy.aggregation import weighted
from simfl.strategy.base import Change, Server, Wait
from simfl.strategy.methods.asynchronous import Asynchronous, AsyncState
from simfl.strategy.methods.guided.oort import Guided, GuidedMemory, utility
from simfl.strategy.selection import Selection
from simfl.strategy.weighting import Weighting
from simfl.units import Fraction, NonNegative, Positive


@dataclass(frozen=True)
class PiscesSelection(Guided):
    """By the loss that devices meet and how stale their updates tend to be."""

    reference: ClassVar[str] = "Jiang et al., SoCC 2022, arXiv 2206.09264"

    floor: Fraction = 0.3
    beta: NonNegative = 0.5

    def observe(self, memory: GuidedMemory, server: Server, updates: Sequence[Update]) -> None:
        # known: by device, its utility and its last staleness values
        for update in updates:
            _, recent = memory.known.get(update.device, (0.0, []))
            recent = [*recent[-4:], update.staleness]
            memory.known[update.device] = (utility(update), recent)

    def exploit(
        self, memory: GuidedMemory, devices: list[int], n: int, rng: np.random.Generator
    ) -> list[int]:
        def score(device: int) -> float:
            gain, recent = memory.known[device]
            return float(gain * (sum(recent) / len(recent) + 1.0) ** -self.beta)

        return sorted(devices, key=score, reverse=True)[:n]


@dataclass(slots=True, kw_only=True)
class PiscesState(AsyncState):
    """folded_s: time of the last fold. seconds: by device, how long its last task took."""

    folded_s: float = 0.0
    seconds: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Pisces(Asynchronous):
    """Asynchrony with guided selection; folds as often as the slowest task in flight allows.

    bound: b, None: `concurrency`. A very large bound folds every update at once.
    """

    reference: ClassVar[str] = "Jiang et al., SoCC 2022, arXiv 2206.09264"

    bound: Positive | None = None
    weighting: Weighting = Weighting()
    selection: Selection = PiscesSelection()

    @cached_property
    def tracks(self) -> bool:
        return True

    def init(self, params: Any) -> PiscesState:
        return PiscesState(**self.parts(params))

    def step(self, state: PiscesState, server: Server, updates: list[Update]) -> Wait:
        for update in updates:
            state.seconds[update.device] = update.arrived_s - update.dispatched_s
        return super().step(state, server, updates)

    def ready(self, state: PiscesState, server: Server) -> list[Update]:
        if self.max_staleness is not None:
            self.drop(state, server, self.max_staleness)
        pending = list(state.pending)
        if not pending or server.now_s < self._due_s(state):
            return []
        state.folded_s = server.now_s
        return pending

    def fold(self, state: PiscesState, server: Server, updates: list[Update]) -> Change:
        total = sum(update.examples for update in updates)
        return weighted(
            updates, [self.weighting(u.staleness) * u.examples / total for u in updates]
        )

    def wait(self, state: PiscesState, server: Server) -> Wait:
        within = self._due_s(state) - server.now_s if state.pending else None
        return Wait(arrivals=1, within=within)

    def _due_s(self, state: PiscesState) -> float:
        """When the next fold may happen."""
        seconds = state.seconds
        longest = max(seconds.values(), default=0.0)
        latencies = [seconds.get(device, longest) for device, _ in state.flying.values()]
        bound = self.concurrency if self.bound is None else self.bound
        return state.folded_s + max(latencies, default=0.0) / bound
