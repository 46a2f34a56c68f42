"""Pure asynchrony: every update mixes into the model as it comes.

Xie, Koyejo and Gupta, "Asynchronous federated optimization", arXiv 1903.03934 (2019):

    w ← (1 - α_t) w + α_t yᵢ,   α_t = α · s(τ),   yᵢ the device's own model.

Mixing models also pulls towards the stale base: it is w ← w + α_t (dᵢ + w_base - w). With
`mode = "delta"` the pull is left out, w ← w + α_t dᵢ; the two agree where τ = 0. The paper's
devices minimise F_i(y) + (ρ/2)||y - w_base||²: `local = {kind = "proximal", mu = ρ}`. Its threads
that wake at random times are not modelled: a replacement leaves when an update has come.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from simfl.messages import Update
from simfl.strategy.aggregation import mixed, weighted
from simfl.strategy.base import Change, Server
from simfl.strategy.methods.asynchronous import Asynchronous, AsyncState
from simfl.strategy.weighting import Polynomial, Weighting
from simfl.units import Fraction


@dataclass(frozen=True, kw_only=True)
class FedAsync(Asynchronous):
    """Pure asynchrony: mix each update in at once, less the staler it is."""

    reference: ClassVar[str] = "Xie, Koyejo and Gupta, arXiv 1903.03934"

    alpha: Fraction = 0.6
    weighting: Weighting = Polynomial(a=0.5)
    mode: Literal["mix", "delta"] = "mix"

    def fold(self, state: AsyncState, server: Server, updates: list[Update]) -> Change:
        (update,) = updates
        alpha = self.alpha * self.weighting(update.staleness)
        if self.mode == "mix":
            return mixed(update, server, alpha)
        return weighted([update], [alpha])
