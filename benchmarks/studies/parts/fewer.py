"""Part of a data set, for studies that would take days with all of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from simfl.learn.datasets.base import DATASETS, DataDir, Dataset
from simfl.units import Count


@dataclass(frozen=True)
class Fewer:
    """The first examples of each class of a data set: so many to train on, so many to test."""

    of: str
    train: Count
    test: Count

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Dataset:
        whole = _read(self.of, source)
        mine, held = first(whole.y, self.train), first(whole.y_test, self.test)
        parts = (whole.x[mine], whole.y[mine], whole.x_test[held], whole.y_test[held])
        return Dataset(whole.name, *parts, whole.classes)


def first(labels: Tensor, each: int) -> Tensor:
    """Rows of the first so many of each class, in their order."""
    rows = [torch.nonzero(labels == label)[:each, 0] for label in labels.unique()]
    return torch.cat(rows).sort().values


@lru_cache(maxsize=1)
def _read(name: str, source: DataDir) -> Dataset:
    """Read once for all cells of a study. Files hold no chance: the generator is not drawn from."""
    return DATASETS.get(name)()(source, np.random.default_rng(0))
