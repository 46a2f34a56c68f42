"""Smaller steps for late work: the theory's answer to delay.

Koloskova, Stich and Jaggi, "Sharper convergence guarantees for asynchronous SGD", NeurIPS 2022,
arXiv 2206.08307, one update at a time:

    w ← w + server_lr · min(1, τ_C/τ) d,   τ_C the concurrency.

The paper takes the full rate up to τ_C and any rate below 1/(4Lτ) beyond; L is not known in
practice, so the rate falls like 1/τ from τ_C on. Its other choice, to drop, is
`max_staleness = τ_C`. The paper's gradient is here a device's update.

Wang et al., "FADAS: towards federated adaptive asynchronous optimization", ICML 2024, arXiv
2407.18365, with a buffer and AMSGrad on the server:

    D = (1/B) Σ dᵢ,   w ← w + η_t m/(√v̂ + ε),
    η_t = η if τ_max ≤ τ_c, else min(η, 1/τ_max), τ_max the largest staleness in the buffer.

The authors' code multiplies η by 1/τ_max (`beyond = "multiply"`) and corrects m and v for their
start, which is left out here. With the customary η « 1 the minimum hardly ever acts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from simfl.messages import Update
from simfl.strategy.aggregation import discounted, weighted
from simfl.strategy.base import Change, Server
from simfl.strategy.methods.asynchronous import Asynchronous, AsyncState, Buffered
from simfl.strategy.optimiser import Amsgrad, ServerOptimiser
from simfl.units import NonNegative, Positive


@dataclass(frozen=True, kw_only=True)
class DelayAdaptive(Asynchronous):
    """Asynchronous SGD whose step shrinks once the delay exceeds the concurrency.

    tau_c: delay up to which the step is whole; None: `concurrency`. A `tau_c` that is never
    exceeded is plain asynchronous SGD.
    """

    reference: ClassVar[str] = "Koloskova, Stich and Jaggi, NeurIPS 2022, arXiv 2206.08307"

    tau_c: NonNegative | None = None

    def fold(self, state: AsyncState, server: Server, updates: list[Update]) -> Change:
        (update,) = updates
        tau_c = self.concurrency if self.tau_c is None else self.tau_c
        late = update.staleness > tau_c
        return weighted(updates, [tau_c / update.staleness if late else 1.0])


@dataclass(frozen=True, kw_only=True)
class Fadas(Buffered):
    """Buffered asynchrony with AMSGrad on the server and a rate that adapts to the delay."""

    reference: ClassVar[str] = "Wang et al., ICML 2024, arXiv 2407.18365"

    server_lr: Positive = 1e-3
    server_optimiser: ServerOptimiser = Amsgrad()
    tau_c: NonNegative = 1.0
    beyond: Literal["min", "multiply"] = "min"

    def fold(self, state: AsyncState, server: Server, updates: list[Update]) -> Change:
        return discounted(updates, lambda u: 1.0)

    def rate(self, updates: Sequence[Update]) -> float:
        tau_max = max(update.staleness for update in updates)
        if tau_max <= self.tau_c:
            return self.server_lr
        if self.beyond == "multiply":
            return self.server_lr / tau_max
        return min(self.server_lr, 1.0 / tau_max)
