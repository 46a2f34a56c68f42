"""The host's side of a run: its clock, progress displays, and when a checkpoint is written."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from simfl.clock import watchdog
from simfl.clock.events import Kind
from simfl.clock.plan import Status, glance

if TYPE_CHECKING:
    from simfl.clock.kernel import Kernel


class Driver:
    """Looks at the host's clock between events; nothing of it changes what a run computes.

    costly: tasks take the host long beside a look at its clock, which then follows each of them.
    save: called between two events when a checkpoint is due.
    """

    #: Task ends between two reports of progress; and at most so many turns of the loop between two
    #: looks at the host's clock, since each would be noticed where a turn takes microseconds.
    GLANCE = 256
    #: Seconds between two looks after which the loop is slow, and the next turn is looked at.
    SLOW_S = 0.05

    def __init__(self, kernel: Kernel, progress: Callable[[Status], None] | None) -> None:
        info, plan = kernel.workload.learning, kernel.plan
        self.costly = info is not None and info.model is not None
        self.save: Callable[[], None] = _nothing
        self.save_due = False
        self._kernel = kernel
        self._progress = progress
        self._turns = 1  # until the next look
        self._looked = time.monotonic()
        self._next_glance = self.GLANCE  # in ended tasks
        self._wall_end = time.monotonic() + plan.limits.wall_s
        self._next_save = time.monotonic() + plan.save_wall_s
        kernel.clock.handlers["run.save_on_time"] = self._save_on_time

    def look(self) -> int:
        """At the host's clock, for `wall_s` of the run and of its checkpoints, and for progress.

        Returns the turns of the loop until the next look.
        """
        now = time.monotonic()
        if now > self._wall_end:
            self._kernel.stop("wall_s")
        self.save_due = self.save_due or now > self._next_save
        ended = self._kernel.ledger.ended
        if ended >= self._next_glance:  # a report looks at all in flight, so these count as well
            self._next_glance = ended + max(self.GLANCE, len(self._kernel.server.tasks))
            self.report()
        slow = self.costly or now - self._looked > self.SLOW_S
        self._turns, self._looked = 1 if slow else min(2 * self._turns, self.GLANCE), now
        return self._turns

    def report(self) -> None:
        """Reports progress."""
        if self._progress is not None:
            self._progress(self.status())

    def status(self) -> Status:
        """Where the run is now."""
        return glance(self._kernel)

    def save_next(self) -> None:
        """Plans the next checkpoint that virtual time asks for."""
        clock = self._kernel.clock
        due_s = watchdog.later(clock.now, self._kernel.plan.save_every_s, "checkpoint.every_s")
        clock.at(due_s, Kind.SAVE, 0, "run.save_on_time")

    def save_now(self) -> None:
        """Between two events, when nothing is half done."""
        self.save_due = False
        self._next_save = time.monotonic() + self._kernel.plan.save_wall_s
        self.save()

    def _save_on_time(self, _: Any) -> None:
        self.save_next()
        self.save_due = True


def _nothing() -> None:
    pass
