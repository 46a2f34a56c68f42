"""The server polls at its own clock, and devices answer with whatever they have.

Zakerinia, Talaei, Nadiradze and Alistarh, "QuAFL: federated averaging made asynchronous and
communication-efficient", arXiv 2206.10032. Every device i trains its own model X_i, at most K
steps between contacts. At each tick the server X contacts s random devices; with Y_i what device i
has by then:

    X ← (X + Σ Yᵢ)/(s + 1),   X_i ← (X + s Yᵢ)/(s + 1) with the old X

Without losses X + Σ X_i is conserved at each contact. A device that has made its K steps sends
them at once, and the server holds them until the device is contacted: the bytes are the same. The
lattice coding of the paper, relative to the receiver's model, belongs to `wire`; a device whose
task is lost begins with the server's model again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from simfl.messages import Update
from simfl.strategy.aggregation import mixed
from simfl.strategy.base import Change, Context, LocalRule, Report, Server, Wait, Work
from simfl.strategy.common import Options, State, ended
from simfl.units import Count, Duration

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class OwnModel(LocalRule):
    """Go on from an average of the own model and the server's (QuAFL)."""

    def prepare(
        self, base: Tensor, extras: Mapping[str, Any], memory: Mapping[str, Any], work: Work
    ) -> tuple[Tensor, Context]:
        if not memory or not extras:
            return base, {}
        s = extras["contacted"]
        return (base + s * memory["y"]) * (1.0 / (s + 1.0)), {}

    def sends(self, params: Any) -> Mapping[str, Any]:
        return {}

    def report(self, end: Tensor, base: Tensor, context: Context, work: Work) -> Report:
        return Report(end - base, memory={"y": end})


@dataclass(slots=True, kw_only=True)
class QuaflState(State):
    """Devices at work between contacts.

    flying: device by serial.
    held: by device, an update that waits for its contact.
    """

    flying: dict[int, int] = field(default_factory=dict)
    held: dict[int, Update] = field(default_factory=dict)
    contacted: list[int] = field(default_factory=list)  #: devices, until all have answered
    tick_s: float = 0.0  #: time of the next contact


@dataclass(frozen=True, kw_only=True)
class Quafl(Options):
    """The server contacts a few devices at each tick; they answer at once, done or not.

    cohort: s, devices contacted at a tick.
    every_s: between ticks. The whole fleet is at work.
    """

    reference: ClassVar[str] = "Zakerinia et al., arXiv 2206.10032"

    cohort: Count = 10
    every_s: Duration = 60.0
    local: LocalRule = OwnModel()

    def init(self, params: Any) -> QuaflState:
        return QuaflState(**self.parts(params))

    def step(self, state: QuaflState, server: Server, updates: list[Update]) -> Wait:
        for serial in ended(server, updates):
            state.flying.pop(serial, None)
        state.held.update((update.device, update) for update in updates)
        self._answer(state, server)
        if not state.contacted and server.now_s >= state.tick_s:
            self._contact(state, server)
            self._answer(state, server)
        if state.contacted:
            return Wait(arrivals=1, losses=1)
        return Wait(within=state.tick_s - server.now_s)

    def _contact(self, state: QuaflState, server: Server) -> None:
        """Chooses the devices of this tick, and sends work to those that have none."""
        state.tick_s = server.now_s + self.every_s
        flying, held = state.flying, state.held
        working = sorted([*flying.values(), *held])
        n = min(self.cohort, len(working))
        rng = server.generator("contact")
        state.contacted = rng.choice(working, size=n, replace=False).tolist() if n else []
        server.request_partial([device for device in state.contacted if device not in held])
        self.send(state, server, [d for d in server.candidates().tolist() if d not in held])

    def _answer(self, state: QuaflState, server: Server) -> None:
        """Folds, once all who were contacted have answered or are lost."""
        flying, held = set(state.flying.values()), state.held
        if not state.contacted or any(device in flying for device in state.contacted):
            return
        answers = [held.pop(device) for device in sorted(state.contacted) if device in held]
        state.contacted = []
        if answers:
            self.renew(state, server, answers)

    def renew(self, state: Any, server: Server, answers: list[Update]) -> None:
        """Changes the model, and sends those who answered on their way."""
        there = server.sample(len(answers), among=[update.device for update in answers])
        self.send(state, server, sorted(there), {"contacted": len(answers)})  # the old X
        share = 1.0 / (len(answers) + 1.0)
        change = sum_of([mixed(update, server, share) for update in answers])
        server.apply(self.stepped(state, answers, change))

    def send(
        self,
        state: QuaflState,
        server: Server,
        devices: list[int],
        extras: Mapping[str, Any] | None = None,
    ) -> None:
        """Sends work to these devices."""
        serials = server.dispatch(devices, **self.work, extras=extras)
        state.flying.update(zip(serials, devices, strict=True))


def sum_of(parts: list[Change]) -> Change:
    """Several changes, each of updates of its own, as one."""
    first, *rest = parts
    shares = None if first.shares is None else dict(first.shares)
    total, weights = first.delta, dict(first.weights)
    for part in rest:
        total, weights = total + part.delta, {**weights, **part.weights}
        shares = None if shares is None else {**shares, **(part.shares or {})}
    return Change(total, weights, shares)
