"""Server optimisers: what the server does with a fold before it becomes a step.

Hsu, Qi and Brown, "Measuring the effects of non-identical data distribution", arXiv 1909.06335
(FedAvgM); Reddi et al., "Adaptive federated optimization", ICLR 2021, arXiv 2003.00295 (FedAdagrad,
FedAdam, FedYogi). The fold D = Σ pᵢdᵢ stands in for the negative gradient:

    w ← w + server_lr · direction(D)

As in the paper there is no bias correction and v starts at ε². Only trained elements are treated;
running statistics keep their plain average. A strategy that folds a stale update scales the
update, never the optimiser's rate, so that the moments see what the model sees.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from simfl.strategy.tensors import filled, of_trained
from simfl.units import Fraction, Positive, Share


@dataclass(frozen=True)
class ServerOptimiser:
    """The fold is the step."""

    def init(self, params: Any) -> Any:
        """The moments at the start."""
        return None

    def step(self, moments: Any, delta: Any) -> tuple[Any, Any]:
        """The moments after this fold, and the direction to go in."""
        return moments, delta


@dataclass(frozen=True)
class Momentum(ServerOptimiser):
    """FedAvgM: v ← βv + D, direction v, or D + βv with `nesterov`. `beta = 0` is plain."""

    beta: Fraction = 0.9
    nesterov: bool = False

    def init(self, params: Any) -> Any:
        return filled(params, 0.0)

    def step(self, moments: Any, delta: Any) -> tuple[Any, Any]:
        v = of_trained(lambda d, v: self.beta * v + d, delta, moments)
        if not self.nesterov:
            return v, v
        return v, of_trained(lambda d, v: d + self.beta * v, delta, v)


@dataclass(frozen=True, slots=True)
class Moments:
    """m, v: first and second moment of the folds."""

    m: Any
    v: Any

    @property
    def divisor(self) -> Any:
        """The second moment that divides."""
        return self.v


@dataclass(frozen=True, slots=True)
class TopMoments(Moments):
    """top: the largest v so far, elementwise."""

    top: Any

    @property
    def divisor(self) -> Any:
        return self.top


@dataclass(frozen=True)
class Adagrad(ServerOptimiser):
    """FedAdagrad: v ← v + D², direction m / (√v + ε) with m ← β₁m + (1 - β₁)D."""

    beta1: Fraction = 0.0
    eps: Positive = 1e-3

    def init(self, params: Any) -> Moments:
        return Moments(filled(params, 0.0), filled(params, self.eps**2))

    def step(self, moments: Moments, delta: Any) -> tuple[Moments, Any]:
        beta1 = self.beta1
        m = of_trained(lambda d, m: beta1 * m + (1.0 - beta1) * d, delta, moments.m)
        v = of_trained(self.second, delta, moments.v)
        renewed = self.renewed(moments, m, v)
        return renewed, of_trained(self._direction, m, renewed.divisor)

    def second(self, d: Any, v: Any) -> Any:
        """The second moment after D: tensors in, tensor out."""
        return v + d * d

    def renewed(self, moments: Moments, m: Any, v: Any) -> Moments:
        """The moments with these values."""
        return Moments(m, v)

    def _direction(self, m: Any, v: Any) -> Any:
        return m / (v.sqrt() + self.eps)


@dataclass(frozen=True)
class Adam(Adagrad):
    """FedAdam: v ← β₂v + (1 - β₂)D²."""

    beta1: Fraction = 0.9
    beta2: Share = 0.99

    def second(self, d: Any, v: Any) -> Any:
        return self.beta2 * v + (1.0 - self.beta2) * (d * d)


@dataclass(frozen=True)
class Yogi(Adagrad):
    """FedYogi: v ← v - (1 - β₂)D² sign(v - D²)."""

    beta1: Fraction = 0.9
    beta2: Share = 0.99

    def second(self, d: Any, v: Any) -> Any:
        square = d * d
        return v - (1.0 - self.beta2) * square * (v - square).sign()


@dataclass(frozen=True)
class Amsgrad(Adam):
    """Adam divided by the largest v so far (the server of FADAS)."""

    eps: Positive = 1e-8

    def init(self, params: Any) -> TopMoments:
        m, v = filled(params, 0.0), filled(params, self.eps**2)
        return TopMoments(m, v, top=v)

    def renewed(self, moments: TopMoments, m: Any, v: Any) -> TopMoments:
        return TopMoments(m, v, of_trained(lambda v, top: v.maximum(top), v, moments.top))
