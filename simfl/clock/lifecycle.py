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
from math import ceil, inf
from typing import Any

from simfl.clock.battery import Batteries, Work
from simfl.clock.draws import (
    BATTERY,
    DOWNLOAD,
    DROP_OUT,
    HOME,
    OFFLINE,
    SUSPENDED,
    TRAIN,
    UPLOAD,
    Journey,
    draw,
    draw_again,
)
from simfl.clock.events import Clock, Kind
from simfl.clock.network.transfer import Carrier
from simfl.clock.pauses import done_at, worked_s
from simfl.clock.workload import Workload
from simfl.messages import FRAME_BYTES, Task
from simfl.streams import Streams

#: A mini-batch that is over but for so much of it is over.
_HARDLY = 1e-9

#: A hair more than half a byte: halves are common, and are not to hang on a rounding error.
_HALF = 0.5 + 1e-5


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
        batteries: Batteries | None = None,
    ) -> None:
        self.clock = clock
        self.fleet = fleet
        self.workload = workload
        self.streams = streams
        self.ended = ended
        self.carrier = carrier  # None: every device has its link for itself
        self.batteries = batteries  # None: all are on mains
        clock.handlers |= {
            "task.next": self._next,
            "task.failed": self._failed,
            "task.lost": self._lost,
            "task.watch": self._watch,
        }
        if carrier is not None:
            carrier.arrived = self._carried

    def begin(self, task: Task) -> None:
        """The task leaves the server now."""
        self.workload.start(task)
        task.journey = draw(task, self.fleet, self.streams, self.clock.now)
        self._go_on(task, self.clock.now)

    def end(self, task: Task, outcome: str, cause: str) -> None:
        """The task ends here and now without an update; what it did and moved is booked."""
        self.book(task)
        task.cause = cause
        self.workload.lose(task)
        self._over(task, outcome)

    def _over(self, task: Task, outcome: str) -> None:
        task.ended_s, task.outcome = self.clock.now, outcome
        task.journey = None  # breaks a cycle: nothing here waits for the garbage collector
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
            steps = min(task.local_steps, max(1, ceil(done * task.local_steps - _HARDLY)))
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
        if j.pauses:
            return worked_s(self.fleet.presence, device, begun_s, now_s)
        return max(0.0, now_s - begun_s)  # a retry begins later

    def book(self, task: Task) -> None:
        """Brings the task's phase, seconds and bytes up to now and takes it off the clock."""
        j: Journey | None = task.journey
        if j is None:
            return  # it waits for the server's own work and has not left yet
        now_s = self.clock.now
        self._pass(task, j, [end_s for end_s in j.ends_s[:-1] if end_s <= now_s])
        task.phase_s[task.phase] += self._worked_s(task.device, j, j.leg_s)
        self._draw(task, j, task.phase, now_s)
        if j.ends_s:  # on a shared link: the failure that ended this leg as planned
            alone = self.carrier is None
            own = self._share_moved(task, j, task.phase, j.leg_s) if alone else 0.0
            share = own if alone else _carried_share(j, task.phase)
            self._charge(task, task.phase, share)
        elif self.carrier is not None:
            moved = self.carrier.abandon(task)
            task.moved_bytes[task.phase != DOWNLOAD] += _whole(moved)
        if j.alarm is not None:
            j.alarm.cancel()

    def moved_bytes(self, task: Task) -> tuple[int, int]:
        """Bytes down and up that have passed by now, pro rata in a message under way.

        What `book` would charge, of a task that goes on: nothing changes.
        """
        j: Journey | None = task.journey
        moved = task.moved_bytes.copy()
        if j is None:
            return moved[0], moved[1]
        leg, begun_s, now_s = task.phase, j.leg_s, self.clock.now
        for end_s in j.ends_s[:-1]:
            if end_s > now_s:
                break
            if leg == DOWNLOAD:
                moved[0] += task.down_bytes + FRAME_BYTES
            leg, begun_s = leg + 1, end_s
        if leg != TRAIN:
            moved[leg == UPLOAD] += self._under_way(task, j, leg, begun_s)
        return moved[0], moved[1]

    def _under_way(self, task: Task, j: Journey, leg: int, begun_s: float) -> int:
        """What has passed of the message of this leg, begun then."""
        if self.carrier is not None:
            return _whole(self.carrier.passed_bytes(task))
        nbytes = task.up_bytes if leg == UPLOAD else task.down_bytes
        return _whole((nbytes + FRAME_BYTES) * self._share_moved(task, j, leg, begun_s))

    def _go_on(self, task: Task, leg_s: float) -> None:
        """Plans from the current leg, begun at leg_s, as far as is known; then waits once."""
        j: Journey = task.journey
        j.leg_s = leg_s
        j.ends_s = self._plan(task, j)
        if not j.ends_s:
            self._carry(task, j, self.carrier)
            return
        due_s, handler = j.ends_s[-1], "task.next"
        if task.phase + len(j.ends_s) - 1 == j.stop_leg:
            task.doomed, handler = True, "task.failed"
        due_s = max(due_s, self.clock.now)  # a hurried leg may be over by a hair
        cut_s = j.lost_s if self.batteries is None else self._cut_s(task, j, j.ends_s)
        if cut_s < due_s:
            task.doomed, handler, due_s = True, "task.lost", cut_s
        j.alarm = self.clock.at(due_s, Kind.TASK, task.serial, handler, task)

    def _plan(self, task: Task, j: Journey) -> list[float]:
        """When the legs end whose length is known, from the current one on."""
        ends_s: list[float] = []
        end_s, stop_leg, pauses = j.leg_s, j.stop_leg, j.pauses
        alone, presence = self.carrier is None, self.fleet.presence
        for leg in range(task.phase, HOME if task.up_bytes >= 0 else UPLOAD):
            if leg != TRAIN and not alone and _carried_share(j, leg):
                break
            work_s = j.work_s[leg] if leg != stop_leg else j.work_s[leg] * j.stop_share
            end_s = done_at(presence, task.device, end_s, work_s) if pauses else end_s + work_s
            ends_s.append(end_s)
            if leg == stop_leg:
                break
        return ends_s

    def _next(self, task: Task) -> None:
        """Every planned leg is behind the task."""
        j: Journey = task.journey
        self._pass(task, j, j.ends_s)
        if task.phase == HOME:
            self._over(task, "delivered")
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
            if j.pauses:
                spent_s[leg] += worked_s(self.fleet.presence, task.device, leg_s, end_s)
            else:
                spent_s[leg] += end_s - leg_s
            if self.batteries is not None:
                j.leg_s = leg_s
                self._draw(task, j, leg, end_s)
            leg_s = end_s
            leg += 1
        if first <= DOWNLOAD < leg:
            task.moved_bytes[0] += task.down_bytes + FRAME_BYTES
        if first <= UPLOAD < leg:
            task.moved_bytes[1] += task.up_bytes + FRAME_BYTES
        task.phase, j.leg_s = leg, leg_s

    def _failed(self, task: Task) -> None:
        j: Journey = task.journey
        if j.stop_cause == DROP_OUT:
            again = self.fleet.faults.again(task.device, j.attempt + 1)
            if again is not None:
                self._retry(task, j, *again)
                return
        self.end(task, "lost", j.stop_cause)

    def _retry(self, task: Task, j: Journey, wait_s: float, drop_probability: float) -> None:
        """Begins the current leg anew after a while."""
        self.book(task)
        task.doomed = False
        drop_leg = self.fleet.faults.drop_leg(task.device)
        draw_again(task, j, self.streams, drop_probability, drop_leg)
        self._go_on(task, self.clock.now + wait_s)

    def _draw(self, task: Task, j: Journey, leg: int, end_s: float) -> None:
        """Books what the leg, begun at leg_s, has drawn from the battery."""
        batteries = self.batteries
        if batteries is not None:
            work = Work(j.leg_s, end_s, batteries.watts(task.device, leg))
            batteries.book(task.device, work, pauses=j.pauses)

    def _cut_s(self, task: Task, j: Journey, ends_s: list[float]) -> float:
        """When the task is lost before these legs, from the current one on, have ended."""
        batteries = self.batteries
        if batteries is not None:
            starts_s = (j.leg_s, *ends_s)
            ahead = [
                Work(starts_s[k], end_s, batteries.watts(task.device, task.phase + k))
                for k, end_s in enumerate(ends_s)
            ]
            j.empty_s = batteries.empty_s(task.device, ahead, pauses=j.pauses)
        return min(j.empty_s, j.lost_s)

    def _lost(self, task: Task) -> None:
        j: Journey = task.journey
        cause = j.lost_cause
        if self.batteries is not None and j.empty_s <= j.lost_s:
            self.end(task, "lost", BATTERY)
            self.batteries.drained(task.device, self.clock.now)
            return
        if cause == OFFLINE:
            cause = self.fleet.presence.why_away(task.device, self.clock.now)
        self.end(task, "lost", cause)

    # A leg on a shared link: its end is not known when it begins.

    def _carry(self, task: Task, j: Journey, carrier: Carrier | None) -> None:
        assert carrier is not None  # else every leg would have been planned
        up = task.phase == UPLOAD
        nbytes = float(FRAME_BYTES + (task.up_bytes if up else task.down_bytes))
        if task.phase == j.stop_leg:
            nbytes *= _carried_share(j, task.phase)
        flows_s = j.leg_s + j.latency_s[task.phase]
        if j.pauses:
            flows_s = done_at(self.fleet.presence, task.device, j.leg_s, j.latency_s[task.phase])
        carrier.begin(
            task,
            up=up,
            nbytes=nbytes,
            rate=j.rate[up],
            flows_s=flows_s,
            pauses=j.pauses,
        )
        if j.lost_s < inf or self.batteries is not None:
            # Not at once: a message that takes no time is through before anything is lost.
            now_s = self.clock.now
            j.alarm = self.clock.at(now_s, Kind.TASK, task.serial, "task.watch", task)

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
        now_s, handler = self.clock.now, "task.watch"
        look_s = max(now_s, j.leg_s) + 4.0 * j.work_s[task.phase] + 1.0
        if j.empty_s > now_s:
            self._draw(task, j, task.phase, now_s)
            look_s = min(look_s, self._cut_s(task, j, [look_s]))
        if min(j.empty_s, j.lost_s) <= now_s:  # but what is through by now is through
            look_s, handler = now_s, "task.lost"
        j.alarm = self.clock.at(look_s, Kind.TASK, task.serial, handler, task)

    # Pro-rata charges.

    def _share_moved(self, task: Task, j: Journey, leg: int, begun_s: float) -> float:
        """How much of the message of this leg, begun then, has passed by now."""
        if begun_s > self.clock.now:
            return 0.0  # a retry waits
        leg = min(leg, UPLOAD)
        spent_s = self._worked_s(task.device, j, begun_s)
        carry_s = j.work_s[leg] - j.latency_s[leg]
        if carry_s <= 0.0:
            return 0.0  # a message that takes no time has not begun
        return min(1.0, max(0.0, (spent_s - j.latency_s[leg]) / carry_s))

    def _charge(self, task: Task, phase: int, share: float) -> None:
        """Charges this share of a message to its direction; training moves nothing."""
        if phase == DOWNLOAD:
            task.moved_bytes[0] += _whole((task.down_bytes + FRAME_BYTES) * share)
        elif phase == UPLOAD:
            task.moved_bytes[1] += _whole((task.up_bytes + FRAME_BYTES) * share)


def _carried_share(j: Journey, leg: int) -> float:
    """How much of the leg's message passes, latency first, before the leg fails by itself."""
    if leg != j.stop_leg:
        return 1.0
    carry_s = j.work_s[leg] - j.latency_s[leg]
    past_s = j.stop_share * j.work_s[leg] - j.latency_s[leg]
    return min(1.0, past_s / carry_s) if past_s > 0.0 else 0.0


def _whole(nbytes: float) -> int:
    """The nearest number of bytes; of half a byte, a whole one, whatever rounding made of it."""
    return int(nbytes + _HALF)
