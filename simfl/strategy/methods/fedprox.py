"""A proximal term, and partial work from those who cannot do all of it.

Li, Sahu, Zaheer, Sanjabi, Talwalkar and Smith, "Federated optimization in heterogeneous
networks", MLSys 2020, arXiv 1812.06127. Devices minimise F_i(y) + (μ/2)||y - w||² and the server
averages as FedAvg does. In the paper's experiments a share of each cohort are stragglers, which
have time for fewer epochs only: FedProx keeps their work and FedAvg drops it. Both can be had
with either μ, for comparing them in one pair tells nothing about μ.

The analysed variant draws devices by their data and averages plainly:
`selection = { kind = "weighted" }` with `weights = "uniform"`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from simfl.messages import Update
from simfl.strategy.base import LocalRule, Server, Wait
from simfl.strategy.common import State
from simfl.strategy.local_rules import Proximal
from simfl.strategy.methods.fedavg import FedAvg
from simfl.units import Fraction


@dataclass(slots=True, kw_only=True)
class FedProxState(State):
    """stragglers: serials of this round's tasks with less than the whole work."""

    stragglers: list[int] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class FedProx(FedAvg):
    """Synchronous rounds with a proximal term and partial work from stragglers.

    stragglers: share of each cohort that does a random part of the work, uniform over the whole
    numbers of epochs (or steps) up to what is asked. `stragglers = 0` with `mu = 0` is FedAvg.
    """

    reference: ClassVar[str] = "Li et al., MLSys 2020, arXiv 1812.06127"

    stragglers: Fraction = 0.0
    on_straggler: Literal["keep", "drop"] = "keep"
    local: LocalRule = Proximal(mu=0.01)

    def init(self, params: Any) -> FedProxState:
        return FedProxState(**self.parts(params))

    def step(self, state: FedProxState, server: Server, updates: list[Update]) -> Wait:
        if self.on_straggler == "drop":
            late = [update for update in updates if update.task in state.stragglers]
            server.discard(late, "straggler")
            updates = [update for update in updates if update not in late]
        return super().step(state, server, updates)

    def ask(self, state: FedProxState, server: Server, devices: list[int]) -> list[int]:
        slow = round(self.stragglers * len(devices))
        if not slow:
            return super().ask(state, server, devices)
        ((unit, most),) = self.work.items()
        rng = server.generator("stragglers")
        late = rng.choice(len(devices), size=slow, replace=False).tolist()
        amounts = [most] * len(devices)
        for k in late:
            amounts[k] = int(rng.integers(1, int(most), endpoint=True)) if most > 1 else most
        serials = server.dispatch(devices, **{unit: amounts}, extras=self.extras(state))
        state.stragglers = [serials[k] for k in late]
        return serials
