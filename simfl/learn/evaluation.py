"""How good a model is, on all data, by class and by device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from simfl.learn.datasets.base import Dataset
from simfl.learn.datasets.rows import per_pass
from simfl.learn.failures import computing
from simfl.learn.objective.base import Objective
from simfl.learn.objective.losses import PLAIN
from simfl.learn.objective.metrics import Metric, Tally, number_of
from simfl.learn.partition.base import Partition
from simfl.params import Params


@torch.no_grad()
def score(
    model: nn.Module,
    params: Params,
    x: Tensor,
    y: Tensor,
    batch: int = 1000,
    objective: Objective = PLAIN,
    tallies: Sequence[Tally] = (),
) -> tuple[np.ndarray, np.ndarray | None]:
    """(n,) loss and (n,) share of right answers of each example, float64.

    A sequence's are means over its positions. An output with NaN is no answer: its share is NaN.
    The module lends its structure only.

    objective: what compares outputs with targets; where none is right, there is no second array.
    tallies: are updated with the outputs and targets of every batch, on the CPU.
    """
    torch_device = next(iter(model.parameters())).device
    values = {name: params[name].to(torch_device) for name in params}
    batch = per_pass(x, batch)
    losses: list[Tensor] = []
    right: list[Tensor] = []
    with _evaluating(model), computing(model, "evaluation") as at:
        for at.x, ys in zip(x.split(batch), y.split(batch), strict=True):
            targets = ys.to(torch_device)
            outputs = functional_call(model, values, at.x.to(torch_device))
            losses.append(objective.loss(outputs, targets).double())
            hits = objective.right(outputs, targets)
            right += [] if hits is None else [hits.double()]
            for tally in tallies:
                tally.update(outputs.cpu(), ys)
    return torch.cat(losses).cpu().numpy(), torch.cat(right).cpu().numpy() if right else None


def evaluate(
    model: nn.Module, params: Params, x: Tensor, y: Tensor, batch: int = 1000
) -> dict[str, float]:
    """Mean loss and accuracy, as {"loss", "accuracy"}."""
    return averaged(*score(model, params, x, y, batch))


def averaged(loss: np.ndarray, right: np.ndarray | None) -> dict[str, float]:
    """Means of what `score` gives: "loss", and "accuracy" where answers are right or wrong."""
    accuracy = {} if right is None else {"accuracy": float(right.mean())}
    return {"loss": float(loss.mean()), **accuracy}


@dataclass(frozen=True, eq=False)
class Examination:
    """How one model is evaluated on all test examples of a data set.

    objective: gives losses and right answers.
    metrics: are measured beside them.
    """

    model: nn.Module
    dataset: Dataset
    objective: Objective
    metrics: Sequence[Metric] = ()

    def __call__(self, params: Params) -> tuple[dict[str, float], np.ndarray]:
        """Values by name, and (classes,) accuracy by class; nan for a class without examples."""
        tallies = [metric.start(self.dataset) for metric in self.metrics]
        x, y = self.dataset.x_test, self.dataset.y_test
        loss, right = score(self.model, params, x, y, objective=self.objective, tallies=tallies)
        measured = {
            metric.name: number_of(tally, metric.name)
            for metric, tally in zip(self.metrics, tallies, strict=True)
        }
        return averaged(loss, right) | measured, by_class(right, self.dataset)


def with_decay(metrics: dict[str, float], params: Params, weight_decay: float) -> dict[str, float]:
    """Adds `regularised_loss`, the loss plus (weight_decay/2)||w||², where there is a decay."""
    if not weight_decay:
        return metrics
    return {
        **metrics,
        "regularised_loss": metrics["loss"] + 0.5 * weight_decay * params.norm() ** 2,
    }


def evaluate_devices(
    model: nn.Module, params: Params, x: Tensor, y: Tensor, partition: Partition, batch: int = 1000
) -> dict[str, np.ndarray]:
    """(devices,) "loss" and "accuracy" of one model on each device's part of x, y."""
    loss, right = score(model, params, x, y, batch)
    assert right is not None
    owners = np.repeat(np.arange(len(partition)), partition.sizes)
    pairs = {"loss": loss, "accuracy": right}
    return {k: means(v[partition.indices], owners, len(partition)) for k, v in pairs.items()}


def means(values: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """(count,) mean of the values in each group, nan for an empty one."""
    sizes = np.bincount(groups, minlength=count)
    sums = np.bincount(groups, weights=values, minlength=count)
    return np.divide(sums, sizes, out=np.full(count, np.nan), where=sizes > 0)


def by_class(right: np.ndarray | None, dataset: Dataset) -> np.ndarray:
    """(classes,) accuracy on the test examples of each class, nan for one that has none.

    right: (n,) share of right answers of each test example, if any can be right. Sequences have
    no class: all nan. Of values there are no classes, and the array is empty.
    """
    if right is None or dataset.sequence or dataset.classes is None:
        return np.full(dataset.classes or 0, np.nan)
    return means(right, dataset.y_test.numpy(), dataset.classes)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, and the mode it had before afterwards."""
    before = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(before)
