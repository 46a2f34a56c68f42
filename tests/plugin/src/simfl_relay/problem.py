"""A data set and a model from somewhere else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from simfl.learn.datasets.base import DataDir, Dataset
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
