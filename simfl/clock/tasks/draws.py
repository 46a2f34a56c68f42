"""What chance decides about a task at its dispatch, from the task's own draws and time alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import Any

from simfl.clock.events import Alarm
from simfl.messages import FRAME_BYTES, Task
from simfl.streams import Streams

DOWNLOAD, TRAIN, UPLOAD, DONE = range(4)

#: Which of the eight draws of a task is that of its training.
TRAINING = 2

# Why a task fails or is lost; what is not acted upon is a word of the fleet or the strategy.
DROP_OUT = "drop-out"
SUSPENDED = "suspended"
OFFLINE = "offline"
BATTERY = "battery"


@dataclass(slots=True, eq=False)
class TaskPlan:
    """The clock's bookkeeping for one task. A phase is one phase; clock times are absolute."""

    latency_s: tuple[float, float, float]
    rate: tuple[float, float]  #: bytes/s down and up of a device that is alone on its link
    work_s: list[float]  #: seconds that each phase takes when nothing interferes
    stop_phase: int  #: the phase in which the task fails by itself; DONE: none
    stop_share: float  #: how much of that phase is done by then
    stop_cause: str
    lost_s: float  #: when the device's lifetime or absence ends the task; inf: never
    lost_cause: str
    pauses: bool  #: absence stretches the phases instead of ending the task
    empty_s: float = field(default=inf, init=False)  #: when the battery is empty, as far as known
    attempt: int = field(default=0, init=False)  #: retries so far
    pace: Any = field(default=None, init=False)  #: of a training whose speed has changed
    begun_s: float = field(init=False)  #: when the current phase began
    ends_s: list[float] = field(init=False)  #: planned ends, from the current phase on
    alarm: Alarm | None = field(default=None, init=False)


def draw_task(task: Task, fleet: Any, streams: Streams, now_s: float) -> TaskPlan:
    """Everything that the task's own eight draws decide about it."""
    device, link, faults = task.device, fleet.link, fleet.faults
    u = streams.uniforms("task", device, task.index)
    down_latency_s, down_rate = link.down(device, u[0], u[1])
    up_latency_s, up_rate = link.up(device, u[3], u[4])
    down_bytes, up_bytes, train_s = task.down_bytes, task.up_bytes, task.stated_s
    if train_s is None:
        train_s = fleet.compute.train_s(device, task.flops, task.local_steps, u[TRAINING])
    work_s = [
        down_latency_s + (down_bytes + FRAME_BYTES) / down_rate,
        train_s,
        up_latency_s + ((up_bytes if up_bytes >= 0 else down_bytes) + FRAME_BYTES) / up_rate,
    ]
    stop_phase, stop_share, stop_cause = DONE, 1.0, DROP_OUT
    share, hang_s, lifetime_s = faults.fate(device, u[5], u[6], u[7], task.local_steps)
    lost_s, cause, pauses = now_s + lifetime_s, "hazard", False
    if share < 1.0:
        stop_phase, stop_share = _where(work_s, share, DOWNLOAD, faults.drop_phase(device))
    elif hang_s < inf:
        work_s[TRAIN], stop_phase, stop_cause = hang_s, TRAIN, SUSPENDED
    if not fleet.presence.always:
        policy = faults.on_offline(device)
        pauses = policy == "pause"
        away_s = fleet.presence.off_after(device, now_s) if policy == "lost" else inf
        if away_s < lost_s:
            lost_s, cause = away_s, OFFLINE
    latency_s, rate = (down_latency_s, 0.0, up_latency_s), (down_rate, up_rate)
    return TaskPlan(
        latency_s, rate, work_s, stop_phase, stop_share, stop_cause, lost_s, cause, pauses
    )


def trip_of(task: Task, fleet: Any, streams: Streams) -> tuple[float, float, float]:
    """Seconds of the three phases, where chance decides nothing else: as `draw_task`, shorter."""
    device, train_s = task.device, task.stated_s
    latency_s, down_rate, up_rate = fleet.link.of(device)
    if train_s is None:
        u = streams.uniform("task", device, task.index, TRAINING)
        train_s = fleet.compute.train_s(device, task.flops, task.local_steps, u)
    return (
        latency_s + (task.down_bytes + FRAME_BYTES) / down_rate,
        train_s,
        latency_s + (task.up_bytes + FRAME_BYTES) / up_rate,
    )


def draw_retry(
    task: Task, plan: TaskPlan, streams: Streams, drop_probability: float, drop_phase: int | None
) -> None:
    """Decides where a retry of the current phase fails, if it does."""
    plan.attempt += 1
    u = streams.uniforms("retry", task.device, task.index << 20 | plan.attempt)
    plan.stop_phase, plan.stop_share = DONE, 1.0
    if u[0] < drop_probability:
        plan.stop_phase, plan.stop_share = _where(plan.work_s, u[1], task.phase, drop_phase)


def _where(
    work_s: list[float], share: float, first: int, only: int | None = None
) -> tuple[int, float]:
    """The phase in which this share of the work from `first` on is reached, and how much of it.

    only: the share is one of this phase, whatever the others take.
    """
    if only is not None:
        return only, share
    left_s = share * sum(work_s[first:])
    for phase in range(first, UPLOAD):
        if left_s < work_s[phase]:
            return phase, left_s / work_s[phase]
        left_s -= work_s[phase]
    return UPLOAD, min(1.0, left_s / work_s[UPLOAD]) if work_s[UPLOAD] else 0.0
