"""Polls at the server's clock, with the bias towards quick devices taken out.

Leconte, Jonckheere, Samsonov and Moulines, "FAVANO: federated averaging with asynchronous nodes"
(FAVAS in an earlier version), arXiv 2305.16099. Every device trains from the model w_i that it was
sent, at most K steps; at each tick the server contacts s random devices, which answer at once:

    w ← (w + Σ (w_i + (y_i - w_i)/α_i)) / (s + 1)

and go on from the new w. α_i undoes what a quick device does more of: the steps that it has made
(`scale = "steps"`), or their mean over its contacts so far ("expected").

As with QuAFL, a device that has made its K steps sends them at once and the server holds them until
the device is contacted: the bytes are the same. The paper's α_i are known in advance; here
"expected" begins with the steps of the first answer, and a device contacted before its first step
is over makes one. `local = "ownmodel"` is QuAFL's and refused: devices restart from the server's.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from simfl.errors import ScenarioError
from simfl.messages import Update
from simfl.strategy.aggregation import mixed
from simfl.strategy.base import Change, LocalRule, Server
from simfl.strategy.common import counted_in
from simfl.strategy.methods.quafl import OwnModel, Quafl, QuaflState, sum_of


@dataclass(slots=True, kw_only=True)
class FavanoState(QuaflState):
    """done: by device, its answers so far and their mean steps."""

    done: dict[int, tuple[int, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Favano(Quafl):
    """The server contacts a few devices at each tick; a step counts alike on every device.

    scale: what an answer is divided by.
    """

    reference: ClassVar[str] = "Leconte et al., arXiv 2305.16099"

    scale: Literal["steps", "expected"] = "steps"
    local: LocalRule = LocalRule()

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.local, OwnModel):
            raise ScenarioError(
                'local = "ownmodel" is for quafl: devices of favano restart from the model sent'
            )

    def init(self, params: Any) -> FavanoState:
        return FavanoState(**self.parts(params))

    def renew(self, state: FavanoState, server: Server, answers: list[Update]) -> None:
        server.apply(self.stepped(state, answers, self.average(state, server, answers)))
        there = server.sample(len(answers), among=[update.device for update in answers])
        self.send(state, server, sorted(there))

    def average(self, state: FavanoState, server: Server, answers: list[Update]) -> Change:
        for update in answers:
            counted_in(state.done, update.device, update.steps)
        return sum_of([self._scaled(state, server, u, 1.0 / (len(answers) + 1.0)) for u in answers])

    def _scaled(self, state: FavanoState, server: Server, update: Update, share: float) -> Change:
        alpha = state.done[update.device][1] if self.scale == "expected" else float(update.steps)
        part = mixed(replace(update, delta=update.delta * (1.0 / alpha)), server, share)
        return Change(part.delta, {update.task: share / alpha}, {update.task: share})
