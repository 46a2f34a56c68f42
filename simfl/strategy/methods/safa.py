"""Everybody trains in every round; the server keeps everybody's model.

Wu, He, Lin, Mao, Maple and Jarvis, "SAFA: a semi-asynchronous protocol for fast federated
learning with low overhead", IEEE Transactions on Computers 2021, arXiv 1910.01355. A round ends
when `quota` of the devices have been picked, at the deadline, or when all have answered:

    picked       first come, first merged, but those picked last time only to fill the quota
    deprecated   at work on a model more than `lag` versions old: stopped, given the new model,
                 and their cache entry is reset to the current one
    tolerable    at work on an older model within the lag: left alone
    w ← Σ_k (n_k/n) cache_k over all devices; then who came but was not picked enters the cache,
    and counts from the next round on (the bypass)

The cache starts as the initial model. In the paper a crashed device goes on with its own model;
here it starts anew. The server holds up to N models.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any, ClassVar

from simfl.messages import Update
from simfl.strategy.aggregation import whole
from simfl.strategy.base import Change, Server, Wait
from simfl.strategy.common import Options, State, ended
from simfl.units import Duration, Index, Share


@dataclass(slots=True, kw_only=True)
class SafaState(State):
    """The cache, and where this round stands."""

    initial: Any  #: the cache entry of a device that has none of its own
    total: Any  #: Σ (n_k/n) cache_k
    cache: dict[int, Any] = field(default_factory=dict)  #: models by device
    flying: dict[int, tuple[int, int]] = field(default_factory=dict)  #: (device, version)
    picked: list[Update] = field(default_factory=list)
    undrafted: list[Update] = field(default_factory=list)
    bypassed: list[Update] = field(default_factory=list)  #: in the cache, not in the model yet
    last: list[int] = field(default_factory=list)  #: devices picked in the last round
    end_s: float = 0.0  #: the round's deadline


@dataclass(frozen=True, kw_only=True)
class Safa(Options):
    """Rounds that merge the first to come and keep the rest for the next.

    quota: share of the fleet that ends a round. `quota = 1` without losses is FedAvg on everybody.
    """

    reference: ClassVar[str] = "Wu et al., IEEE TC 2021, arXiv 1910.01355"

    quota: Share = 0.5
    lag: Index = 5
    deadline_s: Duration | None = None

    def init(self, params: Any) -> SafaState:
        return SafaState(**self.parts(params), initial=params, total=params)

    def step(self, state: SafaState, server: Server, updates: list[Update]) -> Wait:
        quota = ceil(self.quota * server.devices)
        for serial in ended(server, updates):
            state.flying.pop(serial, None)
        for update in updates:
            first = update.device not in state.last and len(state.picked) < quota
            (state.picked if first else state.undrafted).append(update)
        late = server.now_s >= state.end_s
        if late or len(state.picked) == quota or not state.flying:
            self._close(state, server, quota)
            self._open(state, server)
        within = None if state.end_s == inf else state.end_s - server.now_s
        return Wait(arrivals=1, losses=1, within=within)

    def _open(self, state: SafaState, server: Server) -> None:
        devices = server.candidates().tolist()
        for serial, device in zip(self.ask(state, server, devices), devices, strict=True):
            state.flying[serial] = (device, server.version)
        state.end_s = inf if self.deadline_s is None else server.now_s + self.deadline_s

    def _close(self, state: SafaState, server: Server, quota: int) -> None:
        missing = quota - len(state.picked)
        picked = state.picked + state.undrafted[:missing]
        spare = state.undrafted[missing:]
        if picked:
            self._reset(state, server)
            for update in picked:
                _place(state, server, update.device, _model(update))
            server.apply(self.stepped(state, picked, self._change(state, server, picked)))
            for update in spare:
                _place(state, server, update.device, _model(update))
            state.bypassed, state.last = spare, [update.device for update in picked]
        state.picked, state.undrafted = [], []

    def _reset(self, state: SafaState, server: Server) -> None:
        """Stops the deprecated devices and forgets what they had sent."""
        oldest = server.version + 1 - self.lag
        late = [device for device, version in state.flying.values() if version < oldest]
        server.cancel(late, "deprecated")
        state.flying = {s: entry for s, entry in state.flying.items() if entry[1] >= oldest}
        for device in late:
            _place(state, server, device, server.params)
        _forget(state, server, late)

    def _change(self, state: SafaState, server: Server, picked: list[Update]) -> Change:
        _forget(state, server, [update.device for update in picked])
        used = [*state.bypassed, *picked]
        weights = {update.task: _share(server, update.device) for update in used}
        return Change(state.total - server.params, weights)


def _model(update: Update) -> Any:
    return update.base + whole(update.delta, update.base)


def _share(server: Server, device: int) -> float:
    return float(server.examples[device] / server.examples.sum())


def _place(state: SafaState, server: Server, device: int, model: Any) -> None:
    """The device's cache entry, and the total, become those of this model."""
    old = state.cache.get(device, state.initial)
    state.total = state.total + (model - old) * _share(server, device)
    state.cache[device] = model


def _forget(state: SafaState, server: Server, devices: list[int]) -> None:
    """Bypassed updates whose cache entry was replaced before they counted are waste."""
    gone = [update for update in state.bypassed if update.device in devices]
    server.discard(gone, "superseded")
    state.bypassed = [update for update in state.bypassed if update not in gone]
