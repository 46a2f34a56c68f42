"""One bit for each parameter, and a vote.

Bernstein, Wang, Azizzadenesheli and Anandkumar, "signSGD: compressed optimisation for non-convex
problems", ICML 2018, arXiv 1802.04434. With vᵢ = ±1 for the direction of each element of dᵢ:

    w ← w + server_lr · sign Σ vᵢ

Every vote counts the same, however many examples are behind it. A zero votes, and a tie is
decided, for +1, as a bit must be one or the other. The paper's devices make one step (`steps = 1`)
and send one bit for each element, which is `wire.up = [{ kind = "sign", feedback = false }]`. It
sends the vote down in a bit as well, to devices that all take part and hold the model; here any
may take part, and the model travels.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from simfl.messages import Update
from simfl.strategy.aggregation import mean, weighted, whole
from simfl.strategy.base import Change, Server
from simfl.strategy.common import State
from simfl.strategy.methods.fedavg import FedAvg
from simfl.strategy.tensors import of_trained
from simfl.units import Count, Positive

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SignSgd(FedAvg):
    """Synchronous rounds in which devices vote on the sign of every parameter's step."""

    reference: ClassVar[str] = "Bernstein et al., ICML 2018, arXiv 1802.04434"

    steps: Count | None = 1
    server_lr: Positive = 0.01

    def fold(self, state: State, server: Server, updates: list[Update]) -> Change:
        votes = [replace(u, delta=of_trained(_signs, whole(u.delta, u.base))) for u in updates]
        change, tally = mean(votes, "uniform"), weighted(votes, [1.0] * len(votes))
        elected = of_trained(lambda _, count: _signs(count), change.delta, tally.delta)
        return change.with_delta(elected)


def _signs(x: Tensor) -> Tensor:
    """+1 where x is not negative, else -1."""
    return (x >= 0).to(x.dtype) * 2.0 - 1.0
