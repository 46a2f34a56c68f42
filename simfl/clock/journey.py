"""One dispatch, told in order: download, train, upload; or its end on the way.

A journey is a small state machine, not a process: it plans as far as the future is known, waits
once, and goes on from there. On links of their own the devices' whole future is known at
dispatch, so a task costs one event; a shared link, or a payload whose size depends on the
training, adds a wait where the plan ends.

What can end a task early: a share of its nominal work after which it fails, a lifetime (hazard),
its device going away, the server's cancellation. All but the last are pure functions of the
task's own random draws and of time, so they are the same under every strategy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any

from simfl.clock.carry import Carrier
from simfl.clock.events import Alarm, Clock, Kind
from simfl.clock.workload import Workload
from simfl.messages import FRAME_BYTES, Task
from simfl.streams import Streams

DOWNLOAD, TRAIN, UPLOAD, HOME = range(4)
SUSPENDED = "suspended"


@dataclass(slots=True, eq=False)
class Journey:
    """The clock's bookkeeping for one task. A leg is one phase; clock times are absolute."""

    latency_s: tuple[float, float, float]
    rate: tuple[float, float]  #: bytes/s down and up of a device that is alone on its link
    work_s: list[float]  #: seconds that each leg takes when nothing interferes
    stop_leg: int  #: the leg in which the task fails by itself; HOME: none
    stop_share: float  #: how much of that leg is done by then
    stop_cause: str
    lost_s: float  #: when the device's lifetime or absence ends the task; inf: never
    lost_cause: str
    pauses: bool  #: absence stretches the legs instead of ending the task
    leg_s: float = field(init=False)  #: when the current leg began
    ends_s: list[float] = field(init=False)  #: planned ends, from the current leg on
    alarm: Alarm | None = field(default=None, init=False)


class Journeys:
    """Moves every task in flight; calls `ended(task)` once for each, whatever became of it."""

    def __init__(
        self,
        clock: Clock,
        fleet: Any,
        workload: Workload,
        streams: Streams,
        ended: Callable[[Task], None],
        carrier: Carrier | None = None,
    ) -> None:
        self.clock = clock
        self.fleet = fleet
        self.workload = workload
        self.streams = streams
        self.ended = ended
        self.carrier = carrier  # None: every device has its link for itself

    def begin(self, task: Task) -> None:
        """The task leaves the server now."""
        self.workload.start(task)
        task.journey = self._draw(task)
        self._go_on(task, self.clock.now)

    def end(self, task: Task, outcome: str, cause: str) -> None:
        """The task ends here and now without an update; what it did and moved is booked."""
        self.book(task)
        task.ended_s, task.outcome, task.cause = self.clock.now, outcome, cause
        task.journey = None  # breaks a cycle: nothing here waits for the garbage collector
        self.workload.lose(task)
        self.ended(task)

    def hurry(self, task: Task) -> None:
        """The device sends after the mini-batch at hand, or one of them if it still downloads."""
        j: Journey | None = task.journey
        if j is None or task.phase > TRAIN or self._has_passed(j, TRAIN - task.phase):
            return
        if j.stop_cause == SUSPENDED:
            return  # it does not hear
        steps, setup_s = 1, self._setup_s(task)
        if task.phase == TRAIN or self._has_passed(j, 0):
            begun_s = j.ends_s[0] if task.phase == DOWNLOAD else j.leg_s
            stepped_s = self._worked_s(task.device, j, begun_s) - setup_s
            done = stepped_s / (j.work_s[TRAIN] - setup_s) if stepped_s > 0.0 else 0.0
            steps = min(task.local_steps, max(1, ceil(done * task.local_steps)))
        self._shorten(task, j, steps, setup_s)
        if j.ends_s:  # else its download is on a shared link, and will be followed by less work
            if j.alarm is not None:
                j.alarm.cancel()
            task.doomed = False
            self._go_on(task, j.leg_s)

    def _shorten(self, task: Task, j: Journey, steps: int, setup_s: float) -> None:
        before_s = j.work_s[TRAIN]
        j.work_s[TRAIN] = setup_s + (before_s - setup_s) * steps / task.local_steps
        if j.stop_leg == TRAIN:  # the failure stays where it was, unless it is cut off
            fails_s = j.stop_share * before_s
            j.stop_leg = TRAIN if fails_s < j.work_s[TRAIN] else HOME
            j.stop_share = fails_s / j.work_s[TRAIN] if j.stop_leg == TRAIN else 1.0
        self.workload.shorten(task, steps)

    def _setup_s(self, task: Task) -> float:
        draws = self.streams.uniforms("task", task.device, task.index)
        setup_s: float = self.fleet.compute.setup_s(task.device, draws[2])
        return setup_s

    def _has_passed(self, j: Journey, leg: int) -> bool:
        return len(j.ends_s) > leg and j.ends_s[leg] <= self.clock.now

    def _worked_s(self, device: int, j: Journey, begun_s: float) -> float:
        now_s = self.clock.now
        return self._present_s(device, begun_s, now_s) if j.pauses else now_s - begun_s

    def book(self, task: Task) -> None:
        """Brings the task's phase, seconds and bytes up to now and takes it off the clock."""
        j: Journey | None = task.journey
        if j is None:
            return  # it waits for the server's own work and has not left yet
        now_s = self.clock.now
        self._pass(task, j, [end_s for end_s in j.ends_s[:-1] if end_s <= now_s])
        task.phase_s[task.phase] += now_s - j.leg_s
        if j.ends_s:  # on a shared link: the failure that ended this leg as planned
            share = self._share_moved(task, j) if self.carrier is None else j.stop_share
            self._charge(task, task.phase, share)
        elif self.carrier is not None:
            moved = self.carrier.abandon(task)
            task.moved_bytes[task.phase != DOWNLOAD] = round(moved)
        if j.alarm is not None:
            j.alarm.cancel()

    def _draw(self, task: Task) -> Journey:
        """Everything that chance decides about the task, from its own eight draws."""
        fleet, device, now_s = self.fleet, task.device, self.clock.now
        u = self.streams.uniforms("task", device, task.index)
        down_latency_s, down_rate = fleet.link.down(device, u[0], u[1])
        up_latency_s, up_rate = fleet.link.up(device, u[3], u[4])
        up_bytes = task.up_bytes if task.up_bytes >= 0 else task.down_bytes
        work_s = [
            down_latency_s + (task.down_bytes + FRAME_BYTES) / down_rate,
            fleet.compute.train_s(device, task.flops, task.local_steps, u[2]),
            up_latency_s + (up_bytes + FRAME_BYTES) / up_rate,
        ]
        share, hang_s, lifetime_s = fleet.faults.fate(device, u[5], u[6], u[7], task.local_steps)
        stop_leg, stop_share, stop_cause = HOME, 1.0, "drop-out"
        if share < 1.0:
            stop_leg, stop_share = _where(work_s, share)
        elif hang_s < inf:
            work_s[TRAIN], stop_leg, stop_cause = hang_s, TRAIN, SUSPENDED
        lost_s, cause, pauses = now_s + lifetime_s, "hazard", False
        if not fleet.presence.always:
            policy = fleet.faults.on_offline(device)
            pauses = policy == "pause"
            away_s = fleet.presence.off_after(device, now_s) if policy == "lost" else inf
            if away_s < lost_s:
                lost_s, cause = away_s, "offline"
        latency_s, rate = (down_latency_s, 0.0, up_latency_s), (down_rate, up_rate)
        return Journey(
            latency_s, rate, work_s, stop_leg, stop_share, stop_cause, lost_s, cause, pauses
        )

    def _go_on(self, task: Task, leg_s: float) -> None:
        """Plans from the current leg, begun at leg_s, as far as is known; then waits once."""
        j: Journey = task.journey
        j.leg_s = leg_s
        j.ends_s = self._plan(task, j)
        if not j.ends_s:
            self._carry(task, j, self.carrier)
            return
        due_s, call = j.ends_s[-1], self._next
        if task.phase + len(j.ends_s) - 1 == j.stop_leg:
            task.doomed, call = True, self._failed
        if j.lost_s < due_s:
            task.doomed, call, due_s = True, self._lost, j.lost_s
        j.alarm = self.clock.at(due_s, Kind.TASK, task.serial, call, task)

    def _plan(self, task: Task, j: Journey) -> list[float]:
        """When the legs end whose length is known, from the current one on."""
        ends_s: list[float] = []
        end_s, stop_leg, pauses = j.leg_s, j.stop_leg, j.pauses
        alone = self.carrier is None
        for leg in range(task.phase, HOME if task.up_bytes >= 0 else UPLOAD):
            if leg != TRAIN and not alone:
                break
            work_s = j.work_s[leg] if leg != stop_leg else j.work_s[leg] * j.stop_share
            end_s = self._after(task.device, end_s, work_s) if pauses else end_s + work_s
            ends_s.append(end_s)
            if leg == stop_leg:
                break
        return ends_s

    def _next(self, task: Task) -> None:
        """Every planned leg is behind the task."""
        j: Journey = task.journey
        self._pass(task, j, j.ends_s)
        if task.phase == HOME:
            task.ended_s, task.outcome, task.journey = self.clock.now, "delivered", None
            self.ended(task)
            return
        if task.phase == UPLOAD and task.up_bytes < 0:
            self.workload.ready(task)
            j.work_s[UPLOAD] = j.latency_s[UPLOAD] + (task.up_bytes + FRAME_BYTES) / j.rate[1]
        self._go_on(task, self.clock.now)

    def _pass(self, task: Task, j: Journey, ends_s: list[float]) -> None:
        """These legs are over: their seconds and, but for training, their bytes are booked."""
        first = leg = task.phase
        spent_s, leg_s = task.phase_s, j.leg_s
        for end_s in ends_s:
            spent_s[leg] += end_s - leg_s
            leg_s = end_s
            leg += 1
        if first <= DOWNLOAD < leg:
            task.moved_bytes[0] = task.down_bytes + FRAME_BYTES
        if first <= UPLOAD < leg:
            task.moved_bytes[1] = task.up_bytes + FRAME_BYTES
        task.phase, j.leg_s = leg, leg_s

    def _failed(self, task: Task) -> None:
        self.end(task, "lost", task.journey.stop_cause)

    def _lost(self, task: Task) -> None:
        self.end(task, "lost", task.journey.lost_cause)

    # A leg on a shared link: its end is not known when it begins.

    def _carry(self, task: Task, j: Journey, carrier: Carrier | None) -> None:
        assert carrier is not None  # else every leg would have been planned
        up = task.phase == UPLOAD
        nbytes = float(FRAME_BYTES + (task.up_bytes if up else task.down_bytes))
        if task.phase == j.stop_leg:
            nbytes *= j.stop_share
        flows_s = j.leg_s + j.latency_s[task.phase]
        if j.pauses:
            flows_s = self._after(task.device, j.leg_s, j.latency_s[task.phase])
        carrier.begin(
            task,
            up=up,
            nbytes=nbytes,
            rate=j.rate[up],
            flows_s=flows_s,
            pauses=j.pauses,
            arrived=self._carried,
        )
        if j.lost_s < inf:
            self._watch(task)

    def _carried(self, task: Task) -> None:
        j: Journey = task.journey
        if j.alarm is not None:
            j.alarm.cancel()
        j.ends_s = [self.clock.now]
        if task.phase == j.stop_leg:
            self._failed(task)
        else:
            self._next(task)

    def _watch(self, task: Task) -> None:
        """Looks again soon rather than at a far-off loss that most tasks never live to see."""
        j: Journey = task.journey
        now_s = self.clock.now
        if j.lost_s <= now_s:
            self._lost(task)
            return
        look_s = min(j.lost_s, now_s + 4.0 * j.work_s[task.phase] + 1.0)
        j.alarm = self.clock.at(look_s, Kind.TASK, task.serial, self._watch, task)

    # Presence and pro-rata charges.

    def _after(self, device: int, start_s: float, work_s: float) -> float:
        """When work of so many seconds, begun at start_s, is done by a device that pauses."""
        presence = self.fleet.presence
        while True:
            start_s = presence.on_after(device, start_s)
            off_s = presence.off_after(device, start_s) if start_s < inf else inf
            if start_s + work_s <= off_s:
                return start_s + work_s
            work_s -= off_s - start_s
            start_s = off_s

    def _present_s(self, device: int, start_s: float, end_s: float) -> float:
        """Seconds of [start_s, end_s] in which the device was there."""
        presence, there_s = self.fleet.presence, 0.0
        start_s = presence.on_after(device, start_s)
        while start_s < end_s:
            off_s = min(presence.off_after(device, start_s), end_s)
            there_s += off_s - start_s
            start_s = presence.on_after(device, off_s) if off_s < end_s else end_s
        return there_s

    def _share_moved(self, task: Task, j: Journey) -> float:
        """How much of the current leg's message has passed by now."""
        phase = min(task.phase, UPLOAD)
        spent_s = self._worked_s(task.device, j, j.leg_s)
        carry_s = j.work_s[phase] - j.latency_s[phase]
        if carry_s <= 0.0:
            return float(spent_s >= j.latency_s[phase])
        return min(1.0, max(0.0, (spent_s - j.latency_s[phase]) / carry_s))

    def _charge(self, task: Task, phase: int, share: float) -> None:
        """Charges this share of a message to its direction; training moves nothing."""
        if phase == DOWNLOAD:
            task.moved_bytes[0] = round((task.down_bytes + FRAME_BYTES) * share)
        elif phase == UPLOAD:
            task.moved_bytes[1] = round((task.up_bytes + FRAME_BYTES) * share)


def _where(work_s: list[float], share: float) -> tuple[int, float]:
    """The leg in which this share of the work is reached, and how much of that leg is done."""
    left_s = share * sum(work_s)
    for leg in (DOWNLOAD, TRAIN):
        if left_s < work_s[leg]:
            return leg, left_s / work_s[leg]
        left_s -= work_s[leg]
    return UPLOAD, min(1.0, left_s / work_s[UPLOAD]) if work_s[UPLOAD] else 0.0
