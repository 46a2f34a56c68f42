"""A data set, a model, a training function and an evaluation from somewhere else."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from simfl import DataDir, Dataset, DeviceData, TaskWork, Trained
from simfl.units import Count


@dataclass(frozen=True)
class Clouds:
    """Two Gaussian clouds in the plane, `apart` from each other."""

    n: Count = 200
    apart: float = 4.0

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Dataset:
        y = rng.integers(2, size=self.n)
        x = rng.standard_normal((self.n, 2)) + self.apart * (y[:, None] - 0.5)
        inputs, labels = torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y)
        half = self.n // 2
        return Dataset("clouds", inputs[:half], labels[:half], inputs[half:], labels[half:], 2)


@dataclass(frozen=True)
class Line:
    """A straight line between the classes."""

    def __call__(self, dataset: Dataset) -> nn.Module:
        return nn.Linear(dataset.x.shape[1], dataset.classes)


def distil(model: nn.Module, data: DeviceData, work: TaskWork, temperature: float = 1.0) -> Trained:
    """Learns the labels and the server's own answers, softened; takes three seconds."""
    teacher = deepcopy(model).eval()
    optimizer = torch.optim.SGD(model.parameters(), work.lr)
    for x, y in data.batches():
        with torch.no_grad():
            soft = (teacher(x) / temperature).softmax(-1)
        optimizer.zero_grad()
        outputs = model(x)
        (work.loss(outputs, y).mean() + cross_entropy(outputs / temperature, soft)).backward()
        work.step(optimizer)
    return Trained(seconds=3.0)


def regret_of(model: nn.Module, dataset: Dataset) -> dict[str, float]:
    """Share of wrong answers."""
    return {"regret": float((model(dataset.x_test).argmax(-1) != dataset.y_test).float().mean())}


def jitter(x: torch.Tensor) -> torch.Tensor:
    """A random transform."""
    return x + torch.randn(x.shape)
