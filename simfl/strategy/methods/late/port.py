"""Buffered asynchrony that weighs direction and staleness, and calls late devices in.

Su and Li, "How asynchronous can federated learning be?" (Port), IWQoS 2022:

    w ← w + server_lr · Σ qᵢdᵢ,   qᵢ ∝ pᵢ [w_s (1 + cos(w - w_base, dᵢ))/2 + w_τ S/(S + τᵢ)]

with pᵢ = nᵢ/Σnⱼ and S the staleness bound; the qᵢ add up to one. A task that would exceed the
bound is not waited out: its device is asked to stop and send what it has. The authors' code
compares with the model of two rounds ago in place of the true base; here the base is the base, and
a fresh update counts as perfectly aligned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from simfl.messages import Update
from simfl.strategy.aggregation import mean, whole
from simfl.strategy.base import Change, Server
from simfl.strategy.methods.asynchronous import AsyncState, Buffered
from simfl.strategy.tensors import cosine
from simfl.units import Count, Index, NonNegative


@dataclass(frozen=True, kw_only=True)
class Port(Buffered):
    """Buffered asynchrony weighed by direction and staleness, with a bound that is enforced.

    `similarity = 0` weighs by staleness alone, and equally stale updates as FedAvg does.
    """

    reference: ClassVar[str] = "Su and Li, IWQoS 2022"

    concurrency: Count = 30
    buffer: Count = 15
    max_staleness: Index | None = 10
    on_stale: Literal["drop", "wait", "request"] = "request"
    similarity: NonNegative = 1.0  #: w_s
    freshness: NonNegative = 3.0  #: w_τ

    def fold(self, state: AsyncState, server: Server, updates: list[Update]) -> Change:
        return mean(updates, lambda u: u.examples * self._merit(server, u))

    def _merit(self, server: Server, update: Update) -> float:
        tau, bound = update.staleness, self.max_staleness
        fresh = 1.0 if bound is None or not tau else bound / (bound + tau)
        aligned = 1.0
        if tau and self.similarity:
            delta = whole(update.delta, update.base)
            aligned = (1.0 + cosine(server.params - update.base, delta)) / 2.0
        return self.similarity * aligned + self.freshness * fresh
