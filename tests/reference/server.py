"""What a strategy may do, and who is idle: `simfl.strategy.base.Server`, without any haste."""

from __future__ import annotations

from math import nan
from typing import Any

import numpy as np

from simfl.messages import NOTHING, Task, Update, examples_seen, local_steps


class Server:
    """Versions and tasks. engine: plays what is asked for. sizes: of data and messages."""

    learning, flops_per_s, params = None, 1e11, NOTHING

    def __init__(self, engine: Any, sizes: Any) -> None:
        self.engine, self.sizes, self.fleet = engine, sizes, engine.world.fleet
        self.devices, self.examples = len(self.fleet), sizes.examples
        self.version = self.steps = self.applied = self.serial = self.block = 0
        self.over, self.charged_s, self.lost = "", 0.0, list[Task]()
        self.tasks, self.open = dict[int, Task](), dict[int, Task]()
        self.given = [0] * self.devices
        self.order, self.idle, self.draws = list(range(self.devices)), self.devices, list[float]()

    @property
    def now_s(self) -> float:
        return self.engine.now

    @property
    def in_flight(self) -> int:
        return len(self.tasks)

    # Devices lie in one list, the idle ones first; draws pick among these and change their order.

    def sample(self, n: int, among: Any = None) -> list[int]:
        chosen, met = list[int](), 0
        if among is not None:
            there = [d for d in among if d in self.candidates()]
            while there and len(chosen) < n:
                pick = int(self._uniform() * len(there))
                there[0], there[pick] = there[pick], there[0]
                chosen.append(there.pop(0))
            return chosen
        while len(chosen) < n and met < self.idle:
            self._swap(met, met + int(self._uniform() * (self.idle - met)))
            if self.engine.reachable_s(self.order[met]) <= self.now_s:
                chosen.append(self.order[met])
            met += 1
        return chosen

    def candidates(self) -> np.ndarray:
        there = [d for d in self.order[: self.idle] if self.engine.reachable_s(d) <= self.now_s]
        return np.array(sorted(there), int)

    def put(self, device: int) -> None:
        self._swap(self.order.index(device), self.idle)
        self.idle += 1

    def _swap(self, i: int, j: int) -> None:
        self.order[i], self.order[j] = self.order[j], self.order[i]

    def _uniform(self) -> float:
        if not self.draws:
            rng = self.engine.streams.generator("sampling", self.block)
            self.block, self.draws = self.block + 1, rng.random(1024).tolist()
        return self.draws.pop()

    # Tasks and versions.

    def dispatch(self, devices: Any, *, epochs=None, steps=None, extras=None) -> list[int]:
        first = self.serial
        for device in [] if self.over else devices:
            self._swap(self.order.index(device), self.idle - 1)
            self.idle -= 1
            index, self.given[device] = self.given[device], self.given[device] + 1
            leaves_s = self.now_s + self.charged_s
            task = Task(self.serial, device, index, self.version, NOTHING, leaves_s, epochs, steps)
            self.tasks[self.serial], self.serial = task, self.serial + 1
            if self.charged_s:
                self.engine.later(leaves_s, "dispatch", lambda task=task: self.engine.leave(task))
            else:
                self.engine.leave(task)
        return list(range(first, first + len(devices)))

    def apply(self, change: Any) -> None:
        if self.over:
            return
        used_s, stop = self.now_s + self.charged_s, self.engine.stop
        for serial, weight in change.weights.items():
            self.engine.row(self.open.pop(serial), "applied", used_s=used_s, weight=weight)
        self.version, self.applied = self.version + 1, self.applied + len(change.weights)
        self.engine.versions.append((used_s, len(change.weights)))
        if stop.versions is not None and self.version >= stop.versions:
            self.over = "versions"
        elif stop.updates is not None and self.applied >= stop.updates:
            self.over = "updates"

    def discard(self, updates: Any, cause: str) -> None:
        for update in updates:
            self.engine.row(self.open.pop(update.task), "discarded", cause)

    def cancel(self, devices: Any = None, cause: str = "cancelled") -> None:
        for task in list(self.tasks.values()):
            if devices is None or task.device in devices:
                self.engine.end(task, "cancelled", cause)

    def request_partial(self, devices: Any) -> None:
        for task in list(self.tasks.values()):
            if task.device in devices:
                self.engine.hurry(task)

    def charge(self, flops: float = 0.0, seconds: float = 0.0) -> None:
        self.charged_s += seconds + flops / self.flops_per_s

    def generator(self, purpose: str) -> np.random.Generator:
        return self.engine.streams.generator(f"step {purpose}", self.steps)

    def size_up(self, task: Task) -> None:
        """The work that the task asks for, and its messages."""
        n, batch = int(self.examples[task.device]), self.sizes.batch_size
        task.examples, task.local_steps = n, local_steps(n, batch, task.epochs, task.steps)
        seen = examples_seen(n, batch, task.local_steps)
        task.epochs, task.flops = seen / n, self.sizes.flops * seen
        task.down_bytes, task.up_bytes = self.sizes.down_bytes, self.sizes.up_bytes

    def delivered(self, task: Task) -> Update:
        self.open[task.serial] = task
        return Update(
            task.serial, task.device, task.version, NOTHING, NOTHING, {}, task.examples,
            task.local_steps, task.epochs or 0.0, nan, nan, task.dispatched_s, task.ended_s, self,
        )  # fmt: skip
