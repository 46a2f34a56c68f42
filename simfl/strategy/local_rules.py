"""Local rules that stand alone. Those that belong to one strategy lie beside it.

Li, Sahu, Zaheer, Sanjabi, Talwalkar and Smith, "Federated optimization in heterogeneous
networks" (FedProx), MLSys 2020, arXiv 1812.06127: a device minimises F_i(y) + (μ/2)||y - w||²,
w being the model that it received.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from simfl.strategy.base import Context
from simfl.strategy.special_rules import Affine, AffineRule
from simfl.units import NonNegative

if TYPE_CHECKING:
    from torch import Tensor


def path_length(steps: int, lr: float, momentum: float = 0.0, mu: float = 0.0) -> float:
    """||a||₁: how far, in units of lr, so many steps go if every gradient of the loss is one.

    What a rule divides by that takes a local path for a mean gradient.
    mu: of a proximal term.

    >>> path_length(10, lr=0.1), round(path_length(10, lr=0.1, momentum=0.9), 3)
    (10.0, 41.381)
    """
    gone = velocity = 0.0
    for _ in range(steps):
        velocity = momentum * velocity + 1.0 - lr * mu * gone
        gone += velocity
    return gone


@dataclass(frozen=True)
class Proximal(AffineRule):
    """Stay near the model received (FedProx). `mu = 0` is plain SGD.

    The penalty (μ/2)||y - w||² enters as its gradient μ(y - w); running statistics are left out.
    """

    mu: NonNegative = 0.01

    def correct(self, grad: Tensor, y: Tensor, context: Context) -> Tensor:
        if not self.mu:
            return grad
        return grad + self.mu * (y - context["base"])

    def affine(self, context: Context) -> Affine:
        return Affine(self.mu, None)
