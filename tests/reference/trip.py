"""One task on its way: what chance has in store for it, where it is, and what it has done."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any

from simfl.messages import FRAME_BYTES, Task
from simfl.streams import Streams

DOWNLOAD, TRAIN, UPLOAD, HOME = range(4)


@dataclass
class Part:
    """What a task is at: "rest" before a retry, "latency", "flow" (left: bytes) or "train"."""

    kind: str
    left: float
    done: bool = False


@dataclass
class Trip:
    """The legs are download, train, upload. fails: (leg, nominal seconds into it), or None."""

    task: Task
    latency_s: tuple[float, float, float]
    rate: tuple[float, float, float]  #: nominal bytes/s of the legs that move bytes
    setup_s: float
    work_s: list[float]  #: nominal seconds of each leg
    fails: tuple[int, float] | None
    hangs: bool
    hazard_s: float  #: when its lifetime is over
    policy: str  #: when the device goes away: "lost", "pause", "finish"
    attempt: int = 0
    parts: list[Part] = field(default_factory=list)

    @property
    def part(self) -> Part:
        """What the task is at."""
        return self.parts[0]

    @property
    def up(self) -> bool:
        return self.task.phase == UPLOAD

    def nbytes(self) -> int:
        """Of this leg's message."""
        task = self.task
        return FRAME_BYTES + (task.up_bytes if self.up else task.down_bytes)

    def begin_leg(self, rest_s: float = 0.0) -> None:
        """The leg's parts, up to where it fails. rest_s: before it begins."""
        leg, latency_s = self.task.phase, self.latency_s[self.task.phase]
        end_s = self.fails[1] if self.fails and self.fails[0] == leg else inf
        if leg == TRAIN:
            self.parts = [Part("train", min(self.work_s[TRAIN], end_s))]
        else:
            self.parts = [Part("latency", min(latency_s, end_s))]
            if end_s > latency_s:
                self.parts.append(Part("flow", self.nbytes() * self.share()))
        if rest_s:
            self.parts.insert(0, Part("rest", rest_s))

    def charge(self) -> None:
        """Books the bytes of this leg that have passed, when it ends before its time."""
        leg = self.task.phase
        if leg == TRAIN or any(part.kind != "flow" for part in self.parts):
            return
        left = sum(part.left for part in self.parts)
        self.task.moved_bytes[self.up] += round(self.nbytes() * self.share() - left)

    def share(self) -> float:
        """Of this leg's message: what passes before the leg fails."""
        leg, latency_s = self.task.phase, self.latency_s[self.task.phase]
        if not self.fails or self.fails[0] != leg:
            return 1.0
        share = _over(self.fails[1] - latency_s, self.work_s[leg] - latency_s)
        return min(1.0, max(0.0, share))

    def shorten(self) -> int | None:
        """The device is to send after the mini-batch at hand: steps that it makes; None: no."""
        task, work_s = self.task, self.work_s[TRAIN]
        if task.phase > TRAIN or self.hangs:
            return None
        steps, worked_s, training = 1, 0.0, task.phase == TRAIN and self.part.kind == "train"
        if training:
            goal_s = min(work_s, self.fails[1] if self.fails and self.fails[0] == TRAIN else inf)
            worked_s = goal_s - self.part.left
            done = _over(worked_s - self.setup_s, work_s - self.setup_s) * task.local_steps
            steps = min(task.local_steps, max(1, ceil(done - 1e-9)))
        per_step_s = (work_s - self.setup_s) / task.local_steps
        self.work_s[TRAIN] = goal_s = self.setup_s + per_step_s * steps
        if self.fails and self.fails[0] == TRAIN:
            if self.fails[1] < goal_s:
                goal_s = self.fails[1]
            else:
                self.fails = None
        if task.phase == TRAIN:
            self.parts[-1].left = max(0.0, goal_s - worked_s)
        return steps

    def again(self, streams: Streams, probability: float) -> None:
        """Draws where a retry fails, from the leg at hand on."""
        self.attempt += 1
        task = self.task
        u = streams.uniforms("retry", task.device, task.index << 20 | self.attempt)
        self.fails = self.place(task.phase, u[1]) if u[0] < probability else None

    def place(self, first: int, share: float) -> tuple[int, float]:
        """(leg, seconds into it) where this share of the nominal work from `first` on is done."""
        left_s = share * sum(self.work_s[first:])
        for leg in range(first, UPLOAD):
            if left_s < self.work_s[leg]:
                return leg, left_s
            left_s -= self.work_s[leg]
        return UPLOAD, min(left_s, self.work_s[UPLOAD])


def trip_of(task: Task, fleet: Any, streams: Streams, now_s: float) -> Trip:
    """A task that leaves now, by its own eight draws."""
    device = task.device
    u = streams.uniforms("task", device, task.index)
    down_s, down_rate = fleet.link.down(device, u[0], u[1])
    up_s, up_rate = fleet.link.up(device, u[3], u[4])
    work_s = [
        down_s + (task.down_bytes + FRAME_BYTES) / down_rate,
        fleet.compute.train_s(device, task.flops, task.local_steps, u[2]),
        up_s + (task.up_bytes + FRAME_BYTES) / up_rate,
    ]
    share, hang_s, lifetime_s = fleet.faults.fate(device, u[5], u[6], u[7], task.local_steps)
    trip = Trip(
        task,
        (down_s, 0.0, up_s),
        (down_rate, 0.0, up_rate),
        fleet.compute.setup_s(device, u[2]),
        work_s,
        fails=None,
        hangs=share >= 1.0 and hang_s < inf,
        hazard_s=now_s + lifetime_s,
        policy=fleet.faults.on_offline(device),
    )
    if share < 1.0:
        trip.fails = trip.place(DOWNLOAD, share)
    elif trip.hangs:
        work_s[TRAIN] = hang_s
        trip.fails = TRAIN, hang_s
    return trip


def _over(a: float, b: float) -> float:
    return a / b if b > 0.0 else 0.0
