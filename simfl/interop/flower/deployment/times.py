"""When a deployed device asks, trains and replies: the seconds that its own loops take.

The state of a device is when it last asked in vain, or was free: it asks again at whole intervals
from there on.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, exp, isnan
from statistics import NormalDist
from typing import Any

from simfl.clock.tasks.draws import DOWNLOAD, UPLOAD, TaskPlan
from simfl.interop.flower.deployment.options import Deployment
from simfl.messages import Task
from simfl.streams import Streams

MB = 1e6


class DeployedTimes:
    """The pace of tasks on deployed devices; see `simfl.clock.tasks.lifecycle.Pace`."""

    def __init__(self, options: Deployment, fleet: Any, streams: Streams) -> None:
        self.options, self._fleet, self._streams = options, fleet, streams
        self._gflops = fleet.compute.columns()["train_gflops"]
        self._free_s: dict[int, float] = {}  # by device: when it last was free
        self._asked_s: dict[int, float] = {}  # by device: when it got the message at hand
        self._waits = 0  # of the server app's, so far

    def next_ask_s(self, device: int, now_s: float) -> float:
        """When a device without work asks next."""
        every_s = self.options.ask_s
        if every_s <= 0.0:
            return now_s
        if device not in self._free_s:
            self._free_s[device] = -every_s * self._uniform("flower ask", device, 0)
        free_s = self._free_s[device]
        return free_s + every_s * max(0, ceil((now_s - free_s) / every_s))

    def freed(self, device: int, now_s: float) -> None:
        """The device has replied, or failed: it asks at once, and then at intervals."""
        self._free_s[device] = now_s

    def notice_s(self, task: Task) -> float:
        """Seconds from the task's loss to the server's hearing of it."""
        options = self.options
        if task.phase >= UPLOAD and options.session_s:
            return options.session_s
        low_s, high_s = options.notice_s
        return low_s + (high_s - low_s) * self._uniform("flower notice", task.device, task.index)

    def pull_wait_s(self, wait_s: float) -> float:
        """A wait of the server app's, with its jitter."""
        self._waits += 1
        swing = 2.0 * self._uniform("flower pull", 0, self._waits) - 1.0
        return wait_s * (1.0 + self.options.pull_jitter * swing)

    def wire_bytes(self, nbytes: int, *, up: bool) -> int:
        """Bytes that a message of this length puts on the link."""
        options = self.options
        return round((nbytes + options.message_bytes[up]) * (1.0 + options.header_share))

    def objects(self, blobs: Sequence[int]) -> list[float]:
        """What share of an upload has passed when each of its objects is there, in their order.

        blobs: bytes of the arrays. The records around them come last, and are short.
        """
        most, sizes = self.options.object_bytes, list[int]()
        for size in blobs:
            whole, rest = divmod(size, most)
            sizes += [most] * whole + [rest] * (rest > 0)
        return passed_shares([*sizes, 0], self.options.streams) if sizes else [1.0]

    # For the clock.

    def drawn(self, task: Task, plan: TaskPlan, now_s: float) -> None:
        """Requests delay a message's first byte."""
        self._asked_s[task.device] = now_s
        down_s, up_s = (self._seconds(task.device, s) for s in self.options.request_cpu_s)
        latency_s = plan.latency_s
        plan.latency_s = (latency_s[0] + down_s, latency_s[1], latency_s[2] + up_s)
        plan.work_s[DOWNLOAD] += down_s
        plan.work_s[UPLOAD] += up_s

    def train_s(self, task: Task, begun_s: float) -> float:
        """Seconds from the end of the download to the beginning of the upload."""
        options, device, compute = self.options, task.device, self._fleet.compute
        jitter = self._streams.uniforms("task", device, task.index)[2]
        setup_s = compute.setup_s(device, jitter)
        work_s = compute.train_s(device, task.flops, task.local_steps, jitter) - setup_s
        mb = task.down_bytes / MB
        busy = self._busy(device)
        received, taken, packed = (cpu_s * mb for cpu_s in options.copy_cpu_s_per_mb)
        start_s = setup_s * busy + self._seconds(device, options.launch_cpu_s + received)
        start_s *= self._swing(device, task.index)
        if options.launch == "beside-download":
            start_s += self._seconds(device, options.request_cpu_s[0])
            start_s += options.launch_ask_s * self._uniform("flower launch", device, task.index)
            start_s = max(0.0, self._asked_s[device] + start_s - begun_s)
        packed_s = start_s + work_s * busy
        packed_s += self._seconds(device, options.reply_cpu_s + taken + packed)
        every_s = options.reply_ask_s
        return every_s * ceil(packed_s / every_s) if every_s else packed_s

    # Inside.

    def _uniform(self, purpose: str, device: int, index: int) -> float:
        return self._streams.uniforms(purpose, device, index)[0]

    def _swing(self, device: int, index: int) -> float:
        """How much longer than usual this start of a process takes; 1 on average."""
        sigma = self.options.launch_sigma
        if not sigma:
            return 1.0
        z = NormalDist().inv_cdf(self._uniform("flower start", device, index))
        return exp(sigma * z - sigma**2 / 2.0)

    def _cores(self, device: int) -> float:
        gflops = float(self._gflops[device])
        return 1.0 if isnan(gflops) else gflops / self.options.core_gflops

    def _busy(self, device: int) -> float:
        """How much longer work takes beside the daemons; they never take all."""
        cores = self._cores(device)
        return cores / max(cores - self.options.idle_share, 0.05 * cores)

    def _seconds(self, device: int, cpu_s: float) -> float:
        return cpu_s / self._cores(device) * self._busy(device) if cpu_s else 0.0


def passed_shares(sizes: Sequence[int], streams: int) -> list[float]:
    """The share of all bytes that has passed when each object has, `streams` of them at a time.

    >>> passed_shares([30, 30, 40], 2)
    [0.6, 0.6, 1.0]
    """
    waiting, left = list(range(len(sizes)))[::-1], dict[int, int]()
    passed, ends = 0, [0] * len(sizes)
    while waiting or left:
        while waiting and len(left) < streams:
            k = waiting.pop()
            left[k] = sizes[k]
        step = min(left.values())
        passed += step * len(left)
        left = {k: size - step for k, size in left.items()}
        for k in [k for k, size in left.items() if not size]:
            ends[k] = passed
            del left[k]
    return [end / (sum(sizes) or 1) for end in ends]
