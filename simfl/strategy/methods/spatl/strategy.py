"""SPATL's server: in rounds, and an asynchronous generalisation.

Drop-out: what arrived is folded with weights that sum to one over the arrivals; a device whose
upload was lost keeps predictor, variate and agent as they were.

Asynchrony (not in the paper): updates are folded relative to the model that they started from,
discounted by staleness, which no divisor contains. What a device learnt of its variate enters c
undamped and even if its update is thrown away for its age, since the device has kept it: c stays
the mean of all cᵢ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from simfl.errors import ScenarioError
from simfl.messages import Nothing, Update
from simfl.strategy.base import Change, LocalRule, Server
from simfl.strategy.common import Choosing, State
from simfl.strategy.methods.asynchronous import AsyncState, Buffered
from simfl.strategy.methods.fedavg import FedAvg
from simfl.strategy.methods.spatl.fold import Divisor, absorbed, by_index
from simfl.strategy.methods.spatl.salient import Salient
from simfl.strategy.tensors import trained
from simfl.strategy.weighting import Polynomial, Weighting
from simfl.units import Index


@dataclass(slots=True, kw_only=True)
class Shared:
    """The server's variate, the agent's graph network, and the devices that have it."""

    c: Any  #: (T,) variate
    gnn: Any = None  #: weights of the graph network, where an agent decides
    down: dict[int, Any] = field(default_factory=dict)  #: by serial, the variate that was sent
    met: dict[int, bool] = field(default_factory=dict)  #: devices that have the agent


@dataclass(slots=True, kw_only=True)
class SpatlState(State):
    """The state in rounds."""

    shared: Shared


@dataclass(slots=True, kw_only=True)
class AsyncSpatlState(AsyncState):
    """The state of buffered asynchrony."""

    shared: Shared


Running = SpatlState | AsyncSpatlState


@dataclass(frozen=True, kw_only=True)
class _Salience(Choosing):
    """The server's variate, the agent's graph network, and who has it."""

    needs_cross_entropy: ClassVar[bool] = True

    reference: ClassVar[str] = "Yu et al., SC 2022, arXiv 2111.14345"

    aggregate: Divisor = "index_mean"
    pretrain_games: Index = 200
    local: LocalRule = Salient()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.local, Salient):
            raise ScenarioError('SPATL needs local = { kind = "salient" }')

    @property
    def rule(self) -> Salient:
        assert isinstance(self.local, Salient)
        return self.local

    def parts(self, params: Any) -> dict[str, Any]:
        shared = Shared(c=trained(params) * 0.0)
        if self.rule.agent == "ppo" and not isinstance(params, Nothing):
            from simfl.strategy.methods.spatl.proxy import pretrained

            shared.gnn = pretrained(self.pretrain_games)
        return {**super().parts(params), "shared": shared}

    def observe(self, state: Running, server: Server, updates: Sequence[Update]) -> None:
        super().observe(state, server, updates)
        for task in server.lost:
            state.shared.down.pop(task.serial, None)
        state.shared.met |= dict.fromkeys((update.device for update in updates), True)

    def ask(self, state: Running, server: Server, devices: list[int]) -> list[int]:
        """As always; devices that are met for the first time are sent the agent, too."""
        extras, gnn, met = self.extras(state), state.shared.gnn, state.shared.met
        serials: dict[int, int] = {}
        first = [d for d in devices if gnn is not None and d not in met]
        again = [d for d in devices if gnn is None or d in met]
        for part, sent in ((first, {**extras, "gnn": gnn}), (again, extras)):
            if part:
                made = server.dispatch(part, **self.work, extras=sent)
                serials |= zip(part, made, strict=True)
        if self.rule.cv_uplink == "derived":
            state.shared.down |= dict.fromkeys(serials.values(), state.shared.c)
        return [serials[device] for device in devices]

    def extras(self, state: Running) -> Mapping[str, Any]:
        return {} if self.rule.control == "none" else {"c": state.shared.c}

    def absorb(self, state: Running, server: Server, updates: Sequence[Update]) -> None:
        """The server's variate hears what these updates' devices have kept."""
        shared = state.shared
        if self.rule.control != "none" and not isinstance(shared.c, Nothing):
            shared.c = absorbed(shared.c, updates, shared.down, server.devices)
        for update in updates:
            shared.down.pop(update.task, None)


@dataclass(frozen=True, kw_only=True)
class Spatl(_Salience, FedAvg):
    """Synchronous rounds of a shared encoder, private predictors and salient uploads."""

    def init(self, params: Any) -> SpatlState:
        return SpatlState(**self.parts(params))

    def fold(self, state: SpatlState, server: Server, updates: list[Update]) -> Change:
        self.absorb(state, server, updates)
        even = self.weights == "uniform"
        masses = [1.0 if even else float(update.examples) for update in updates]
        total = sum(masses)
        return by_index(updates, [mass / total for mass in masses], self.aggregate)


@dataclass(frozen=True, kw_only=True)
class AsyncSpatl(_Salience, Buffered):
    """Buffered asynchrony of the same: an extension of the paper."""

    weighting: Weighting = Polynomial(a=0.5)

    def init(self, params: Any) -> AsyncSpatlState:
        return AsyncSpatlState(**self.parts(params))

    def fold(self, state: AsyncSpatlState, server: Server, updates: list[Update]) -> Change:
        self.absorb(state, server, updates)
        total = sum(update.examples for update in updates)
        weights = [update.examples / total for update in updates]
        discounts = [self.weighting(update.staleness) for update in updates]
        return by_index(updates, weights, self.aggregate, discounts)

    def drop(self, state: AsyncSpatlState, server: Server, limit: int) -> None:
        self.absorb(state, server, [u for u in state.pending if u.staleness > limit])
        super().drop(state, server, limit)
