"""What a strategy may do, and who is idle: `simfl.strategy.base.Server`, without any haste."""

from __future__ import annotations

from typing import Any

import numpy as np

from simfl.messages import NOTHING, Task, Update, examples_seen, local_steps
from simfl.streams import Streams


class Pool:
    """Devices in one list, the idle ones first; draws pick among these and change their order."""

    def __init__(self, devices: int, streams: Streams) -> None:
        self.order, self.idle = list(range(devices)), devices
        self._streams, self._block, self._draws = streams, 0, []

    def take(self, device: int) -> None:
        self._swap(self.order.index(device), self.idle - 1)
        self.idle -= 1

    def put(self, device: int) -> None:
        self._swap(self.order.index(device), self.idle)
        self.idle += 1

    def sample(self, n: int, reachable: set[int], among: Any = None) -> list[int]:
        """Up to n of the idle and reachable devices (of `among`)."""
        if among is not None:
            idle = self.order[: self.idle]
            there = [d for d in among if d in idle and d in reachable]
            for i in range(min(n, len(there))):
                j = i + int(self._uniform() * (len(there) - i))
                there[i], there[j] = there[j], there[i]
            return there[:n]
        chosen, met = [], 0
        while len(chosen) < n and met < self.idle:
            self._swap(met, met + int(self._uniform() * (self.idle - met)))
            if self.order[met] in reachable:
                chosen.append(self.order[met])
            met += 1
        return chosen

    def _swap(self, i: int, j: int) -> None:
        self.order[i], self.order[j] = self.order[j], self.order[i]

    def _uniform(self) -> float:
        if not self._draws:
            rng = self._streams.generator("sampling", self._block)
            self._block, self._draws = self._block + 1, rng.random(1024).tolist()
        return self._draws.pop()


class Server:
    """Versions and tasks. engine: plays what is asked for here. sizes: of data and messages."""

    lesson, flops_per_s, params = None, 1e11, NOTHING

    def __init__(self, engine: Any, sizes: Any) -> None:
        self.engine, self.sizes = engine, sizes
        self.fleet, self.devices = engine.world.fleet, len(engine.world.fleet)
        self.examples = sizes.examples
        self.pool = Pool(self.devices, engine.streams)
        self.version = self.steps = self.applied = self.serial = 0
        self.over, self.charged_s = "", 0.0
        self.tasks: dict[int, Task] = {}
        self.open: dict[int, Task] = {}
        self.lost: list[Task] = []
        self.given = [0] * self.devices

    @property
    def now_s(self) -> float:
        return self.engine.now

    @property
    def in_flight(self) -> int:
        return len(self.tasks)

    def sample(self, n: int, among: Any = None) -> list[int]:
        return self.pool.sample(n, self._reachable(), among)

    def candidates(self) -> np.ndarray:
        return np.array(sorted(self._reachable() & set(self.pool.order[: self.pool.idle])), int)

    def dispatch(self, devices, *, epochs=None, steps=None, extras=None) -> list[int]:
        serials = list(range(self.serial, self.serial + len(devices)))
        for device in [] if self.over else devices:
            self._open(int(device), epochs, steps)
        return serials

    def apply(self, change: Any) -> None:
        if self.over:
            return
        ages = []
        for serial, weight in change.weights.items():
            task = self.open.pop(serial)
            ages.append(self.version - task.version)
            self._row(task, "applied", weight=weight, used_s=self.now_s + self.charged_s)
        self.version += 1
        self.applied += len(ages)
        self.engine.versions.append((self.now_s + self.charged_s, ages))
        limits = self.engine.stop
        if limits.versions is not None and self.version >= limits.versions:
            self.over = "versions"
        elif limits.updates is not None and self.applied >= limits.updates:
            self.over = "updates"

    def discard(self, updates: Any, cause: str) -> None:
        for update in updates:
            self._row(self.open.pop(update.task), "discarded", cause)

    def cancel(self, devices: Any = None, cause: str = "cancelled") -> None:
        for task in list(self.tasks.values()):
            if devices is None or task.device in devices:
                self.engine.end(task, "cancelled", cause)

    def request(self, devices: Any) -> None:
        for task in list(self.tasks.values()):
            if task.device in devices:
                self.engine.hurry(task)

    def charge(self, flops: float = 0.0, seconds: float = 0.0) -> None:
        self.charged_s += seconds + flops / self.flops_per_s

    def generator(self, purpose: str) -> np.random.Generator:
        return self.engine.streams.generator(f"step {purpose}", self.steps)

    def size_up(self, task: Task) -> None:
        """The work that the task asks for."""
        n, batch = int(self.sizes.examples[task.device]), self.sizes.batch_size
        task.examples, task.local_steps = n, local_steps(n, batch, task.epochs, task.steps)
        seen = examples_seen(n, batch, task.local_steps)
        task.epochs, task.flops = seen / n, self.sizes.flops * seen

    def delivered(self, task: Task) -> Update:
        self.open[task.serial] = task
        return Update(
            task.serial, task.device, task.version, NOTHING, NOTHING, {}, task.examples,
            task.local_steps, task.epochs, np.nan, np.nan, task.dispatched_s, task.ended_s, self,
        )  # fmt: skip

    def close(self) -> None:
        """Nothing more happens."""
        for task in self.open.values():
            self._row(task, "discarded", "unused at the end")
        for task in self.tasks.values():
            self.engine.book(task)
            task.ended_s = self.now_s
            self._row(task, "in_flight", used_s=self.now_s)

    def _open(self, device: int, epochs: Any, steps: Any) -> None:
        self.pool.take(device)
        index, self.given[device] = self.given[device], self.given[device] + 1
        leaves_s = self.now_s + self.charged_s
        task = Task(self.serial, device, index, self.version, NOTHING, leaves_s, epochs, steps)
        self.tasks[self.serial] = task
        self.serial += 1
        if self.charged_s:
            self.engine.later(leaves_s, "dispatch", lambda: self.engine.leave(task))
        else:
            self.engine.leave(task)

    def _reachable(self) -> set[int]:
        return {d for d in range(self.devices) if self.engine.reachable_s(d) <= self.now_s}

    def _row(self, task: Task, outcome: str, cause: str = "", **more: float) -> None:
        self.engine.row(task, outcome, cause, self.version, **more)
