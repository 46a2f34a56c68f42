"""Tasks whose device changes its speed in mid-training: the rest takes its new time.

Work is counted in nominal seconds, those of the scenario; a device passes `factor` of them in a
second. A change settles what is done at the old factor and plans the rest anew, from which the
moments follow at which the battery is empty or the lifetime over. Chance knows nominal work only:
a task drops out at the same share of it, however fast it goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Any

from simfl.clock.events import Kind
from simfl.clock.living.meter import Meter
from simfl.clock.tasks.draws import DONE, SUSPENDED, TRAIN, UPLOAD, TaskPlan
from simfl.clock.tasks.lifecycle import Lifecycle
from simfl.clock.tasks.pauses import done_at
from simfl.clock.tasks.progress import carried_share
from simfl.messages import Task


@dataclass(slots=True)
class Pace:
    """How a training goes on from a moment: `spent_s` worked and `done_s` nominal seconds in."""

    factor: float
    spent_s: float = 0.0
    done_s: float = 0.0

    def takes_s(self, nominal_s: float) -> float:
        """Seconds of work, from the training's beginning, until so much is done."""
        return self.spent_s + (nominal_s - self.done_s) / self.factor

    def done_by(self, spent_s: float) -> float:
        """Nominal seconds that are done after so many of work."""
        return self.done_s + (spent_s - self.spent_s) * self.factor


class LivingLifecycle(Lifecycle):
    """Moves every task in flight, at speeds and presences that change on the way.

    by_device: tasks in flight, as far as they have been asked for.
    """

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.by_device: dict[int, Task] = {}
        self.meter: Meter  #: set by what plays the processes

    def respeed(self, task: Task, factor: float) -> None:
        """The task's device trains at this factor from now on."""
        plan: TaskPlan | None = task.plan
        if plan is None or task.phase != TRAIN or self._has_passed(plan, 0):
            return
        if plan.stop_cause != SUSPENDED:
            spent_s = self._worked_s(task.device, plan, plan.begun_s)
            plan.pace = Pace(factor, spent_s, self._pace(task, plan).done_by(spent_s))
            self._plan_anew(task, plan)

    def relink(self, task: Task) -> None:
        """The task's device has another link from now on."""
        assert self.transfers is not None
        self.transfers.recap(task)

    def replace(self, task: Task) -> None:
        """The task's device has left or come back: a task that pauses is planned anew."""
        plan: TaskPlan | None = task.plan
        if plan is None or not plan.pauses:
            return
        if plan.ends_s:
            self._plan_anew(task, plan)
            return
        assert self.transfers is not None
        self.transfers.reconsider(task, self._flows_s(task, plan))
        if plan.alarm is not None:
            plan.alarm.cancel()
            now_s = self.clock.now
            plan.alarm = self.clock.at(now_s, Kind.TASK, task.serial, "task.watch", task)

    def book_so_far(self, task: Task) -> None:
        """The battery of the task's device is booked up to now."""
        plan: TaskPlan | None = task.plan
        if plan is None:
            return
        starts_s = [plan.begun_s, *plan.ends_s[:-1]]
        begun_s, now_s = plan.begun_s, self.clock.now
        for phase, start_s in enumerate(starts_s, task.phase):
            if start_s < now_s:
                plan.begun_s = start_s
                end_s = plan.ends_s[phase - task.phase] if plan.ends_s else now_s
                self._draw(task, plan, phase, min(end_s, now_s))
        plan.begun_s = begun_s

    def _pass(self, task: Task, plan: TaskPlan, ends_s: list[float]) -> None:
        begun_s = plan.begun_s
        for phase, end_s in enumerate(ends_s, task.phase):
            self._meter(task, plan, phase, (begun_s, end_s))
            begun_s = end_s
        super()._pass(task, plan, ends_s)

    def book(self, task: Task) -> None:
        plan: TaskPlan | None = task.plan
        super().book(task)
        if plan is not None:
            self._meter(task, plan, task.phase, (plan.begun_s, self.clock.now))

    def _meter(self, task: Task, plan: TaskPlan, phase: int, span: tuple[float, float]) -> None:
        if not self.meter.steps:
            return
        energy, device = self.fleet.energy, task.device
        watts = energy.train_w(device) if phase == TRAIN else energy.radio_w(device)
        worked = partial(self._worked_between_s, device, plan)
        self.meter.draw(task.serial, watts, span, worked)

    def _over(self, task: Task, outcome: str) -> None:
        self.by_device.pop(task.device, None)
        super()._over(task, outcome)

    def _plan_anew(self, task: Task, plan: TaskPlan) -> None:
        if plan.alarm is not None:
            plan.alarm.cancel()
        task.doomed = False
        self._go_on(task, plan.begun_s)

    def _pace(self, task: Task, plan: TaskPlan) -> Pace:
        """How the training at hand goes on; a hang takes its time whatever the speed."""
        if plan.stop_cause == SUSPENDED:
            return Pace(1.0)
        pace: Pace | None = plan.pace
        return Pace(self.fleet.speeds.get(task.device, 1.0)) if pace is None else pace

    def _plan(self, task: Task, plan: TaskPlan) -> list[float]:
        ends_s: list[float] = []
        end_s = plan.begun_s
        for phase in range(task.phase, DONE if task.up_bytes >= 0 else UPLOAD):
            if phase != TRAIN and carried_share(plan, phase):
                break
            work_s = plan.work_s[phase] * (plan.stop_share if phase == plan.stop_phase else 1.0)
            if phase == TRAIN:
                work_s = self._pace(task, plan).takes_s(work_s)
            if plan.pauses:
                end_s = done_at(self.fleet.presence, task.device, end_s, work_s)
            else:
                end_s += work_s
            ends_s.append(end_s)
            if phase == plan.stop_phase:
                break
        return ends_s

    def _trained_s(self, task: Task, plan: TaskPlan, begun_s: float) -> float:
        return self._pace(task, plan).done_by(super()._trained_s(task, plan, begun_s))

    def _retry(self, task: Task, plan: TaskPlan, wait_s: float, drop_probability: float) -> None:
        plan.pace = None
        super()._retry(task, plan, wait_s, drop_probability)
