"""Delay compensation by the curvature that a gradient shows.

Zheng et al., "Asynchronous stochastic gradient descent with delay compensation" (DC-ASGD), ICML
2017, arXiv 1609.08326. A gradient g from w_base is carried to w by a first-order term, with λg⊙g
in place of the Hessian:

    g̃ = g + λ g⊙g⊙(w - w_base),   w ← w - ηg̃
    adaptive: λ_t = λ₀ / √(s + 10⁻⁷) elementwise, s ← m s + (1 - m) g⊙g

Here a device makes K steps and g = -d/(ηa) is their mean gradient, so that d̃ = d - ηa(g̃ - g); a
is K, or with local momentum the length of the path.
The compensation is quadratic in d: `clip` bounds ||d̃ - d|| by that multiple of ||d|| (not in the
paper; it explodes for large K otherwise).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from simfl.messages import Nothing, Update
from simfl.strategy.aggregation import weighted, whole
from simfl.strategy.base import Change, Server
from simfl.strategy.local_rules import path_length
from simfl.strategy.methods.asynchronous import Asynchronous, AsyncState
from simfl.strategy.tensors import filled, of_trained
from simfl.units import Fraction, NonNegative, Positive

_TINY = 1e-7


@dataclass(slots=True, kw_only=True)
class DcAsgdState(AsyncState):
    """square: s, the moving average of g⊙g."""

    square: Any


@dataclass(frozen=True, kw_only=True)
class DcAsgd(Asynchronous):
    """Asynchronous SGD that corrects each update for what the model did meanwhile.

    lam: λ, or λ₀ when adaptive (2 is usual then).
    decay: m. `lam = 0` is asynchronous SGD.
    """

    needs_sgd: ClassVar[bool] = True

    reference: ClassVar[str] = "Zheng et al., ICML 2017, arXiv 1609.08326"

    lam: NonNegative = 0.04
    adaptive: bool = False
    decay: Fraction = 0.95
    clip: Positive = 1.0

    def init(self, params: Any) -> DcAsgdState:
        return DcAsgdState(**self.parts(params), square=filled(params, 0.0))

    def fold(self, state: DcAsgdState, server: Server, updates: list[Update]) -> Change:
        (update,) = updates
        delta = whole(update.delta, update.base)
        path = update.lr * path_length(update.steps, update.lr, _momentum(server))
        g = delta * (-1.0 / path)
        strength = self._strength(state, g)
        change = weighted(updates, [1.0])
        if not self.lam or not update.staleness or isinstance(delta, Nothing):
            return change
        pull = of_trained(
            lambda g, lam, moved: -path * lam * g * g * moved,
            g, strength, server.params - update.base,
        )  # fmt: skip
        limit, size = self.clip * delta.norm(), pull.norm()
        factor = min(1.0, limit / size) if size else 1.0
        add = of_trained(lambda d, pull: d + factor * pull, delta, pull)
        return change.with_delta(add)

    def _strength(self, state: DcAsgdState, g: Any) -> Any:
        """λ for each element."""
        if not self.adaptive:
            return filled(g, self.lam)
        m = self.decay
        state.square = of_trained(lambda g, s: m * s + (1.0 - m) * g * g, g, state.square)
        return of_trained(lambda s: self.lam / (s + _TINY).sqrt(), state.square)


def _momentum(server: Server) -> float:
    """Of local training; 0 where the server does not know it."""
    info = server.learning
    return 0.0 if info is None or info.training is None else float(info.training.momentum)
