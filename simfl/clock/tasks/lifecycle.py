"""A task in order: download, train, upload; or its end on the way.

A task is a small state machine, not a SimPy process: its plan reaches as far as the future is
known; it waits once, and goes on from there. On links of their own the devices' whole future is
known at dispatch, so a task costs one event; a shared link, or a payload whose size depends on
the training, adds a wait where the plan ends.

What can end a task early: a share of its nominal work after which it fails, a lifetime (hazard),
its device going away, the server's cancellation. All but the last are pure functions of the
task's own random draws and of time, so they are the same under every strategy.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, inf
from typing import Any, Protocol

from simfl.clock.battery import Batteries, Work
from simfl.clock.events import Clock, Kind
from simfl.clock.network.transfer import Transfers
from simfl.clock.tasks.draws import (
    BATTERY,
    DONE,
    DOWNLOAD,
    DROP_OUT,
    OFFLINE,
    SUSPENDED,
    TRAIN,
    UPLOAD,
    TaskPlan,
    draw_retry,
    draw_task,
    trip_of,
)
from simfl.clock.tasks.pauses import done_at, worked_s
from simfl.clock.tasks.progress import Progress, carried_share, whole_bytes
from simfl.clock.workload import Workload
from simfl.messages import FRAME_BYTES, Task
from simfl.streams import Streams

_TASK = int(Kind.TASK)  # as a plain number, at hand: looked up once a task

#: A mini-batch that is over but for so much of it is over.
_HARDLY = 1e-9


class Pace(Protocol):
    """What a deployment's own loops and processes add to the phases of its tasks."""

    def drawn(self, task: Task, plan: TaskPlan, now_s: float) -> None:
        """The task has been drawn and leaves now; its latencies may become longer."""

    def train_s(self, task: Task, begun_s: float) -> float:
        """Seconds of the training phase, which begins then, with all that is done beside it."""


class Lifecycle(Progress):
    """Moves every task in flight; calls `ended(task)` once for each, whatever became of it."""

    def __init__(
        self,
        clock: Clock,
        fleet: Any,
        workload: Workload,
        streams: Streams,
        ended: Callable[[Task], None],
        transfers: Transfers | None = None,
        batteries: Batteries | None = None,
    ) -> None:
        super().__init__(clock, fleet, streams, transfers)
        self.workload = workload
        self.ended = ended
        self.batteries = batteries  # None: all are on mains
        #: Nothing but the server can disturb a task: most runs are such.
        self.undisturbed = (
            transfers is None
            and batteries is None
            and fleet.presence.always
            and fleet.faults.safe
            and fleet.link.steady
        )
        self.pace: Pace | None = None  #: None: a phase takes what it is drawn to take
        clock.handlers |= {
            "task.home": self._home,
            "task.next": self._next,
            "task.failed": self._failed,
            "task.lost": self._lost,
            "task.watch": self._watch,
        }
        if transfers is not None:
            transfers.arrived = self._carried

    def begin(self, task: Task) -> None:
        """The task leaves the server now."""
        self.workload.start(task)
        now_s = self.clock.now
        if self.undisturbed and task.up_bytes >= 0 and self.pace is None:
            down_s, train_s, up_s = trip_of(task, self.fleet, self.streams)
            sent_s = now_s + down_s
            trained_s = sent_s + train_s
            end_s = trained_s + up_s
            alarm = self.clock.at(end_s, _TASK, task.serial, "task.home", task)
            task.plan = (now_s, sent_s, trained_s, end_s, alarm)  # a `Trip`
            return
        task.plan = draw_task(task, self.fleet, self.streams, now_s)
        if self.pace is not None:
            self.pace.drawn(task, task.plan, now_s)
        self._go_on(task, now_s)

    def _home(self, task: Task) -> None:
        """All phases of an undisturbed task are over."""
        if type(task.plan) is not tuple:  # it has been looked into
            self._next(task)
            return
        begun_s, sent_s, trained_s, end_s, _ = task.plan
        task.phase_s = [sent_s - begun_s, trained_s - sent_s, end_s - trained_s]
        task.moved_bytes = [task.down_bytes + FRAME_BYTES, task.up_bytes + FRAME_BYTES]
        task.phase = DONE
        task.ended_s, task.outcome = self.clock.now, "delivered"
        task.plan = None
        self.ended(task)

    def end(self, task: Task, outcome: str, cause: str) -> None:
        """The task ends here and now without an update; what it did and moved is booked."""
        self.book(task)
        task.cause = cause
        self.workload.lose(task)
        self._over(task, outcome)

    def _over(self, task: Task, outcome: str) -> None:
        task.ended_s, task.outcome = self.clock.now, outcome
        task.plan = None  # breaks a cycle: nothing here waits for the garbage collector
        self.ended(task)

    def shorten(self, task: Task) -> None:
        """The device sends after the mini-batch at hand, or one of them if it still downloads."""
        plan = self._plan_of(task)
        if plan is None or task.phase > TRAIN or self._has_passed(plan, TRAIN - task.phase):
            return
        if plan.stop_cause == SUSPENDED:
            return  # it does not hear
        steps, setup_s = 1, self._setup_s(task)
        if task.phase == TRAIN or self._has_passed(plan, 0):
            begun_s = plan.ends_s[0] if task.phase == DOWNLOAD else plan.begun_s
            stepped_s = self._trained_s(task, plan, begun_s) - setup_s
            done = stepped_s / (plan.work_s[TRAIN] - setup_s) if stepped_s > 0.0 else 0.0
            steps = min(task.local_steps, max(1, ceil(done * task.local_steps - _HARDLY)))
        self._cut_work(task, plan, steps, setup_s)
        if plan.ends_s:  # else its download is on a shared link, and will be followed by less work
            if plan.alarm is not None:
                plan.alarm.cancel()
            task.doomed = False
            self._go_on(task, plan.begun_s)

    def _cut_work(self, task: Task, plan: TaskPlan, steps: int, setup_s: float) -> None:
        before_s = plan.work_s[TRAIN]
        plan.work_s[TRAIN] = setup_s + (before_s - setup_s) * steps / task.local_steps
        if plan.stop_phase == TRAIN:  # the failure stays where it was, unless it is cut off
            fails_s = plan.stop_share * before_s
            plan.stop_phase = TRAIN if fails_s < plan.work_s[TRAIN] else DONE
            plan.stop_share = fails_s / plan.work_s[TRAIN] if plan.stop_phase == TRAIN else 1.0
        self.workload.shorten(task, steps)

    def book(self, task: Task) -> None:
        """Brings the task's phase, seconds and bytes up to now and takes it off the clock."""
        plan = self._plan_of(task)
        if plan is None:
            return  # it waits for the server's own work and has not left yet
        now_s = self.clock.now
        self._pass(task, plan, [end_s for end_s in plan.ends_s[:-1] if end_s <= now_s])
        task.phase_s[task.phase] += self._worked_s(task.device, plan, plan.begun_s)
        self._draw(task, plan, task.phase, now_s)
        if plan.ends_s:  # on a shared link: the failure that ended this phase as planned
            alone = self.transfers is None
            own = self._share_moved(task, plan, task.phase, plan.begun_s) if alone else 0.0
            share = own if alone else carried_share(plan, task.phase)
            self._charge(task, task.phase, share)
        elif self.transfers is not None:
            moved = self.transfers.abandon(task)
            task.moved_bytes[task.phase != DOWNLOAD] += whole_bytes(moved)
        if plan.alarm is not None:
            plan.alarm.cancel()

    def _go_on(self, task: Task, begun_s: float) -> None:
        """Plans from the current phase, begun at begun_s, as far as is known; then waits once."""
        plan: TaskPlan = task.plan
        plan.begun_s = begun_s
        ends_s = plan.ends_s = self._plan(task, plan)
        if not ends_s:
            self._carry(task, plan, self.transfers)
            return
        due_s, now_s, handler = ends_s[-1], self.clock.now, "task.next"
        if task.phase + len(ends_s) - 1 == plan.stop_phase:
            task.doomed, handler = True, "task.failed"
        if due_s < now_s:  # a shortened phase may be over by a hair
            due_s = now_s
        cut_s = plan.lost_s if self.batteries is None else self._cut_s(task, plan, ends_s)
        if cut_s < due_s:
            task.doomed, handler, due_s = True, "task.lost", cut_s
        plan.alarm = self.clock.at(due_s, _TASK, task.serial, handler, task)

    def _plan(self, task: Task, plan: TaskPlan) -> list[float]:
        """When the phases end whose length is known, from the current one on."""
        alone, pauses, stop_phase = self.transfers is None, plan.pauses, plan.stop_phase
        presence, end_s, ends_s = self.fleet.presence, plan.begun_s, list[float]()
        for phase in range(task.phase, DONE if task.up_bytes >= 0 else UPLOAD):
            if phase != TRAIN and not alone and carried_share(plan, phase):
                break
            if phase == TRAIN and self.pace is not None and plan.stop_cause != SUSPENDED:
                plan.work_s[TRAIN] = self.pace.train_s(task, end_s)
            work_s = (
                plan.work_s[phase] if phase != stop_phase else plan.work_s[phase] * plan.stop_share
            )
            end_s = done_at(presence, task.device, end_s, work_s) if pauses else end_s + work_s
            ends_s.append(end_s)
            if phase == stop_phase:
                break
        return ends_s

    def _next(self, task: Task) -> None:
        """Every planned phase is behind the task."""
        plan: TaskPlan = task.plan
        self._pass(task, plan, plan.ends_s)
        if task.phase == DONE:
            self._over(task, "delivered")
            return
        if task.phase == UPLOAD and task.up_bytes < 0:
            self.workload.ready(task)
            plan.work_s[UPLOAD] = (
                plan.latency_s[UPLOAD] + (task.up_bytes + FRAME_BYTES) / plan.rate[1]
            )
        self._go_on(task, self.clock.now)

    def _pass(self, task: Task, plan: TaskPlan, ends_s: list[float]) -> None:
        """These phases are over: their seconds and, but for training, their bytes are booked."""
        first = phase = task.phase
        spent_s, begun_s = task.phase_s, plan.begun_s
        pauses, batteries = plan.pauses, self.batteries
        for end_s in ends_s:
            if pauses:
                spent_s[phase] += worked_s(self.fleet.presence, task.device, begun_s, end_s)
            else:
                spent_s[phase] += end_s - begun_s
            if batteries is not None:
                plan.begun_s = begun_s
                self._draw(task, plan, phase, end_s)
            begun_s = end_s
            phase += 1
        if first <= DOWNLOAD < phase:
            task.moved_bytes[0] += task.down_bytes + FRAME_BYTES
        if first <= UPLOAD < phase:
            task.moved_bytes[1] += task.up_bytes + FRAME_BYTES
        task.phase, plan.begun_s = phase, begun_s

    def _failed(self, task: Task) -> None:
        plan: TaskPlan = task.plan
        if plan.stop_cause == DROP_OUT:
            again = self.fleet.faults.again(task.device, plan.attempt + 1)
            if again is not None:
                self._retry(task, plan, *again)
                return
        self.end(task, "lost", plan.stop_cause)

    def _retry(self, task: Task, plan: TaskPlan, wait_s: float, drop_probability: float) -> None:
        """Begins the current phase anew after a while."""
        self.book(task)
        task.doomed = False
        drop_phase = self.fleet.faults.drop_phase(task.device)
        draw_retry(task, plan, self.streams, drop_probability, drop_phase)
        self._go_on(task, self.clock.now + wait_s)

    def _draw(self, task: Task, plan: TaskPlan, phase: int, end_s: float) -> None:
        """Books what the phase, begun at begun_s, has drawn from the battery."""
        batteries = self.batteries
        if batteries is not None:
            work = Work(plan.begun_s, end_s, batteries.watts(task.device, phase))
            batteries.book(task.device, work, pauses=plan.pauses)

    def _cut_s(self, task: Task, plan: TaskPlan, ends_s: list[float]) -> float:
        """When the task is lost before these phases, from the current one on, have ended."""
        batteries = self.batteries
        if batteries is not None:
            starts_s = (plan.begun_s, *ends_s)
            ahead = [
                Work(starts_s[k], end_s, batteries.watts(task.device, task.phase + k))
                for k, end_s in enumerate(ends_s)
            ]
            plan.empty_s = batteries.empty_s(task.device, ahead, pauses=plan.pauses)
        return min(plan.empty_s, plan.lost_s)

    def _lost(self, task: Task) -> None:
        plan: TaskPlan = task.plan
        cause = plan.lost_cause
        if self.batteries is not None and plan.empty_s <= plan.lost_s:
            self.end(task, "lost", BATTERY)
            self.batteries.drained(task.device, self.clock.now)
            return
        if cause == OFFLINE:
            cause = self.fleet.presence.why_away(task.device, self.clock.now)
        self.end(task, "lost", cause)

    # A phase on a shared link: its end is not known when it begins.

    def _carry(self, task: Task, plan: TaskPlan, transfers: Transfers | None) -> None:
        assert transfers is not None  # else every phase would have been planned
        up = task.phase == UPLOAD
        nbytes = float(FRAME_BYTES + (task.up_bytes if up else task.down_bytes))
        if task.phase == plan.stop_phase:
            nbytes *= carried_share(plan, task.phase)
        transfers.begin(
            task,
            up=up,
            nbytes=nbytes,
            rate=plan.rate[up],
            flows_s=self._flows_s(task, plan),
            pauses=plan.pauses,
        )
        if plan.lost_s < inf or self.batteries is not None:
            # Not at once: a message that takes no time is through before anything is lost.
            now_s = self.clock.now
            plan.alarm = self.clock.at(now_s, Kind.TASK, task.serial, "task.watch", task)

    def _flows_s(self, task: Task, plan: TaskPlan) -> float:
        """When the latency of the message at hand is over."""
        latency_s = plan.latency_s[task.phase]
        if plan.pauses:
            return done_at(self.fleet.presence, task.device, plan.begun_s, latency_s)
        return plan.begun_s + latency_s

    def _carried(self, task: Task) -> None:
        plan: TaskPlan = task.plan
        if plan.alarm is not None:
            plan.alarm.cancel()
        plan.ends_s = [self.clock.now]
        if task.phase == plan.stop_phase:
            self._failed(task)
        else:
            self._next(task)

    def _watch(self, task: Task) -> None:
        """Looks again soon rather than at a far-off loss that most tasks never live to see."""
        plan: TaskPlan = task.plan
        now_s, handler = self.clock.now, "task.watch"
        look_s = max(now_s, plan.begun_s) + 4.0 * plan.work_s[task.phase] + 1.0
        if plan.empty_s > now_s:
            self._draw(task, plan, task.phase, now_s)
            look_s = min(look_s, self._cut_s(task, plan, [look_s]))
        if min(plan.empty_s, plan.lost_s) <= now_s:  # but what is through by now is through
            look_s, handler = now_s, "task.lost"
        plan.alarm = self.clock.at(look_s, Kind.TASK, task.serial, handler, task)

    def _charge(self, task: Task, phase: int, share: float) -> None:
        """Charges this share of a message to its direction; training moves nothing."""
        if phase == DOWNLOAD:
            task.moved_bytes[0] += whole_bytes((task.down_bytes + FRAME_BYTES) * share)
        elif phase == UPLOAD:
            task.moved_bytes[1] += whole_bytes((task.up_bytes + FRAME_BYTES) * share)
