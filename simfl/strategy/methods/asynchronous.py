"""What all asynchronous strategies share: a constant number of tasks in flight, and a buffer.

A strategy of this family says how a full buffer folds (`fold`); refilling and what to do about
very stale work are policies, chosen by options:

refill: who replaces a device that is done: any idle one ("uniform"), or the "same" if it is
    still there (the setting of most analyses).
dispatch: replacements leave "after" the model has changed, with the new one, or "before". With C
    tasks in flight and a buffer of B the mean staleness of a lossless run tends to (C - 1)/B
    after, and to C/B before.
on_loss: who replaces a lost task leaves with the next arrival ("wait"), or at once ("replace"),
    which matters once losses are as common as arrivals.
max_staleness: beyond it an update is discarded. With on_stale = "wait" the buffer is rather held
    back while folding it would carry a task in flight past the bound, and then everything that
    has come meanwhile folds together; "request" does the same and has the late devices send
    what they have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from simfl.messages import Update
from simfl.strategy.base import Server, Wait
from simfl.strategy.common import Choosing, State, ended
from simfl.units import Count, Index

NEXT_ARRIVAL, NEXT_END = Wait(arrivals=1), Wait(arrivals=1, losses=1)


@dataclass(slots=True, kw_only=True)
class AsyncState(State):
    """The state of a strategy of this family.

    pending: updates not folded yet.
    flying: (device, version) by serial, oldest first.
    """

    pending: list[Update] = field(default_factory=list)
    flying: dict[int, tuple[int, int]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Asynchronous(Choosing):
    """Keep `concurrency` tasks in flight; fold every update as it comes."""

    concurrency: Count = 100
    refill: Literal["uniform", "same"] = "uniform"
    dispatch: Literal["after", "before"] = "after"
    on_loss: Literal["wait", "replace"] = "wait"
    max_staleness: Index | None = None

    @property
    def goal(self) -> int:
        """How many updates fold together."""
        return 1

    @cached_property
    def tracks(self) -> bool:
        """Whether `state.flying` is kept: the age of the tasks in flight matters."""
        return False

    def init(self, params: Any) -> AsyncState:
        return AsyncState(**self.parts(params))

    def step(self, state: AsyncState, server: Server, updates: list[Update]) -> Wait:
        self.observe(state, server, updates)
        if self.tracks:
            for serial in ended(server, updates):
                state.flying.pop(serial, None)
        state.pending += updates
        if self.dispatch == "before":
            self.fill(state, server, updates)
        while state.pending and (ready := self.ready(state, server)):
            state.pending = state.pending[len(ready) :]
            server.apply(self.stepped(state, ready, self.fold(state, server, ready)))
        if self.dispatch == "after":
            self.fill(state, server, updates)
        return self.wait(state, server)

    def wait(self, state: AsyncState, server: Server) -> Wait:
        """When to be asked again."""
        return NEXT_END if self.on_loss == "replace" else NEXT_ARRIVAL

    def ready(self, state: AsyncState, server: Server) -> list[Update]:
        """The updates that are to be folded now, first come first; none: not yet."""
        if self.max_staleness is not None:
            self.drop(state, server, self.max_staleness)
        pending, goal = state.pending, self.goal
        return pending[:goal] if len(pending) >= goal else []

    def drop(self, state: AsyncState, server: Server, limit: int) -> None:
        """Discards pending updates that are staler than the limit."""
        stale = [update for update in state.pending if update.staleness > limit]
        if stale:
            server.discard(stale, "stale")
            state.pending = [u for u in state.pending if u.staleness <= limit]

    def fill(self, state: AsyncState, server: Server, updates: Sequence[Update]) -> None:
        """Brings the tasks in flight back up to `concurrency`."""
        if self.refill == "same" and updates:
            done = [update.device for update in updates]
            same = server.sample(self.concurrency - server.in_flight, among=done)
            self._send(state, server, same)
        devices = self.choose(state, server, self.concurrency - server.in_flight)
        self._send(state, server, devices)

    def _send(self, state: AsyncState, server: Server, devices: list[int]) -> None:
        if devices:
            serials = self.ask(state, server, devices)
            if self.tracks:
                whom = [(device, server.version) for device in devices]
                state.flying.update(zip(serials, whom, strict=True))


@dataclass(frozen=True, kw_only=True)
class Buffered(Asynchronous):
    """Keep `concurrency` tasks in flight; fold whenever `buffer` updates have come."""

    buffer: Count = 10
    on_stale: Literal["drop", "wait", "request"] = "drop"

    @property
    def goal(self) -> int:
        return self.buffer

    @cached_property
    def tracks(self) -> bool:
        return self.max_staleness is not None and self.on_stale != "drop"

    def ready(self, state: AsyncState, server: Server) -> list[Update]:
        if self.max_staleness is None or self.on_stale == "drop":
            return super().ready(state, server)
        if len(state.pending) < self.goal:
            return []
        oldest = server.version + 1 - self.max_staleness
        late = [device for device, version in state.flying.values() if version < oldest]
        if late and self.on_stale == "request":
            server.request_partial(late)
        return [] if late else list(state.pending)
