"""Synchronous within tiers of similar speed, asynchronous across them.

Chai et al., "FedAT: a high-performance and communication-efficient federated learning system with
asynchronous tiers", SC 2021, arXiv 2010.05958. When a round of tier m of M ends:

    w_m = w_base + Σ pᵢdᵢ,   T_m ← T_m + 1,   w = Σ_k (T_{M+1-k} / ΣT) w_k

so that a fast tier's model weighs as much as its mirror image, the slow tier, has reported. A
tier that was never heard of holds the initial model. Devices minimise with a proximal term. The
first round asks all devices: it is folded like any other and sorts the devices into tiers; who does
not answer goes to the slowest. The paper's polyline coding of weights belongs to `wire`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from simfl.messages import Update
from simfl.strategy.aggregation import Weights, mean
from simfl.strategy.base import Change, LocalRule, Server, Wait
from simfl.strategy.common import Options, State
from simfl.strategy.local_rules import Proximal
from simfl.strategy.methods.guided.tifl import tiers_of
from simfl.units import Count


@dataclass(slots=True)
class Tier:
    """Devices that make rounds together.

    asked: device by serial, of this round's tasks.
    """

    devices: list[int]
    model: Any
    rounds: int = 0
    asked: dict[int, int] = field(default_factory=dict)
    reported: list[Update] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class FedAtState(State):
    """tiers: the quickest first; none before the profiling round has ended."""

    tiers: list[Tier] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class FedAt(Options):
    """Rounds within tiers of similar speed; the tiers do not wait for each other.

    cohort: devices asked in a tier's round. `tiers = 1` is FedAvg.
    """

    reference: ClassVar[str] = "Chai et al., SC 2021, arXiv 2010.05958"
    unfit_for_edges: ClassVar[str] = "it sorts all devices of the fleet into tiers of its own"

    tiers: Count = 5
    cohort: Count = 10
    weights: Weights = "examples"
    local: LocalRule = Proximal(mu=0.4)

    def init(self, params: Any) -> FedAtState:
        return FedAtState(**self.parts(params))

    def step(self, state: FedAtState, server: Server, updates: list[Update]) -> Wait:
        if not state.tiers and not self._sort(state, server, updates):
            self.ask(state, server, server.candidates().tolist())
            return Wait()
        by_task = {update.task: update for update in updates}
        lost = [task.serial for task in server.lost]
        for m, tier in enumerate(state.tiers):
            heard = [serial for serial in tier.asked if serial in by_task]
            tier.reported += [by_task[serial] for serial in heard]
            for serial in [*heard, *lost]:
                tier.asked.pop(serial, None)
            if not tier.asked:
                self._next_round(state, server, m)
        return Wait(arrivals=1, losses=1)

    def _sort(self, state: FedAtState, server: Server, updates: list[Update]) -> bool:
        """Makes the tiers, if the profiling round has answers or none is needed."""
        groups = [list(range(server.devices))]
        if self.tiers > 1:
            if not updates:
                return False
            server.apply(self.stepped(state, updates, mean(updates, self.weights)))
            groups = tiers_of({u.device: u.arrived_s - u.dispatched_s for u in updates}, self.tiers)
            known = {device for group in groups for device in group}
            groups[-1] += [device for device in range(server.devices) if device not in known]
        state.tiers = [Tier(group, server.params) for group in groups]
        return True

    def _next_round(self, state: FedAtState, server: Server, m: int) -> None:
        tier = state.tiers[m]
        if tier.reported:
            change = self._merge(state, server, m)
            server.apply(self.stepped(state, tier.reported, change))
            tier.reported = []
        devices = server.sample(self.cohort, among=tier.devices)
        serials = self.ask(state, server, devices)
        tier.asked = dict(zip(serials, devices, strict=True))

    def _merge(self, state: FedAtState, server: Server, m: int) -> Change:
        """The tier's model is renewed; the change leads to the weighted mean of all tiers'."""
        tiers = state.tiers
        tier, tier_mean = tiers[m], mean(tiers[m].reported, self.weights)
        tier.model = tier.reported[0].base + tier_mean.delta
        tier.rounds += 1
        total = sum(tier.rounds for tier in tiers)
        weights = [tier.rounds / total for tier in reversed(tiers)]
        target = tiers[0].model * weights[0]
        for other, weight in zip(tiers[1:], weights[1:], strict=True):
            target = target + other.model * weight
        return (tier_mean * weights[m]).with_delta(target - server.params)
