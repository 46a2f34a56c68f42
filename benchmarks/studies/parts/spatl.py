"""What the study of SPATL adds: a subset of Fashion-MNIST, and models with filters cut out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import median
from time import thread_time

import numpy as np
import torch
from torch import Tensor, nn

from simfl.learn.datasets.base import DataDir, Dataset
from simfl.learn.datasets.images import FashionMnist
from simfl.units import Count


@dataclass(frozen=True)
class UnitDigits:
    """scikit-learn's 1797 digits with pixels in [0, 1]: 1437 to train on and 360 to test."""

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Dataset:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split

        pixels, labels = load_digits(return_X_y=True)
        images = (pixels / 16.0).reshape(-1, 1, 8, 8).astype(np.float32)
        parts = train_test_split(images, labels, test_size=360, stratify=labels, random_state=0)
        x, x_test, y, y_test = (torch.from_numpy(part) for part in parts)
        return Dataset("digits", x, y, x_test, y_test, 10)


@dataclass(frozen=True)
class FashionSubset:
    """Some examples of Fashion-MNIST, drawn at random."""

    train: Count = 6000
    test: Count = 2000

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Dataset:
        whole = FashionMnist()(source, rng)
        mine = torch.from_numpy(rng.permutation(len(whole.x))[: self.train])
        held = torch.from_numpy(rng.permutation(len(whole.x_test))[: self.test])
        train = {"x": whole.x[mine], "y": whole.y[mine]}
        return replace(whole, **train, x_test=whole.x_test[held], y_test=whole.y_test[held])


def thinned(model: nn.Sequential, chosen: list[Tensor]) -> nn.Sequential:
    """A smaller model that computes what the masked one does. chosen: (outputs,) bool per layer.

    For plain sequences: a filter's row goes, and the columns that read it in the layer behind.
    """
    model, left, before = copy.deepcopy(model), iter(chosen), None
    for layer in model:
        if isinstance(layer, nn.Conv2d):
            mine = next(left)
            weight = layer.weight[mine]
            layer.weight = nn.Parameter(weight if before is None else weight[:, before])
            layer.bias = nn.Parameter(layer.bias[mine])
            before = mine
        elif isinstance(layer, nn.Linear) and before is not None:
            each = layer.in_features // len(before)
            layer.weight = nn.Parameter(layer.weight[:, before.repeat_interleave(each)])
            before = None
    return model.eval()


@torch.no_grad()
def alternately(calls: dict[str, Callable[[], object]], times: int = 15) -> dict[str, float]:
    """Median CPU seconds of each call, taken in turns so that all meet the same machine."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(times + 2):
        for name, call in calls.items():
            start = thread_time()
            call()
            if turn >= 2:
                spent[name].append(thread_time() - start)
    return {name: median(seconds) for name, seconds in spent.items()}
