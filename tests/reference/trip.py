"""One task on its way: what chance has in store for it, where it is, and what it has done."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, inf
from typing import Any

from simfl.messages import FRAME_BYTES, Task
from simfl.streams import Streams

DOWNLOAD, TRAIN, UPLOAD, HOME = range(4)


@dataclass(slots=True)
class Part:
    """What a task is at: "rest" before a retry, "latency", "flow" (left: bytes) or "train"."""

    kind: str
    left: float
    done: bool = False


class Trip:
    """A task that leaves now, by its own eight draws. Its legs: download, train, upload.

    work_s: nominal seconds of each leg. fails: (leg, nominal seconds into it) by itself.
    """

    def __init__(self, task: Task, fleet: Any, streams: Streams, now_s: float) -> None:
        self.task, self.streams, self.attempt, device = task, streams, 0, task.device
        u = streams.uniforms("task", device, task.index)
        (down_s, down), (up_s, up) = fleet.link.down(device, *u[:2]), fleet.link.up(device, *u[3:5])
        self.latency_s, self.rate = (down_s, 0.0, up_s), (down, 0.0, up)
        self.nbytes = (task.down_bytes + FRAME_BYTES, 0, task.up_bytes + FRAME_BYTES)
        self.setup_s = fleet.compute.setup_s(device, u[2])
        train_s = fleet.compute.train_s(device, task.flops, task.local_steps, u[2])
        share, hang_s, lifetime_s = fleet.faults.fate(device, *u[5:], task.local_steps)
        self.policy, self.hazard_s = fleet.faults.on_offline(device), now_s + lifetime_s
        self.hangs = share >= 1.0 and hang_s < inf
        train_s = hang_s if self.hangs else train_s
        self.work_s = [down_s + self.nbytes[0] / down, train_s, up_s + self.nbytes[2] / up]
        self.drops_in = fleet.faults.drop_phase(device)
        self.fails = (TRAIN, hang_s) if self.hangs else self.place(share)
        self.begin_leg()

    def place(self, share: float) -> tuple[int, float]:
        """Where this share of the nominal work from the leg at hand on is done; HOME: nowhere."""
        leg = self.task.phase
        if share >= 1.0:
            return HOME, inf
        if self.drops_in is not None:
            return self.drops_in, share * self.work_s[self.drops_in]
        left_s = share * sum(self.work_s[leg:])
        while leg < UPLOAD and left_s >= self.work_s[leg]:
            left_s, leg = left_s - self.work_s[leg], leg + 1
        return leg, min(left_s, self.work_s[leg])

    def goal_s(self) -> float:
        """Nominal seconds of the leg at hand, up to where it fails."""
        leg, work_s = self.task.phase, self.work_s[self.task.phase]
        return min(work_s, self.fails[1]) if self.fails[0] == leg else work_s

    def begin_leg(self, rest_s: float = 0.0) -> None:
        """The leg's parts, up to where it fails. rest_s: before it begins."""
        leg, goal_s, latency_s = self.task.phase, self.goal_s(), self.latency_s[self.task.phase]
        self.parts = [Part("rest", rest_s)] if rest_s else []
        if leg == TRAIN:
            self.parts.append(Part("train", goal_s))
            return
        self.parts.append(Part("latency", min(latency_s, goal_s)))
        if self.fails[0] != leg or goal_s > latency_s:
            self.parts.append(Part("flow", self.nbytes[leg] * self.share()))

    def share(self) -> float:
        """Of this leg's message: what passes, latency first, before the leg fails."""
        leg, latency_s = self.task.phase, self.latency_s[self.task.phase]
        if self.fails[0] != leg:
            return 1.0
        past_s, carry_s = self.fails[1] - latency_s, self.work_s[leg] - latency_s
        return min(1.0, past_s / carry_s) if past_s > 0.0 and carry_s > 0.0 else 0.0

    def charge(self) -> None:
        """Books the bytes that have passed of a leg which ends before its time."""
        leg = self.task.phase
        if leg != TRAIN and all(part.kind == "flow" for part in self.parts):
            passed = self.nbytes[leg] * self.share() - sum(part.left for part in self.parts)
            self.task.moved_bytes[leg == UPLOAD] += int(passed + 0.5 + 1e-5)  # halves go up

    def again(self, rest_s: float, probability: float) -> None:
        """The leg at hand begins anew, and fails by a draw of its own."""
        self.charge()
        self.attempt += 1
        index = self.task.index << 20 | self.attempt
        u = self.streams.uniforms("retry", self.task.device, index)
        self.fails = self.place(u[1] if u[0] < probability else inf)
        self.begin_leg(rest_s)

    def shorten(self) -> int:
        """The device is to send after the mini-batch at hand: steps that it makes; 0: no."""
        task, work_s, steps, worked_s = self.task, self.work_s[TRAIN], 1, 0.0
        if task.phase > TRAIN or self.hangs:
            return 0
        if task.phase == TRAIN and self.parts[0].kind == "train":
            worked_s = self.goal_s() - self.parts[0].left
            if worked_s > self.setup_s:
                done = (worked_s - self.setup_s) / (work_s - self.setup_s) * task.local_steps
                steps = min(task.local_steps, max(1, ceil(done - 1e-9)))
        self.work_s[TRAIN] = self.setup_s + (work_s - self.setup_s) * steps / task.local_steps
        if self.fails[0] == TRAIN and self.fails[1] >= self.work_s[TRAIN]:
            self.fails = HOME, inf
        if task.phase == TRAIN:
            left_s = max(0.0, self.goal_s() - worked_s)
            self.parts[-1] = Part("train", left_s, done=left_s <= 0.0)  # even in a pause
        return steps
