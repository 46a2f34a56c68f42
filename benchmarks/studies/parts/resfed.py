"""What the study of ResFed adds to simfl: its setting, and two ways to get it wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from simfl.learn.datasets.base import DataDir, Dataset
from simfl.learn.partition.base import Partition
from simfl.params import Layout, Params
from simfl.units import Count
from simfl.wire.codec import Wire
from simfl.wire.resfed import ResFed


@dataclass(frozen=True)
class Digits16:
    """scikit-learn's 1797 digits divided by 16: 1400 to train on and 397 to test, as drawn."""

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Dataset:
        from sklearn.datasets import load_digits

        pixels, labels = load_digits(return_X_y=True)
        x = torch.from_numpy(pixels.astype(np.float32) / 16).view(-1, 1, 8, 8)
        y = torch.from_numpy(labels.astype(np.int64))
        mine, held = torch.from_numpy(rng.permutation(len(y))).split([1400, 397])
        return Dataset("digits16", x[mine], y[mine], x[held], y[held], 10)


@dataclass(frozen=True)
class Ring:
    """Device i owns the classes i, i + 1, ... (modulo their number), as in the published code.

    Every class is shuffled and cut into equal parts among its owners.
    """

    classes_per_device: Count = 2

    def __call__(self, dataset: Dataset, devices: int, rng: np.random.Generator) -> Partition:
        owners = np.zeros(len(dataset), np.int64)
        for label in range(dataset.classes):
            its = [(label - j) % dataset.classes for j in range(self.classes_per_device)]
            mine = rng.permutation(np.flatnonzero(dataset.labels == label))
            owners[mine] = np.array(its)[np.arange(len(mine)) * len(its) // len(mine)]
        return Partition.from_owners(owners, devices)


@dataclass(frozen=True)
class Added(ResFed):
    """The server folds what was added to the models it sent, as it does under other codecs."""

    @property
    def absolute(self) -> bool:
        return False


@dataclass(frozen=True)
class Swapped(ResFed):
    """As published: the receiver takes rule 0 for 1 and 1 for 0.

    noticed: with the digest of the history, which the published code does not have.
    """

    noticed: bool = False

    def encode(self, params: Params, memory: Any, rng: np.random.Generator) -> Wire:
        return super().encode(params, self._seen(memory), rng)

    def decode(self, payload: bytes, layout: Layout, memory: Any) -> tuple[Params, Any]:
        other = replace(self, rule=1 if self.rule == 0 else 0)
        return ResFed.decode(other, payload, layout, self._seen(memory))

    def _seen(self, memory: Any) -> Any:
        return memory if self.noticed else replace(memory, digest=bytes(8))
