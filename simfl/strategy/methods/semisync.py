"""Rounds that do not wait for the late: what comes late enters the round in which it comes.

The setting of Wang and Gao, "Tackling intertwined data and device heterogeneities in federated
learning with unlimited staleness", AAAI 2025, arXiv 2309.13536, and what they compare with. An
update u of version v that is used at version t = v + τ enters as it is, or scaled down, or moved
to where the model is now to first order, elementwise as in Zheng et al., ICML 2017,
arXiv 1609.08326:

    u' = u - λ u ⊙ u ⊙ (w_t - w_v)

Two ways to be late. With a deadline devices take the time that they take, one task each. With
`hold` a class of devices delivers in time but its updates are used so many versions later, as if
several were on a long way at once: the paper's setting, in which every poll brings a stale update.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np

from simfl.errors import ScenarioError
from simfl.messages import Update
from simfl.strategy.aggregation import mass, mean, weighted, whole
from simfl.strategy.base import Change, Server, Wait
from simfl.strategy.common import State, ended
from simfl.strategy.methods.fedavg import FedAvg
from simfl.strategy.tensors import of_trained
from simfl.strategy.weighting import Weighting
from simfl.units import Duration, Index, NonNegative


@dataclass(slots=True, kw_only=True)
class SemiSyncState(State):
    """flying: version by serial, of the open tasks. held: updates that are not due yet."""

    flying: dict[int, int] = field(default_factory=dict)
    held: list[Update] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class SemiSync(FedAvg):
    """Rounds with a deadline; late updates are folded with the others, as they are.

    deadline_s: a round ends then, or when no task is in flight.
    hold: versions for which updates of the device class `late` are held back.
    weighting: what staleness costs, beside `weights`. With neither deadline nor hold this is
        FedAvg.
    """

    reference: ClassVar[str] = "Wang and Gao, AAAI 2025, arXiv 2309.13536"

    deadline_s: Duration | None = None
    hold: Index = 0
    late: str = "late"
    weighting: Weighting = Weighting()

    def init(self, params: Any) -> SemiSyncState:
        return SemiSyncState(**self.parts(params))

    def step(self, state: SemiSyncState, server: Server, updates: list[Update]) -> Wait:
        self.observe(state, server, updates)
        for serial in ended(server, updates):
            state.flying.pop(serial, None)
        state.held += updates
        due = self.due(state, server)
        if due:
            gone = {update.task for update in due}
            state.held = [update for update in state.held if update.task not in gone]
            server.apply(self.stepped(state, due, self.fold(state, server, due)))
        serials = self.ask(state, server, self.choose(state, server, self.cohort))
        state.flying.update(dict.fromkeys(serials, server.version))
        return Wait(within=self.deadline_s)

    def due(self, state: SemiSyncState, server: Server) -> list[Update]:
        """The updates that enter the model now."""
        if not self.hold:
            return list(state.held)
        late = self._late_class(server)
        return [u for u in state.held if not late[u.device] or u.staleness >= self.hold]

    def fold(self, state: SemiSyncState, server: Server, updates: list[Update]) -> Change:
        """The mean over on-time updates and what is made of the late ones."""
        stale = [update for update in updates if update.staleness]
        made = dict(zip((u.task for u in stale), self.freshen(state, server, stale), strict=True))
        return self.merge(state, [made.get(update.task, update) for update in updates])

    def freshen(self, state: SemiSyncState, server: Server, stale: list[Update]) -> list[Update]:
        """What enters the fold in place of these stale updates, one for one."""
        return stale

    def merge(self, state: SemiSyncState, updates: list[Update]) -> Change:
        """Updates as one change."""
        of = mass(self.weights)
        return mean(updates, lambda update: of(update) * self.weighting(update.staleness))

    def oldest(self, state: SemiSyncState, server: Server) -> int:
        """The oldest version from which an update may still come."""
        held = [update.version for update in state.held]
        return min([*held, *state.flying.values()], default=server.version)

    def _late_class(self, server: Server) -> np.ndarray:
        """(devices,) bool, whose updates are held back. Raises ScenarioError."""
        fleet = server.fleet
        if self.late not in fleet.device_classes:
            raise ScenarioError(
                f"hold = {self.hold} is for devices of the class {self.late!r}, but the fleet has "
                f"{', '.join(fleet.device_classes)} only: name one of its groups {self.late!r}, or "
                "give `late`"
            )
        if len(fleet.device_classes) == 1:
            raise ScenarioError(
                f"hold = {self.hold} would hold back every update: all devices are of the class "
                f"{self.late!r}; expected another class beside it"
            )
        return np.asarray(fleet.class_id == fleet.device_classes.index(self.late))


@dataclass(slots=True, kw_only=True)
class TwoTiersState(SemiSyncState):
    """is_late: by device, whether its last update was."""

    is_late: dict[int, bool] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class TwoTiers(SemiSync):
    """On-time and late devices are averaged apart, and weighed by how many devices are in each.

    A tier that has nothing in a round leaves it to the other.
    """

    def init(self, params: Any) -> TwoTiersState:
        return TwoTiersState(**self.parts(params))

    def merge(self, state: TwoTiersState, updates: list[Update]) -> Change:
        state.is_late.update({update.device: update.staleness > 0 for update in updates})
        of, late = mass(self.weights), list(state.is_late.values())
        tiers = [[u for u in updates if bool(u.staleness) == tier] for tier in (False, True)]
        members = [len(late) - sum(late), sum(late)]
        whole_mass = sum(n for n, tier in zip(members, tiers, strict=True) if tier)
        weights: dict[int, float] = {}
        for n, tier in zip(members, tiers, strict=True):
            tier_mass = sum(map(of, tier))
            weights |= {u.task: n / whole_mass * of(u) / tier_mass for u in tier}
        return weighted(updates, [weights[update.task] for update in updates])


@dataclass(slots=True, kw_only=True)
class FirstOrderState(SemiSyncState):
    """last: the model of the version before. pace: w_v - w_{v-1}, by version v."""

    last: Any
    pace: dict[int, Any]


@dataclass(frozen=True, kw_only=True)
class FirstOrder(SemiSync):
    """Late updates are moved to the present model by a first-order term. `lam = 0` is SemiSync.

    predict: the present model is guessed when a task is sent out, w_v + τ(w_v - w_{v-1}), as if
    its staleness were known in advance.
    """

    lam: NonNegative = 4.0
    predict: bool = False

    def init(self, params: Any) -> FirstOrderState:
        return FirstOrderState(**self.parts(params), last=params, pace={0: params * 0.0})

    def step(self, state: FirstOrderState, server: Server, updates: list[Update]) -> Wait:
        wait = super().step(state, server, updates)
        if self.predict and server.version not in state.pace:
            state.pace[server.version] = server.params - state.last
            oldest = self.oldest(state, server)
            state.pace = {v: move for v, move in state.pace.items() if v >= oldest}
        state.last = server.params
        return wait

    def freshen(self, state: FirstOrderState, server: Server, stale: list[Update]) -> list[Update]:
        return [replace(u, delta=self._moved(u, self._way(state, server, u))) for u in stale]

    def _way(self, state: FirstOrderState, server: Server, update: Update) -> Any:
        """From the model that the update began with to the present one, known or guessed."""
        if self.predict:
            return state.pace[update.version] * float(update.staleness)
        return server.params - update.base

    def _moved(self, update: Update, way: Any) -> Any:
        delta = whole(update.delta, update.base)
        return of_trained(lambda u, by: u - self.lam * u * u * by, delta, way)
