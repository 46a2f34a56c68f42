"""How far a task is: what is planned for it, how long it has worked, what of it has moved."""

from __future__ import annotations

from typing import Any

from simfl.clock.events import Alarm, Clock
from simfl.clock.network.transfer import Transfers
from simfl.clock.tasks.draws import DOWNLOAD, TRAIN, TRAINING, UPLOAD, TaskPlan, draw_task
from simfl.clock.tasks.pauses import worked_s
from simfl.messages import FRAME_BYTES, Task
from simfl.streams import Streams

#: A hair more than half a byte: halves are common, and are not to hang on a rounding error.
_HALF = 0.5 + 1e-5


#: The plan of a task that nothing but the server can disturb: when it begins, when its phases end,
#: and the alarm of its end. A plain tuple: most tasks of most runs have no other plan.
Trip = tuple[float, float, float, float, Alarm]


class Progress:
    """Answers about tasks in flight. Nothing is moved by asking.

    transfers: None where every device has its link for itself.
    """

    def __init__(
        self, clock: Clock, fleet: Any, streams: Streams, transfers: Transfers | None
    ) -> None:
        self.clock = clock
        self.fleet = fleet
        self.streams = streams
        self.transfers = transfers

    def _plan_of(self, task: Task) -> TaskPlan | None:
        """The task's plan; None if it waits for the server's own work and has not left yet."""
        if type(task.plan) is tuple:  # what chance decides is decided again, and the same
            begun_s, *ends_s, alarm = task.plan
            plan = task.plan = draw_task(task, self.fleet, self.streams, begun_s)
            plan.begun_s, plan.ends_s, plan.alarm = begun_s, ends_s, alarm
        there: TaskPlan | None = task.plan
        return there

    def _setup_s(self, task: Task) -> float:
        if task.stated_s is not None:
            return 0.0  # it is part of what was stated
        u = self.streams.uniform("task", task.device, task.index, TRAINING)
        setup_s: float = self.fleet.compute.setup_s(task.device, u)
        return setup_s

    def _has_passed(self, plan: TaskPlan, phase: int) -> bool:
        return len(plan.ends_s) > phase and plan.ends_s[phase] <= self.clock.now

    def _worked_s(self, device: int, plan: TaskPlan, begun_s: float) -> float:
        return self._worked_between_s(device, plan, begun_s, self.clock.now)

    def _worked_between_s(self, device: int, plan: TaskPlan, begun_s: float, end_s: float) -> float:
        if plan.pauses:
            return worked_s(self.fleet.presence, device, begun_s, end_s)
        return max(0.0, end_s - begun_s)  # a retry begins later

    def _trained_s(self, task: Task, plan: TaskPlan, begun_s: float) -> float:
        """Nominal seconds of training that are done by now."""
        return self._worked_s(task.device, plan, begun_s)

    def moved_bytes(self, task: Task) -> tuple[int, int]:
        """Bytes down and up that have passed by now, pro rata in a message under way.

        What `book` would charge, of a task that goes on: nothing changes.
        """
        plan = self._plan_of(task)
        moved = task.moved_bytes.copy()
        if plan is None:
            return moved[0], moved[1]
        phase, begun_s, now_s = task.phase, plan.begun_s, self.clock.now
        for end_s in plan.ends_s[:-1]:
            if end_s > now_s:
                break
            if phase == DOWNLOAD:
                moved[0] += task.down_bytes + FRAME_BYTES
            phase, begun_s = phase + 1, end_s
        if phase != TRAIN:
            moved[phase == UPLOAD] += self._under_way(task, plan, phase, begun_s)
        return moved[0], moved[1]

    def _under_way(self, task: Task, plan: TaskPlan, phase: int, begun_s: float) -> int:
        """What has passed of the message of this phase, begun then."""
        if self.transfers is not None:
            return whole_bytes(self.transfers.passed_bytes(task))
        nbytes = task.up_bytes if phase == UPLOAD else task.down_bytes
        return whole_bytes((nbytes + FRAME_BYTES) * self._share_moved(task, plan, phase, begun_s))

    def _share_moved(self, task: Task, plan: TaskPlan, phase: int, begun_s: float) -> float:
        """How much of the message of this phase, begun then, has passed by now."""
        if begun_s > self.clock.now:
            return 0.0  # a retry waits
        phase = min(phase, UPLOAD)
        spent_s = self._worked_s(task.device, plan, begun_s)
        carry_s = plan.work_s[phase] - plan.latency_s[phase]
        if carry_s <= 0.0:
            return 0.0  # a message that takes no time has not begun
        return min(1.0, max(0.0, (spent_s - plan.latency_s[phase]) / carry_s))


def carried_share(plan: TaskPlan, phase: int) -> float:
    """How much of the phase's message passes, latency first, before the phase fails by itself."""
    if phase != plan.stop_phase:
        return 1.0
    carry_s = plan.work_s[phase] - plan.latency_s[phase]
    past_s = plan.stop_share * plan.work_s[phase] - plan.latency_s[phase]
    return min(1.0, past_s / carry_s) if past_s > 0.0 else 0.0


def whole_bytes(nbytes: float) -> int:
    """The nearest number of bytes; of half a byte, a whole one, whatever rounding made of it."""
    return int(nbytes + _HALF)
