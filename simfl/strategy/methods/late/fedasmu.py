"""Mixing whose weight falls with staleness and as the run goes on.

Liu, Jia, Che, Huo, Ren, Peng, Dai, Dou, "FedASMU: efficient asynchronous federated learning with
dynamic staleness-aware model update", AAAI 2024, arXiv 2312.05770. An update that left with version
o and meets version t, both counted from 1, with y the device's own model:

    ξ = λ/(√t (t - o + 1)^σ) + ι,   α = μξ/(1 + μξ),   w ← (1 - α) w + α y

so that α is in (0, 1). `ι > 0` with `λ = 0` is FedAsync with a constant α. What differs from the
paper, and why:

- λ, σ and ι are options and stay what they are. The paper moves them, for each device, along a
  gradient of the loss that the server estimates; there the values here are where it starts.
- Devices fetch no fresh model in the middle of their training: a task of simfl has one download.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import ClassVar

from simfl.errors import ScenarioError
from simfl.messages import Update
from simfl.strategy.aggregation import mixed
from simfl.strategy.base import Change, Server
from simfl.strategy.methods.asynchronous import Asynchronous, AsyncState
from simfl.units import NonNegative, Positive


@dataclass(frozen=True, kw_only=True)
class FedAsmu(Asynchronous):
    """Pure asynchrony: mix each update in, less the staler it is and the later it comes.

    mu, lam, sigma, iota: μ, λ, σ and ι of the weight; ι is what is left of it late in a run.
    """

    reference: ClassVar[str] = "Liu et al., AAAI 2024, arXiv 2312.05770"

    mu: Positive = 1.0
    lam: NonNegative = 1.0
    sigma: NonNegative = 0.5
    iota: NonNegative = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.lam and not self.iota:
            raise ScenarioError(
                "lam = 0 and iota = 0 give every update the weight 0; expected one of them above 0"
            )

    def fold(self, state: AsyncState, server: Server, updates: list[Update]) -> Change:
        (update,) = updates
        return mixed(update, server, self.alpha(server.version + 1, update.staleness))

    def alpha(self, t: int, staleness: int) -> float:
        """α of an update that meets version t, counted from 1."""
        xi = self.lam / (sqrt(t) * (staleness + 1.0) ** self.sigma) + self.iota
        return self.mu * xi / (1.0 + self.mu * xi)
