"""How good a model is, on all data, by class and by device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import nan

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from simfl.learn.datasets.base import Dataset
from simfl.learn.failures import computing
from simfl.learn.models.base import example_losses
from simfl.learn.partition.base import Partition
from simfl.params import Params


@torch.no_grad()
def score(
    model: nn.Module, params: Params, x: Tensor, y: Tensor, batch: int = 1000
) -> tuple[np.ndarray, np.ndarray]:
    """(n,) loss and (n,) share of right answers of each example, float64.

    A sequence's are means over its positions. An output with NaN is no answer: its share is NaN.
    The module lends its structure only.
    """
    device = next(iter(model.parameters())).device
    values = {name: params[name].to(device) for name in params}
    losses, right = [], []
    with _evaluating(model), computing(model, "evaluation") as at:
        for at.x, ys in zip(x.split(batch), y.split(batch), strict=True):
            targets = ys.to(device)
            logits = functional_call(model, values, at.x.to(device))
            losses.append(example_losses(logits, targets).double())
            hits = (logits.argmax(-1) == targets).double()
            hits = hits.masked_fill(logits.isnan().any(-1), nan)
            right.append(hits.reshape(len(ys), -1).mean(1))
    return torch.cat(losses).cpu().numpy(), torch.cat(right).cpu().numpy()


def evaluate(
    model: nn.Module, params: Params, x: Tensor, y: Tensor, batch: int = 1000
) -> dict[str, float]:
    """Mean loss and accuracy, as {"loss", "accuracy"}."""
    return averaged(*score(model, params, x, y, batch))


def averaged(loss: np.ndarray, right: np.ndarray) -> dict[str, float]:
    """What `score` tells of every example, as {"loss", "accuracy"}."""
    return {"loss": float(loss.mean()), "accuracy": float(right.mean())}


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
    owners = np.repeat(np.arange(len(partition)), partition.sizes)
    pairs = {"loss": loss, "accuracy": right}
    return {k: means(v[partition.indices], owners, len(partition)) for k, v in pairs.items()}


def means(values: np.ndarray, groups: np.ndarray, count: int) -> np.ndarray:
    """(count,) mean of the values in each group, nan for an empty one."""
    sizes = np.bincount(groups, minlength=count)
    sums = np.bincount(groups, weights=values, minlength=count)
    return np.divide(sums, sizes, out=np.full(count, np.nan), where=sizes > 0)


def by_class(right: np.ndarray, dataset: Dataset) -> np.ndarray:
    """(classes,) accuracy on the test examples of each class, nan for one that has none.

    right: (n,) share of right answers of each test example. Sequences have no class: all nan. Of
    values there are no classes, and the array is empty.
    """
    if dataset.sequence or dataset.classes is None:
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
