"""REFL: asks the devices first that will be away soonest, and weighs late updates by what they add.

Abdelmoniem, Sahu, Canini and Fahmy, "REFL: resource-efficient federated learning", EuroSys 2023,
arXiv 2111.01108.

Selection (`selection = "refl"`): of the devices present those come first that are least available
in the slot [t + μ, t + 2μ], ties by chance; μ is a moving average of the rounds' lengths.

Aggregation: a round ends at its deadline, and a late update enters the round in which it comes.
With n fresh updates of mean f and a stale one u of staleness τ,

    Λ = ||f - (n f + u)/(n + 1)||² / ||f||²
    weight of a fresh update 1, of a stale one (1 - β)/(τ + 1) + β (1 - exp(-Λ/Λ_max)),

divided by their sum; Λ_max is the largest of the round. With `adapt` as many devices fewer are
asked as stale updates are expected within μ. What differs from the paper, and why:

- Availability is read from the fleet's presence: a forecast that is right. The paper's devices
  learn theirs; how wrong these are is not modelled.
- A task under way is expected when its device's last task took so long; devices say it in the
  paper. Those never heard of are not expected.
- The authors' code divides the exponent by ten; here it is the paper's.
- Without a fresh update, or with f = 0, Λ counts as 0: only staleness tells updates apart.
- The pause between two tasks of one device is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import exp, inf
from typing import Any, ClassVar

from simfl.messages import Nothing, Update
from simfl.strategy.aggregation import Weights, mass, mean, whole
from simfl.strategy.base import Change, Server, Wait
from simfl.strategy.common import ended
from simfl.strategy.methods.semisync import SemiSync, SemiSyncState
from simfl.strategy.selection import Selection
from simfl.units import Fraction, Share

_SPELLS = 10_000  #: of one device that are looked at in one slot


@dataclass(slots=True)
class Rounds:
    """mean_s: μ, None before the second draw. last_s: time of the last draw."""

    mean_s: float | None = None
    last_s: float | None = None

    def heard(self, now_s: float, pace: float) -> float:
        """μ, with the round that ends now."""
        if self.last_s is not None and now_s > self.last_s:
            new_s = now_s - self.last_s
            self.mean_s = (
                new_s if self.mean_s is None else self.mean_s + pace * (new_s - self.mean_s)
            )
        self.last_s = now_s
        return self.mean_s or 0.0


@dataclass(frozen=True)
class ReflSelection(Selection):
    """Those first who will be there least in the next round but one.

    pace: weight of the last round in μ. In a fleet that is always present this is `uniform`.
    """

    reference: ClassVar[str] = "Abdelmoniem et al., EuroSys 2023, arXiv 2111.01108"

    pace: Share = 0.25

    def init(self) -> Rounds:
        return Rounds()

    def choose(self, memory: Rounds, server: Server, n: int) -> list[int]:
        mu = memory.heard(server.now_s, self.pace)
        presence = getattr(server.fleet, "presence", None)
        if presence is None or presence.always:
            return server.sample(n)
        devices = server.candidates()
        mixed = server.generator("selection").permutation(devices).tolist()
        start_s, stop_s = server.now_s + mu, server.now_s + 2.0 * mu
        return sorted(mixed, key=lambda d: available(presence, d, start_s, stop_s))[:n]


def available(presence: Any, device: int, start_s: float, stop_s: float) -> float:
    """Share of [start_s, stop_s] in which the device is present; 0 of an empty slot."""
    t, there_s = start_s, 0.0
    for _ in range(_SPELLS):
        if t >= stop_s:
            break
        off_s = presence.off_after(device, t)
        there_s += min(off_s, stop_s) - t
        t = presence.on_after(device, off_s) if off_s < stop_s else stop_s
    return there_s / (stop_s - start_s) if stop_s > start_s else 0.0


@dataclass(slots=True, kw_only=True)
class ReflState(SemiSyncState):
    """A round's open tasks, and what tasks took.

    away: (device, dispatch) by serial, of the open tasks.
    seconds: a device's last task.
    """

    away: dict[int, tuple[int, float]] = field(default_factory=dict)
    seconds: dict[int, float] = field(default_factory=dict)
    rounds: Rounds = field(default_factory=Rounds)


@dataclass(frozen=True, kw_only=True)
class Refl(SemiSync):
    """Rounds with a deadline; late updates weigh by their age and by what they would change.

    beta: how much the latter counts. `beta = 0` weighs 1/(τ + 1).
    adapt: ask fewer devices where late updates are expected.
    """

    reference: ClassVar[str] = "Abdelmoniem et al., EuroSys 2023, arXiv 2111.01108"

    beta: Fraction = 0.35
    adapt: bool = False
    weights: Weights = "uniform"
    selection: Selection = ReflSelection()

    def init(self, params: Any) -> ReflState:
        return ReflState(**self.parts(params))

    def step(self, state: ReflState, server: Server, updates: list[Update]) -> Wait:
        for serial in ended(server, updates):
            state.away.pop(serial, None)
        for update in updates:
            state.seconds[update.device] = update.arrived_s - update.dispatched_s
        state.rounds.heard(server.now_s, 0.25)
        return super().step(state, server, updates)

    def choose(self, state: ReflState, server: Server, n: int) -> list[int]:
        return super().choose(state, server, max(1, n - self.expected(state, server)))

    def ask(self, state: ReflState, server: Server, devices: list[int]) -> list[int]:
        serials = super().ask(state, server, devices)
        sent = [(device, server.now_s) for device in devices]
        state.away.update(zip(serials, sent, strict=True))
        return serials

    def expected(self, state: ReflState, server: Server) -> int:
        """Tasks under way whose updates should come within μ; 0 unless `adapt`."""
        if not self.adapt:
            return 0
        until_s = server.now_s + (state.rounds.mean_s or 0.0)
        due_s = (sent_s + state.seconds.get(d, inf) for d, sent_s in state.away.values())
        return sum(due <= until_s for due in due_s)

    def merge(self, state: ReflState, updates: list[Update]) -> Change:
        of, changes = mass(self.weights), relative_changes(updates)
        most = max(changes.values(), default=0.0)

        def weight(update: Update) -> float:
            if not update.staleness:
                return of(update)
            boost = 1.0 - exp(-changes[update.task] / most) if most else 0.0
            age = (1.0 - self.beta) / (update.staleness + 1.0)
            return of(update) * (age + self.beta * boost)

        return mean(updates, weight)


def relative_changes(updates: Sequence[Update]) -> dict[int, float]:
    """Λ by task, of the stale ones of these updates."""
    fresh = [update for update in updates if not update.staleness]
    stale = [update for update in updates if update.staleness]
    if not fresh or isinstance(updates[0].delta, Nothing):
        return dict.fromkeys((update.task for update in stale), 0.0)
    center, n = whole(mean(fresh, "uniform").delta, updates[0].base), len(fresh)
    length = center.norm()
    return {
        update.task: ((center - whole(update.delta, update.base)).norm() / (n + 1) / length) ** 2
        if length
        else 0.0
        for update in stale
    }
