"""Jobs: what any trainer is given and gives back, however it computes.

A trainer is pure in its jobs: the mini-batches depend on (seed, device, index) alone, so that a
result does not change with the other jobs of a call, their order, or the trainer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar, Protocol

import numpy as np
import torch

from simfl.learn.datasets.base import Dataset
from simfl.learn.loops.base import called
from simfl.learn.objective.base import Objective
from simfl.learn.objective.losses import PLAIN
from simfl.learn.optimizers import Kept, Sgd, name_of
from simfl.learn.partition.base import Partition
from simfl.learn.schedules import by_of, factor
from simfl.messages import examples_seen, whole_batches
from simfl.params import Params
from simfl.strategy.base import Report
from simfl.streams import Streams
from simfl.units import Count, Fraction, NonNegative, Positive, Share

SGD = Sgd()


@dataclass(frozen=True)
class TrainingOptions:
    """Local training. clip_norm bounds the L2 norm of each step's gradient of the loss.

    lr_decay: the rate is lr * lr_decay ** version, with the server version that the task has.
    drop_last: a pass leaves out its last batch where that is smaller than the others.
    train: a function that makes the steps in the place of simfl's own loop.
    """

    batch_size: Count = 10
    objective: Objective = PLAIN
    lr: Positive = 0.05
    train: Any = None
    optimizer: Any = SGD
    schedule: tuple[Any, ...] = ()
    momentum: Fraction = 0.0
    weight_decay: NonNegative = 0.0
    clip_norm: Positive | None = None
    lr_decay: Share = 1.0
    drop_last: bool = False

    def used(self, n: int) -> int:
        """Examples of n that a pass goes through."""
        return whole_batches(n, self.batch_size, self.drop_last)

    def rate(self, version: int, now_s: float = 0.0) -> float:
        """Learning rate of a task dispatched at this version and virtual time, at its beginning."""
        lr = self.lr * self.lr_decay**version
        if not self.schedule:
            return lr
        passed = factor(self.schedule, "seconds", now_s)
        return lr * factor(self.schedule, "versions", version) * passed

    @property
    def within(self) -> bool:
        """Whether the rate changes from step to step of a task."""
        return any(by_of(one) == "steps" for one in self.schedule)

    @property
    def own_loop(self) -> str | None:
        """Why no trainer of simfl's may make the steps; None if all may."""
        return None if self.train is None else f"{called(self.train)} makes its steps"

    @property
    def special(self) -> str | None:
        """Why steps are not plain SGD at one rate, with or without momentum; None if they are."""
        if self.within:
            return "its learning rate changes within a task"
        if not isinstance(self.optimizer, Sgd):
            return f"the optimizer {name_of(self.optimizer)} makes its steps"
        if self.optimizer.nesterov:
            return "Nesterov's momentum makes its steps"
        return "its optimizer keeps its state from task to task" if self.optimizer.keep else None


@dataclass(frozen=True, eq=False)
class Job:
    """One task's local work. Exactly one of epochs and steps is set."""

    base: Params
    device: int
    index: int
    version: int = 0
    epochs: float | None = None
    steps: int | None = None
    extras: Mapping[str, Any] = field(default_factory=dict)
    memory: Mapping[str, Any] = field(default_factory=dict)
    now_s: float = 0.0  #: the virtual time of the dispatch
    kept: Kept = field(default_factory=dict)  #: by the device: an optimizer's state, if it is kept


@dataclass(frozen=True, eq=False)
class JobResult:
    """What a job came to. report.delta is a Params. Losses are those of the data, no penalty."""

    report: Report
    examples: int  #: n_i
    steps: int
    epochs: float  #: passes over the local data
    loss: float  #: mean per-example training loss over the task
    loss_rms: float  #: root mean square of the same
    kept: Kept = field(default_factory=dict)  #: what the device keeps of the training
    flops: float | None = None  #: of the training, where a training function reports it
    seconds: float | None = None  #: virtual time of the training, if it is reported


#: Gives a job's result, once it is there.
Result = Callable[[], JobResult]


class Trainer(Protocol):
    """Anything that does local work."""

    width: int  #: how many jobs it likes to be given at once

    def train(self, jobs: Sequence[Job]) -> list[JobResult]:
        """The results in the order of the jobs. Raises PluginError where a rule misbehaves."""

    def begin(self, jobs: Sequence[Job]) -> Sequence[Result]:
        """The results in the order of the jobs, which is that in which they will be needed.

        By default all are trained here and now; a trainer elsewhere begins with the first.
        """
        return [partial(_itself, result) for result in self.train(jobs)]

    def close(self) -> None:
        """Ends whatever it has started outside of this process; by default that is nothing."""
        return


def _itself(result: JobResult) -> JobResult:
    return result


@dataclass(frozen=True, eq=False)
class LocalData:
    """A data set as the devices hold it."""

    dataset: Dataset
    partition: Partition
    held: Partition | None = None  #: what devices hold back from training
    changes: ClassVar[bool] = False  #: whether examples differ from version to version

    def of(self, device: int, version: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Copies of the device's inputs and labels, as they are at this server version."""
        return self._part(self.partition[device])

    def held_back(self, device: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Copies of what the device holds back from training; of all it has, if that is nothing."""
        mine = self.partition[device] if self.held is None else self.held[device]
        return self._part(mine) if len(mine) else self.of(device)

    @property
    def tried(self) -> np.ndarray:
        """(devices,) int64, number of examples in `held_back`."""
        sizes = self.partition.sizes
        return sizes if self.held is None else np.where(self.held.sizes, self.held.sizes, sizes)

    def _part(self, rows: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        mine = torch.from_numpy(rows)
        return self.dataset.x[mine], self.dataset.y[mine]

    @property
    def mean_examples(self) -> float:
        """Mean number of examples over the fleet."""
        return float(self.partition.offsets[-1]) / len(self.partition)


def passes(
    streams: Streams,
    device: int,
    index: int,
    n: int,
    batch_size: int,
    steps: int,
    drop_last: bool = False,
) -> Iterator[np.ndarray]:
    """Orders of the n local examples, one per epoch; the last is cut short after `steps` steps.

    drop_last: each order ends with its last full batch, if there is one.
    """
    rng = streams.generator("batches", device, index)
    used = whole_batches(n, batch_size, drop_last)
    left = examples_seen(used, batch_size, steps)
    while left > 0:
        yield rng.permutation(n)[: min(left, used)]
        left -= used


def batches(
    streams: Streams,
    device: int,
    index: int,
    n: int,
    batch_size: int,
    steps: int,
    drop_last: bool = False,
) -> Iterator[np.ndarray]:
    """The mini-batches of a task, `steps` arrays of local indices, the same for every trainer.

    Each epoch is a fresh shuffle, and its last batch may be smaller.
    """
    for order in passes(streams, device, index, n, batch_size, steps, drop_last):
        for start in range(0, len(order), batch_size):
            yield order[start : start + batch_size]
