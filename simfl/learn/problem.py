"""A learning problem: data dealt out to devices, an untrained model, and how it is trained.

`Problem.sizes` are all that the clock needs of it. `simfl.engine.loading` makes the problem of a
scenario.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simfl.learn.optimizers import Sgd, floats_per_parameter
from simfl.params import Groups, Layout, Params
from simfl.strategy.base import LearningInfo, LocalRule
from simfl.streams import Streams

if TYPE_CHECKING:
    from torch import nn

    from simfl.learn.objective.metrics import Metric
    from simfl.learn.trainers.jobs import LocalData, TrainingOptions
    from simfl.learn.trainers.local_training import Local


@dataclass(frozen=True, eq=False)
class Sizes:
    """What durations, bytes and memory of a run follow from.

    layout: of the parameters that travel.
    examples: (devices,) int64, n_i.
    flops: of training on one example (forward and backward).
    drop_last: a pass leaves out a partial last batch.
    memory_bytes: that training takes on a device, at least; see `training_bytes`.
    """

    layout: Layout
    examples: np.ndarray
    batch_size: int
    flops: float
    memory_bytes: int
    drop_last: bool = False


@dataclass(frozen=True, eq=False)
class Problem:
    """What a run learns, and from what.

    data: a data set as the devices hold it.
    model: untrained; lends its structure.
    initial: the parameters that travel, at version 0.
    training: options of local SGD, the objective among them.
    flops: of training on one example.
    frozen: number of parameters that training leaves alone.
    groups: in which uploads may be thinned.
    metrics: of an evaluation, beside those of the objective.
    evaluate: a function of the user's own that gives the values of evaluations.
    personal, by_class: whether evaluations have accuracies by device and by class.
    """

    data: LocalData
    model: nn.Module
    initial: Params
    training: TrainingOptions
    flops: float
    frozen: int = 0
    groups: Groups | None = None
    metrics: tuple[Metric, ...] = ()
    evaluate: Any = None
    personal: bool = False
    by_class: bool = False

    def sizes(self) -> Sizes:
        """The problem without its learning."""
        training, layout = self.training, self.initial.layout
        return Sizes(
            layout,
            self.data.partition.sizes,
            training.batch_size,
            self.flops,
            training_bytes(layout.size, _remembered(training), self.frozen),
            training.drop_last,
        )

    def tried_flops(self) -> np.ndarray:
        """(devices,) FLOP of trying a model on the data that a device holds back."""
        flops: np.ndarray = self.flops / 3.0 * self.data.tried
        return flops

    def info(self) -> LearningInfo:
        """The problem as the server knows it: everything but the data."""
        dataset = self.data.dataset
        bounded = not dataset.sequence and dataset.batchwise is None
        return LearningInfo(
            flops=self.flops,
            batch_size=self.training.batch_size,
            model=copy.deepcopy(self.model).eval(),
            shape=tuple(dataset.x.shape[1:]),
            classes=dataset.outputs,
            bounds=(float(dataset.x.min()), float(dataset.x.max())) if bounded else None,
            training=self.training,
        )

    def local(self, rule: LocalRule, streams: Streams, torch_device: str = "cpu") -> Local:
        """What opens and closes the local work of all devices under a local rule.

        rule: the strategy's.
        streams: of the run.
        torch_device: on which torch computes.
        """
        from simfl.learn.trainers.local_training import Local

        return Local(self.model, self.data, self.training, rule, streams, torch_device)


def training_bytes(parameters: int, remembered: float = 0.0, frozen: int = 0) -> int:
    """What training takes on a device: the model as it came, as it is trained, and its gradient.

    A lower bound: activations, data and the framework come on top.

    parameters: number that travel.
    remembered: numbers that the optimizer holds for each of them.
    frozen: parameters that lie there once.

    >>> training_bytes(1_000_000)
    12000000
    """
    return 4 * (int(parameters * (3 + remembered)) + frozen)


def _remembered(training: TrainingOptions) -> float:
    """Numbers that the optimizer holds for each parameter."""
    if isinstance(training.optimizer, Sgd):
        return float(training.momentum > 0.0)
    return floats_per_parameter(training.optimizer)
