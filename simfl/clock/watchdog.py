"""The watchdog: a run that gets nowhere ends with an error instead of a loop without end."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import TYPE_CHECKING, Any

from simfl.errors import Stalled

if TYPE_CHECKING:
    from simfl.clock.plan import Plan
    from simfl.clock.server import Server


class Watchdog:
    """Ends a run in which no version will ever be made again, or in which time stands still.

    lost_in_a_row: tasks since the last delivery.
    fruitful: the step that made the last version.
    """

    __snapshot__ = ("lost_in_a_row", "fruitful")  #: kept by checkpoints

    #: Events at one instant after which time stands still.
    STANDSTILL = 1_000_000
    #: Consecutive lost tasks after which a run without `after_s` is stopped.
    HOPELESS = 10_000
    #: Consecutive lost tasks after which any run is stopped.
    LOST = 100_000
    #: Consecutive steps without a new version after which a run without `after_s` is stopped.
    FRUITLESS = 100_000

    def __init__(self, plan: Plan, server: Server, strategy: str) -> None:
        self.lost_in_a_row = 0
        self.fruitful = 0
        self._ends = isfinite(plan.limits.after_s)
        self._server, self._strategy = server, strategy
        self._instant, self._events = -1.0, 0
        self._made = 0  # versions of edges, when they were looked at

    def turned(self, now_s: float, turns: int) -> None:
        """The run has turned so many times since this was called last, and is at now_s.

        Raises Stalled where time stands still.
        """
        if now_s != self._instant:
            self._instant, self._events = now_s, 0
            return
        self._events += turns  # all of them at this instant, for time never runs backwards
        if self._events > self.STANDSTILL:
            raise standstill(now_s, self._events)

    def check(self, now_s: float) -> None:
        """Before a step. Raises Stalled where no version will be made, on fleets of any size."""
        lost, steps = self.lost_in_a_row, self._server.steps - self.fruitful
        if lost < self.HOPELESS and steps < self.FRUITLESS:
            return  # asked at every step, and seldom more than this
        most = 10 * self._server.devices
        bearable = self.LOST if self._ends and now_s > 0 else self.HOPELESS
        if lost >= max(bearable, most):
            raise all_lost(now_s, lost, (task.cause for task in self._server.lost))
        if steps >= max(self.FRUITLESS, most) and not self._ends:
            if self._server.edge_versions == self._made:
                raise no_version(self._strategy, now_s, steps)
            self._made, self.fruitful = self._server.edge_versions, self._server.steps


def nothing_due(now_s: float, flying: int) -> Stalled:
    """No event is left. flying: tasks in flight."""
    story = (
        f"{flying} task(s) are in flight on devices that never come back"
        if flying
        else "nothing is in flight and no device will ever be present again"
    )
    return Stalled(f"nothing can happen any more after t = {now_s:g} s: {story}.")


def standstill(now_s: float, events: int) -> Stalled:
    """So many events took no time."""
    return Stalled(
        f"time stands still at t = {now_s:g} s: {events:,} events took no time at all. Give the "
        "devices' work or links a duration, or stop after a number of versions or updates."
    )


def nothing_sent(strategy: str, now_s: float) -> Stalled:
    """A step sent nothing although it could have."""
    return Stalled(
        f"{strategy} sent nothing at t = {now_s:g} s, with nothing in flight and devices present: "
        "nothing would ever happen again."
    )


def all_lost(now_s: float, tasks: int, causes: Iterable[str]) -> Stalled:
    """So many tasks in a row delivered nothing."""
    why = ", ".join(sorted(set(causes))) or "cancelled"
    return Stalled(
        f"the last {tasks:,} tasks were all lost ({why}) by t = {now_s:g} s: no update would ever "
        "arrive. Lower the fleet's drop-out, or stop the run earlier."
    )


def no_version(strategy: str, now_s: float, steps: int) -> Stalled:
    """So many steps in a row left the model as it was."""
    return Stalled(
        f"{strategy} has made no version in its last {steps:,} steps, by t = {now_s:g} s, and the "
        "scenario has no `stop.after_s`: it would go on for ever."
    )


def later(now_s: float, seconds: float, key: str) -> float:
    """The end of a period. Raises Stalled where it vanishes beside the time that it is added to."""
    if now_s + seconds > now_s:
        return now_s + seconds
    raise Stalled(f"{key} = {seconds:g} is nothing beside t = {now_s:g} s: time would stand still")


def gone_wrong(what: str, now_s: float, server: Any) -> str:
    """Why a run whose learning diverged is no result, and what would do."""
    training = None if server.learning is None else server.learning.training
    rate = "" if training is None else f" than {training.rate(max(0, server.version - 1)):g}"
    return (
        f"learning diverged: {what}, since version {server.version} at t = {now_s:g} s; a smaller "
        f"learning.lr{rate} or a learning.clip_norm may keep it finite, and stop.on_divergence = "
        '"warn" goes on all the same'
    )
