"""A server and a fleet in one small file: a strategy is tested on it without a clock or a model.

Device i minimises (a/2)||y - zᵢ||² by plain gradient descent in float32, through the hooks of its
local rule. Tasks last what `seconds(device, index)` says; everything due at one instant arrives
before the step, as in the real clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any

import numpy as np
import torch

from simfl.messages import Task, Update
from simfl.params import Layout, Params
from simfl.strategy.aggregation import applied
from simfl.strategy.base import Change, Report, Work

LR = 0.1


def params(*values: float) -> Params:
    """Params with one trained tensor "x".

    >>> params(1.0, 2.0)["x"].tolist()
    [1.0, 2.0]
    """
    return Params(torch.tensor(values), Layout((("x", (len(values),)),), len(values)))


def update(device: int = 0, delta: Any = 1.0, *, server: Any = None, **known: Any) -> Update:
    """An update with everything that a test does not care about filled in.

    delta: a number or `Params`.
    known: other fields of `simfl.Update`.

    >>> update(3, 0.5, examples=20).examples
    20
    """
    values: dict[str, Any] = {
        "task": device,
        "version": 0,
        "base": delta * 0.0,
        "extras": {},
        "examples": 10,
        "steps": 5,
        "epochs": 1.0,
        "loss": 1.0,
        "loss_rms": 1.0,
        "dispatched_s": 0.0,
        "arrived_s": 1.0,
    }
    return Update(device=device, delta=delta, server=server or FakeServer(), **{**values, **known})


@dataclass
class FakeServer:
    """Implements `simfl.Server`; `play` runs a strategy on it.

    centres: (devices, elements), what each device's model is pulled to.
    seconds: that a task takes, of (device, how many tasks it was given before).
    lost_tasks: whether a task ends without an update, of its serial.
    curvature: a.
    start: every element of version 0.
    present: whether a device can be given a task, of (device, now_s).
    sizes: examples that each device holds.
    buffers: how many trailing elements are not trained, as running statistics are.

    What happened lies in `applied` (update, staleness, weight), `discarded` and `cancelled`
    (serial, cause), `models` (every version) and `asked` (time, device, epochs, steps).

    >>> from simfl import FedAvg
    >>> server = FakeServer(centres=[[0.0], [4.0]]).play(FedAvg(cohort=2), versions=50)
    >>> [round(value, 3) for value in server.params.flat.tolist()]
    [2.0]
    """

    centres: Any = ((0.0,),)
    seconds: Callable[[int, int], float] = lambda device, index: 1.0
    lost_tasks: Callable[[int], bool] = lambda serial: False
    curvature: float = 1.0
    start: float = 0.0
    present: Callable[[int, float], bool] = lambda device, now_s: True
    sizes: Sequence[int] | None = None
    buffers: int = 0
    seed: int = 0

    version: int = 0
    now_s: float = 0.0
    lost: list[Task] = field(default_factory=list)
    fleet: Any = None
    learning: Any = None
    flops_per_s: float = inf
    flying: dict[int, Task] = field(default_factory=dict)
    open: dict[int, Update] = field(default_factory=dict)
    applied: list[tuple[Update, int, float]] = field(default_factory=list)
    discarded: list[tuple[int, str]] = field(default_factory=list)
    cancelled: list[tuple[int, str]] = field(default_factory=list)
    models: list[Params] = field(default_factory=list)
    shortened: dict[int, float] = field(default_factory=dict)  # serial -> share of the work done
    asked: list[Any] = field(default_factory=list)  # (time, device, epochs, steps)

    def __post_init__(self) -> None:
        self.centres = torch.tensor(self.centres, dtype=torch.float32)
        self.devices, size = self.centres.shape
        self.examples = np.array(self.sizes or [10] * self.devices)
        shapes = (("x", (size - self.buffers,)), ("stat", (self.buffers,)))
        layout = Layout(shapes[: 1 + (self.buffers > 0)], size - self.buffers)
        self.params = Params(torch.full((size,), self.start), layout)
        self.models.append(self.params)
        self._heap: list[tuple[float, int]] = []
        self._serial = 0
        self._index = [0] * self.devices
        self._memory: dict[int, Any] = {}
        self._steps = 0
        self._rng = np.random.default_rng(self.seed)

    # What a strategy may ask.

    @property
    def in_flight(self) -> int:
        return len(self.flying)

    def candidates(self) -> np.ndarray:
        busy = {task.device for task in self.flying.values()}
        idle = [i for i in range(self.devices) if i not in busy and self.present(i, self.now_s)]
        return np.array(idle, dtype=np.int64)

    def sample(self, n: int, among: Sequence[int] | None = None) -> list[int]:
        idle = self.candidates().tolist()
        if among is not None:
            idle = [device for device in among if device in idle]
        return self._rng.permutation(idle)[:n].astype(int).tolist()

    def dispatch(
        self, devices: Iterable[int], *, epochs: Any = None, steps: Any = None, extras: Any = None
    ) -> list[int]:
        devices, serials = list(devices), []
        assert epochs is None or steps is None, "dispatch takes epochs or steps, and not both"
        for k, device in enumerate(devices):
            assert device in self.candidates(), f"device {device} is busy or away"
            e, s = (v[k] if isinstance(v, Sequence) else v for v in (epochs, steps))
            task = Task(
                self._serial, device, self._index[device], self.version, self.params, self.now_s,
                epochs=e, steps=s, extras=extras or {},
            )  # fmt: skip
            task.examples = int(self.examples[device])
            self._serial += 1
            self._index[device] += 1
            self.flying[task.serial] = task
            due_s = self.now_s + self.seconds(device, task.index)
            heapq.heappush(self._heap, (due_s, task.serial))
            self.asked.append((self.now_s, device, e, s))
            serials.append(task.serial)
        return serials

    def apply(self, change: Change) -> None:
        strange = set(change.weights) - set(self.open)
        assert not strange, f"tasks {sorted(strange)} were applied before they arrived, or twice"
        updates = [self.open.pop(serial) for serial in change.weights]
        for update, weight in zip(updates, change.weights.values(), strict=True):
            self.applied.append((update, update.staleness, weight))
        self.params = applied(self.params, change, updates)
        self.models.append(self.params)
        self.version += 1

    def discard(self, updates: Iterable[Update], cause: str) -> None:
        for update in updates:
            del self.open[update.task]
            self.discarded.append((update.task, cause))

    def cancel(self, devices: Iterable[int] | None = None, cause: str = "cancelled") -> None:
        wanted = None if devices is None else list(devices)
        for serial, task in list(self.flying.items()):
            if wanted is None or task.device in wanted:
                del self.flying[serial]
                self.cancelled.append((serial, cause))

    def request_partial(self, devices: Iterable[int]) -> None:
        wanted = list(devices)
        for task in self.flying.values():
            if task.device in wanted:
                share = (self.now_s - task.dispatched_s) / self.seconds(task.device, task.index)
                self.shortened[task.serial] = share
                heapq.heappush(self._heap, (self.now_s, task.serial))

    def charge(self, flops: float = 0.0, seconds: float = 0.0) -> None:
        """Server work takes no time here."""

    def generator(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng([self.seed, self._steps, *purpose.encode()])

    # The loop.

    def play(self, strategy: Any, versions: int, patience: int = 10_000) -> FakeServer:
        """Runs until so many versions have been made; fails after `patience` steps."""
        state, step_s = strategy.init(self.params), inf
        arrived: list[Update] = []
        self.rule = strategy.local
        wait = strategy.step(state, self, arrived)
        self.state = state
        while self.version < versions:
            patience -= 1
            assert patience, "the strategy makes no progress"
            if wait.within is not None and step_s == inf:
                step_s = self.now_s + wait.within
            arrived += self._advance(step_s)
            enough = wait.arrivals is not None and len(arrived) >= wait.arrivals
            enough |= wait.losses is not None and len(self.lost) >= wait.losses
            if enough or not self.flying or self.now_s >= step_s:
                self._steps += 1
                given, arrived, step_s = arrived, [], inf
                wait = strategy.step(state, self, given)
                self.lost = []
        return self

    def _advance(self, until_s: float) -> list[Update]:
        """Everything that is due at the next instant."""
        while self._heap and self._heap[0][1] not in self.flying:
            heapq.heappop(self._heap)  # cancelled, or requested and here already
        due_s = self._heap[0][0] if self._heap else inf
        assert min(due_s, until_s) < inf, "nothing can ever happen again"
        self.now_s, updates = min(due_s, until_s), []
        while self._heap and self._heap[0][0] <= self.now_s:
            _, serial = heapq.heappop(self._heap)
            task = self.flying.pop(serial, None)
            if task is None:
                continue
            if self.lost_tasks(serial):
                self.lost.append(task)
            else:
                updates.append(self._deliver(task))
        return updates

    def _deliver(self, task: Task) -> Update:
        steps = task.steps if task.steps is not None else round(5 * (task.epochs or 1.0))
        steps = max(1, ceil(steps * self.shortened.get(task.serial, 1.0) - 1e-9))
        report = self.train(task.device, task.base, task.extras, steps)
        self._memory[task.device] = report.memory or self._memory.get(task.device, {})
        delta = report.delta
        update = Update(
            task.serial, task.device, task.version, task.base,
            delta if isinstance(delta, Params) else task.base.like(delta),
            report.extras, task.examples, steps, steps / 5, 1.0 + task.device,
            1.0 + task.device, task.dispatched_s, self.now_s, self, LR,
        )  # fmt: skip
        self.open[task.serial] = update
        return update

    def train(self, device: int, base: Params, extras: Any, steps: int) -> Report:
        """What the device reports after so many steps of gradient descent."""
        rule, t = self.rule, base.layout.trainable
        gradient = lambda y: self.curvature * (y[:t] - self.centres[device][:t])  # noqa: E731
        mean = float(self.examples.mean())
        n, momentum = int(self.examples[device]), 0.0
        work = Work(n, mean, steps / 5, steps, 2, LR, momentum, t, gradient)
        start, context = rule.prepare(base.flat, extras, self._memory.get(device, {}), work)
        context = {**context, "base": base.trained}
        y = start.clone()
        for _ in range(steps):
            y[:t] -= LR * rule.correct(gradient(y), y[:t], context)
            y[t:] += 1.0  # running statistics drift
        return rule.report(y, base.flat, context, work)
