"""What tasks carry and compute, as the clock asks for it.

The clock knows sizes and durations only. Training may be done at any moment between `start` and
the call that needs its result (`ready`, `deliver`, and for some codecs `lose`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import inf, nan
from typing import Any, Protocol

import numpy as np

from simfl.messages import NOTHING, Counter, Task, Update, work_of
from simfl.strategy.base import Change, LearningInfo

#: Among the metrics of an evaluation: columns by device, for the table `personal`.
BY_DEVICE = "by_device"


class Workload(Protocol):
    """Learning and codecs behind one face."""

    initial: Any  #: parameters at version 0
    examples: np.ndarray  #: (devices,) int64, n_i
    memory_bytes: int  #: that training takes on a device, at least
    notes: Mapping[str, str]  #: how it is computed, for the summary
    choices: Mapping[str, str]  #: options of [learning] that this machine settled
    learning: LearningInfo | None  #: for strategies that train on the server

    @property
    def totals(self) -> Mapping[str, float]:
        """Further numbers of the run so far, for its summary."""

    def announce(self, tasks: Sequence[Task]) -> None:
        """These tasks start at this instant: what `start` will need may be computed together."""

    def start(self, task: Task) -> None:
        """Fills in examples, local_steps, epochs, flops, down_bytes and, if known, up_bytes."""

    def shorten(self, task: Task, steps: int) -> None:
        """The task makes only so many of its steps; whatever was computed for more is void."""

    def ready(self, task: Task) -> None:
        """Fills in up_bytes; called at the end of training if `start` could not."""

    def deliver(self, task: Task, server: Counter) -> Update | None:
        """The update, decoded; what both sides remember is committed.

        None if one end was out of step with the other, whose next message starts afresh.
        """

    def lose(self, task: Task) -> None:
        """The task ended without an update, in the phase that `task.phase` says."""

    def measure(self, update: Update, params: Any) -> tuple[float, float]:
        """(drift, cosine): ||w_now - w_base|| / ||delta||, and cos(w_now - w_base, delta)."""

    def applied(self, params: Any, change: Change, updates: Sequence[Update]) -> Any:
        """The model after a change, of which these updates are the part that devices sent."""

    def finite(self, params: Any) -> bool:
        """False if any element is NaN or infinite."""

    def trouble(self, params: Any, updates: Sequence[Update]) -> str:
        """What is not finite of a model or of the updates that made it; empty if all is well.

        Never empty where the model is not `finite`.
        """

    def evaluate(self, params: Any) -> dict[str, Any]:
        """Metrics of a model, by name; under BY_DEVICE those of each device, if there are any."""

    def close(self) -> None:
        """Ends whatever it has started outside of this process."""


def size_up(
    task: Task,
    n: int,
    batch_size: int,
    flops: float,
    passes: float = 0.0,
    drop_last: bool = False,
) -> None:
    """Fills in the task's work for n examples.

    flops: of training on one example.
    passes: over all n examples, beside the steps.
    drop_last: leave out a pass's partial batch.
    """
    steps, seen, epochs = work_of(n, batch_size, task.epochs, task.steps, drop_last)
    task.examples, task.epochs = n, epochs
    task.asked_steps = task.local_steps = steps
    task.flops = flops * (seen + passes * n)


def due_s(task: Task) -> float:
    """When the phases of a task that are planned by now will end; inf where none is."""
    if type(task.plan) is tuple:  # begin, three ends, and the alarm of the last
        due: float = task.plan[3]
        return due
    ends_s = getattr(task.plan, "ends_s", None)
    return ends_s[-1] if ends_s else inf


class OpenWorkload(Workload, Protocol):
    """A workload whose devices may join and be retired while a run lives."""

    def join(self, devices: int, first: int) -> None:
        """There are so many devices now; from `first` on they have device i mod first's data."""

    def forget(self, device: int) -> None:
        """The device is gone for good."""


_UNKNOWN = (nan, nan)


class TimingOnly:
    """No learning: the same clock, bytes and staleness, with nothing inside the messages.

    flops: per example.
    passes: over the local data, beside a task's steps.
    drop_last: as in `size_up`.
    down_bytes, up_bytes: of the model, as the codecs give them.
    sent_bytes: of what the local rule sends beside it.
    extras_nbytes: of what a strategy does.
    memory_bytes: that training takes on a device.
    """

    def __init__(
        self,
        examples: np.ndarray,
        batch_size: int,
        flops: float,
        down_bytes: int,
        up_bytes: int,
        *,
        passes: float = 0.0,
        drop_last: bool = False,
        sent_bytes: int = 0,
        extras_nbytes: Callable[[Mapping[str, Any]], int] = lambda extras: 0,
        memory_bytes: int = 0,
    ) -> None:
        self.initial = NOTHING
        self.memory_bytes = memory_bytes
        self.examples = examples
        self.totals: dict[str, float] = {}
        self.notes: Mapping[str, str] = {}
        self.choices: Mapping[str, str] = {}
        self.learning: LearningInfo | None = LearningInfo(flops, batch_size)
        self.batch_size = batch_size
        self.flops = flops
        self.down_bytes = down_bytes
        self.up_bytes = up_bytes
        self.passes = passes
        self.drop_last = drop_last
        self.sent_bytes = sent_bytes
        self._sent_up_bytes = up_bytes + sent_bytes
        self.extras_nbytes = extras_nbytes
        self._sizes = memoryview(np.ascontiguousarray(examples, dtype=np.int64).data)
        self._work = lru_cache(maxsize=4096)(self._work_of)  # most tasks ask for what others did

    def announce(self, tasks: Sequence[Task]) -> None:
        """Nothing is computed."""

    def start(self, task: Task) -> None:
        task.examples = n = self._sizes[task.device]
        task.local_steps, task.epochs, task.flops = self._work(n, task.epochs, task.steps)
        task.asked_steps = task.local_steps
        task.down_bytes = self.down_bytes
        if task.extras:
            task.down_bytes += self.extras_nbytes(task.extras)
        task.up_bytes = self._sent_up_bytes

    def shorten(self, task: Task, steps: int) -> None:
        task.steps = steps
        n = task.examples
        size_up(task, n, self.batch_size, self.flops, self.passes, self.drop_last)

    def _work_of(self, n: int, epochs: float | None, steps: int | None) -> tuple[int, float, float]:
        """(steps, epochs, FLOP) of a task on n examples, see `size_up`."""
        made, seen, passed = work_of(n, self.batch_size, epochs, steps, self.drop_last)
        return made, passed, self.flops * (seen + self.passes * n)

    def ready(self, task: Task) -> None:
        """Nothing to do: sizes are known from the start."""

    def deliver(self, task: Task, server: Counter) -> Update:
        return Update(
            task.serial, task.device, task.version, NOTHING, NOTHING, {}, task.examples,
            task.local_steps, task.epochs or 0.0, nan, nan, task.dispatched_s, task.ended_s, server,
        )  # fmt: skip

    def lose(self, task: Task) -> None:
        """Nothing is kept."""

    def measure(self, update: Update, params: Any) -> tuple[float, float]:
        return _UNKNOWN

    def applied(self, params: Any, change: Change, updates: Sequence[Update]) -> Any:
        return NOTHING

    def finite(self, params: Any) -> bool:
        return True

    def trouble(self, params: Any, updates: Sequence[Update]) -> str:
        return ""

    def evaluate(self, params: Any) -> dict[str, float]:
        return {}

    def join(self, devices: int, first: int) -> None:
        self.examples = np.resize(self.examples[:first], devices)
        self._sizes = memoryview(np.ascontiguousarray(self.examples, dtype=np.int64).data)

    def forget(self, device: int) -> None:
        """Nothing is kept."""

    def close(self) -> None:
        """Nothing was started."""
