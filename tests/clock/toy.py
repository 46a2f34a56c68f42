"""A fleet of two numbers per device, and a strategy that keeps everybody busy: for clock tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from types import SimpleNamespace

import numpy as np

from simfl.clock.kernel import Kernel, Limits, Plan
from simfl.clock.workload import TimingOnly
from simfl.fleet.charging import Steady
from simfl.messages import NOTHING
from simfl.strategy.base import Change, LocalRule, Wait
from simfl.streams import Streams

UNTIL_ALL_ENDED = Wait()


@dataclass
class ToyFleet:
    """train_s: seconds per task of each device; the rest is the same for all."""

    train_s: list[float]
    rate: float = inf
    latency_s: float = 0.0
    drop_share: float = 1.0  # 1: never drops
    hang_s: float = inf  # inf: never hangs
    lifetime_s: float = inf
    setup_s: float = 0.0
    retries: int = 0
    retry: tuple[float, float] = (1.0, 0.0)  # seconds to wait, probability to fail again
    battery: tuple[float, float, float] | None = None  # J when full, W flowing in, J for a task
    windows: list[tuple[float, float]] | None = None  # presence, None: always
    offline: str = "lost"

    def __post_init__(self) -> None:
        self.compute = SimpleNamespace(
            train_s=lambda i, flops, steps, u: self.train_s[i], setup_s=lambda i, u: self.setup_s
        )
        link = lambda i, a, b: (self.latency_s, self.rate)  # noqa: E731
        self.link = SimpleNamespace(
            down=link,
            up=link,
            of=lambda i: (self.latency_s, self.rate, self.rate),
            goodput=lambda i: 1.0,
            varying=False,
            steady=True,
        )
        self.cells = SimpleNamespace(rates=np.empty((0, 2)), of=lambda i: -1)
        self.faults = SimpleNamespace(
            safe=self.drop_share >= 1.0 and self.hang_s == self.lifetime_s == inf,
            fate=lambda i, a, b, c, steps: (self.drop_share, self.hang_s, self.lifetime_s),
            on_offline=lambda i: self.offline,
            drop_phase=lambda i: None,
            again=lambda i, attempt: self.retry if attempt <= self.retries else None,
        )
        self.energy = SimpleNamespace(
            watts=lambda devices: (np.ones(len(devices)), np.ones(len(devices))),
            train_w=lambda i: 1.0,
            radio_w=lambda i: 1.0,
            battery=lambda i: self.battery or (inf, 0.0, 0.0),
            charger=lambda i: None,
            inflow=lambda i: Steady(self.energy.battery(i)[1]),
            start_j=self.battery and np.full(len(self), self.battery[0]),
        )
        self.presence = Always() if self.windows is None else Windows(self.windows, len(self))

    def __len__(self) -> int:
        return len(self.train_s)

    device_classes = ("toy",)

    @property
    def class_id(self) -> np.ndarray:
        return np.zeros(len(self), dtype=np.int16)


class Always:
    always = True


@dataclass
class Windows:
    """Every device is there in the same intervals."""

    windows: list[tuple[float, float]]
    n: int
    always: bool = False

    def is_on(self, device: int, t: float) -> bool:
        return any(a <= t < b for a, b in self.windows)

    def off_after(self, device: int, t: float) -> float:
        return next((b for a, b in self.windows if a <= t < b), t)

    def on_after(self, device: int, t: float) -> float:
        return t if self.is_on(device, t) else min([a for a, _ in self.windows if a >= t] + [inf])

    def why_away(self, device: int, t: float) -> str:
        return "offline"

    def mask(self, t: float) -> np.ndarray:
        return np.full(self.n, self.is_on(0, t))


@dataclass(frozen=True)
class Busy:
    """Keeps `concurrency` tasks in flight and makes a version of every `buffer` updates."""

    concurrency: int = 2
    buffer: int = 1
    before: bool = False  # dispatch before the flush
    local: LocalRule = field(default_factory=LocalRule)

    def init(self, params):
        return []

    def step(self, pending, server, updates):
        for update in updates or [None]:
            pending += [update] if update else []
            if self.before:
                server.dispatch(server.sample(self.concurrency - server.in_flight))
            if len(pending) >= self.buffer:
                server.apply(Change(NOTHING, {u.task: 1.0 for u in pending}))
                pending.clear()
        server.dispatch(server.sample(self.concurrency - server.in_flight))
        return Wait(arrivals=1)


@dataclass(frozen=True)
class Rounds:
    """Synchronous rounds of `cohort` devices, deltas ignored."""

    cohort: int = 2
    wait: Wait = UNTIL_ALL_ENDED
    local: LocalRule = field(default_factory=LocalRule)

    def init(self, params):
        return None

    def step(self, state, server, updates):
        if updates:
            chosen = sorted(updates, key=lambda u: u.device)
            server.apply(Change(NOTHING, {u.task: 1.0 / len(updates) for u in chosen}))
        server.dispatch(server.sample(self.cohort))
        return self.wait


def play(fleet, strategy, *, seed=1, workload=None, plan=None, **limits):
    """Runs to the limits; returns the kernel and its task rows as dicts, in order of closing."""
    rows: dict[str, dict[str, list]] = {}

    def append(table, columns):
        held = rows.setdefault(table, {name: [] for name in columns})
        for name, values in columns.items():
            held[name].extend(values)

    if workload is None:
        workload = TimingOnly(np.full(len(fleet), 10), 10, 1.0, 936, 936)
    plan = plan or Plan(limits=Limits(**limits))
    kernel = Kernel(fleet, workload, strategy, Streams(seed), plan, append)
    kernel.run()
    kernel.close()
    tasks = rows.get("tasks", {"task": []})
    kernel.rows = [{name: tasks[name][i] for name in tasks} for i in range(len(tasks["task"]))]
    kernel.tables = rows
    return kernel
