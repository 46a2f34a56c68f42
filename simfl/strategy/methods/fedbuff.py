"""Buffered asynchrony.

Nguyen et al., "Federated learning with buffered asynchronous aggregation", AISTATS 2022, arXiv
2106.06639:

    w ← w + server_lr · (1/B) Σ s(τᵢ) dᵢ,   s(τ) = 1/√(1 + τ), over the B updates in the buffer.

Public implementations differ in the divisor: B (the paper, `normalise = "count"`), Σ s(τᵢ)
("weights", which forgets staleness that all share) or none ("none", so that the server rate is
B times smaller). The paper's normalisation of local rates for unequal step counts is left out.
The system around it (Huba et al., MLSys 2022, arXiv 2111.04877) rejects updates that are too
stale: `max_staleness`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from simfl.messages import Update
from simfl.strategy.aggregation import Normalise, discounted
from simfl.strategy.base import Change, Server
from simfl.strategy.methods.asynchronous import AsyncState, Buffered
from simfl.strategy.weighting import Polynomial, Weighting


@dataclass(frozen=True, kw_only=True)
class FedBuff(Buffered):
    """Buffered asynchrony: fold every `buffer` updates, discounted by staleness."""

    reference: ClassVar[str] = "Nguyen et al., AISTATS 2022, arXiv 2106.06639"

    weighting: Weighting = Polynomial(a=0.5)
    normalise: Normalise = "count"

    def fold(self, state: AsyncState, server: Server, updates: list[Update]) -> Change:
        return discounted(updates, lambda u: self.weighting(u.staleness), self.normalise)
