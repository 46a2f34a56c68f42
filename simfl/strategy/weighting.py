"""What a stale update still weighs: s(τ), with τ the versions applied since its dispatch.

Xie, Koyejo and Gupta, "Asynchronous federated optimization", arXiv 1903.03934 (2019). All start
at s(0) = 1 and never rise. The paper's indices make a fresh update one version old: `offset = 1`
reads them literally, 0 (the default) counts a fresh update as fresh.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

from simfl.units import Index, NonNegative


@dataclass(frozen=True)
class Weighting:
    """s(τ) = 1: staleness does not matter."""

    def __call__(self, staleness: int) -> float:
        """Weight of an update so many versions old, in [0, 1]."""
        return 1.0


@dataclass(frozen=True)
class Polynomial(Weighting):
    """s(τ) = (1 + τ)^-a. `a = 0` is constant."""

    a: NonNegative = 0.5
    offset: Index = 0

    def __call__(self, staleness: int) -> float:
        return float((1.0 + staleness + self.offset) ** -self.a)


@dataclass(frozen=True)
class Sigmoid(Weighting):
    """s(τ) = 1 / (1 + exp(a (τ - b))), divided by s(0): the late are all but left out.

    Wang and Gao, AAAI 2025, arXiv 2309.13536, where s(0) is not divided by and is 0.92.
    """

    a: NonNegative = 0.25
    b: NonNegative = 10.0

    def __call__(self, staleness: int) -> float:
        return self._raw(staleness) / self._raw(0)

    def _raw(self, staleness: int) -> float:
        return 1.0 / (1.0 + exp(min(700.0, self.a * (staleness - self.b))))


@dataclass(frozen=True)
class Hinge(Weighting):
    """s(τ) = 1 up to τ = b, then 1 / (a (τ - b) + 1)."""

    a: NonNegative = 10.0
    b: NonNegative = 4.0
    offset: Index = 0

    def __call__(self, staleness: int) -> float:
        return 1.0 / (self.a * max(0.0, staleness + self.offset - self.b) + 1.0)
