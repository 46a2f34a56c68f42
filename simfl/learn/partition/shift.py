"""Data that changes while it is learnt from: examples give way to others of their class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from simfl.errors import DataError
from simfl.learn.datasets.base import Dataset
from simfl.learn.trainers.jobs import LocalData


@dataclass(frozen=True, eq=False, kw_only=True)
class Shifting(LocalData):
    """Devices whose examples are replaced one by one, from version `first` to version `last`.

    later: the data set that examples come from.
    place: (n,) when each training example is replaced, as a share of the way, evenly spread on
        every device.
    partner: (n,) by which.
    """

    changes: ClassVar[bool] = True

    later: Dataset
    first: int
    last: int
    place: np.ndarray
    partner: np.ndarray

    def of(self, device: int, version: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Copies of the device's inputs and labels at a server version."""
        x, y = super().of(device)
        rows = self.partition[device]
        gone = torch.from_numpy(self.place[rows] < self.progress(version))
        x[gone] = self.later.x[torch.from_numpy(self.partner[rows])[gone]]
        return x, y

    def progress(self, version: int) -> float:
        """Share of the examples that have been replaced."""
        return min(1.0, max(0.0, (version - self.first) / max(1, self.last - self.first)))


def shifting(
    data: LocalData, later: Dataset, first: int, last: int, rng: np.random.Generator
) -> Shifting:
    """The data with everything replaced in the end. Raises DataError where it does not fit."""
    dataset = data.dataset
    for one in (dataset, later):
        if one.batchwise is not None:
            raise DataError(f"{one.name} cannot shift, for {one.batchwise}: leave one of them out")
    if later.x.shape[1:] != dataset.x.shape[1:] or later.classes != dataset.classes:
        raise DataError(
            f"{dataset.name} cannot shift to {later.name}: inputs of shape "
            f"{tuple(dataset.x.shape[1:])} in {dataset.classes} classes, expected the same, but "
            f"there it is {tuple(later.x.shape[1:])} in {later.classes}"
        )
    place = np.zeros(len(dataset))
    for device in range(len(data.partition)):
        mine = data.partition[device]
        place[mine] = rng.permutation(len(mine)) / len(mine)
    partner = _partners(dataset.labels, later.labels, rng)
    return Shifting(
        dataset,
        data.partition,
        data.held,
        later=later,
        first=first,
        last=last,
        place=place,
        partner=partner,
    )


def negative(dataset: Dataset) -> Dataset:
    """The same data with light and dark exchanged."""
    if dataset.batchwise is not None:
        raise DataError(f"{dataset.name} has no negatives, for {dataset.batchwise}")
    low, high = float(dataset.x.min()), float(dataset.x.max())
    turned = {name: low + high - getattr(dataset, name) for name in ("x", "x_test")}
    return replace(dataset, name=f"{dataset.name} negatives", **turned)


def _partners(labels: np.ndarray, later: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(n,) a random later example of the class of each example."""
    partner = np.zeros(len(labels), np.int64)
    for label in np.unique(labels):
        where, pool = np.flatnonzero(labels == label), np.flatnonzero(later == label)
        if not len(pool):
            raise DataError(f"no later example of class {label} for its {len(where)} examples")
        partner[where] = pool[rng.integers(len(pool), size=len(where))]
    return partner
