"""What a strategy may do, and who is idle: `simfl.strategy.base.Server`, without any haste."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import numpy as np

from reference.world import World
from simfl.messages import NOTHING, Task, Update
from simfl.streams import Streams


class Server:
    """Versions and tasks; the engine, which inherits it, plays what is asked for.

    sizes: fills in what tasks carry and compute. sent: every task there ever was, by serial.
    """

    learning, flops_per_s, params = None, 1e11, NOTHING

    def __init__(self, world: World, sizes: Any, streams: Streams, stop: Any) -> None:
        self.world, self.sizes, self.streams, self.stop = world, sizes, streams, stop
        self.fleet, self.devices, self.examples = world.fleet, len(world.fleet), sizes.examples
        self.now_s, self.charged_s, self.over = 0.0, 0.0, ""
        self.version = self.steps = self.applied = self.block = 0
        self.tasks, self.open = dict[int, Task](), dict[int, Task]()
        self.sent, self.lost, self.gone = list[Task](), list[Task](), set[int]()
        self.order, self.draws = list(range(self.devices)), list[float]()

    @property
    def in_flight(self) -> int:
        return len(self.tasks)

    # Devices lie in one list, the idle ones first; draws pick among these and change their order.

    @property
    def idle(self) -> int:
        return self.devices - len(self.tasks) - len(self.gone)

    def sample(self, n: int, among: Any = None) -> list[int]:
        if among is not None:
            there = [d for d in among if d in self.candidates()]
            return [self.pick(there, i, len(there)) for i in range(min(n, len(there)))]
        chosen, met = list[int](), 0
        while len(chosen) < n and met < self.idle:
            device = self.pick(self.order, met, self.idle)
            chosen += [device] if self.reachable_s(device) <= self.now_s else []
            met += 1
        return chosen

    def candidates(self) -> np.ndarray:
        there = [d for d in self.order[: self.idle] if self.reachable_s(d) <= self.now_s]
        return np.array(sorted(there), int)

    def pick(self, devices: list[int], first: int, end: int) -> int:
        """One of devices[first:end], by the next draw; it changes places with the first."""
        if not self.draws:
            rng = self.streams.generator("sampling", self.block)
            self.block, self.draws = self.block + 1, rng.random(1024).tolist()
        other = first + int(self.draws.pop() * (end - first))
        devices[first], devices[other] = devices[other], devices[first]
        return devices[first]

    def put(self, device: int, where: int) -> None:
        """The device changes places with the one that lies there."""
        at = self.order.index(device)
        self.order[at], self.order[where] = self.order[where], device

    # Tasks and versions.

    def dispatch(self, devices: Any, *, epochs=None, steps=None, extras=None) -> list[int]:
        first, leaves_s = len(self.sent), self.now_s + self.charged_s
        for device in [] if self.over else devices:
            self.put(device, self.idle - 1)
            index = sum(task.device == device for task in self.sent)
            serial, version = len(self.sent), self.version
            task = Task(serial, device, index, version, NOTHING, leaves_s, epochs, steps)
            self.sent.append(task)
            self.tasks[serial] = task
            if self.charged_s:
                self.later(leaves_s, "dispatch", partial(self.leave, task))
            else:
                self.leave(task)
        return list(range(first, first + len(devices)))

    def apply(self, change: Any) -> None:
        if self.over:
            return
        used_s = self.now_s + self.charged_s
        for serial, weight in change.weights.items():
            self.row(self.open.pop(serial), "applied", used_s=used_s, weight=weight)
        self.version, self.applied = self.version + 1, self.applied + len(change.weights)
        self.versions.append((used_s, len(change.weights)))
        for limit, count in (("versions", self.version), ("updates", self.applied)):
            most = getattr(self.stop, limit)
            if most is not None and count >= most:
                self.over = self.over or limit

    def discard(self, updates: Iterable[Update], cause: str) -> None:
        for update in updates:
            self.row(self.open.pop(update.task), "discarded", cause)

    def cancel(self, devices: Any = None, cause: str = "cancelled") -> None:
        for task in [t for t in self.tasks.values() if devices is None or t.device in devices]:
            self.end(task, "cancelled", cause)

    def request_partial(self, devices: Any) -> None:
        for task in [t for t in self.tasks.values() if t.device in devices]:
            self.hurry(task)

    def charge(self, flops: float = 0.0, seconds: float = 0.0) -> None:
        self.charged_s += seconds + flops / self.flops_per_s

    def generator(self, purpose: str) -> np.random.Generator:
        return self.streams.generator(f"step {purpose}", self.steps)
