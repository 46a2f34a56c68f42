"""Devices with a taste in classes and sizes of their own, as FedDyn's experiments deal data out.

Acar et al., ICLR 2021, arXiv 2111.04263: every device draws a class prior from Dirichlet(alpha).
Again and again a random device that is not full yet takes an example of a class drawn from its
prior, so sizes are as planned and devices that fill up late take what is left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simfl.errors import DataError
from simfl.learn.datasets.base import Dataset
from simfl.learn.partition.base import Partition
from simfl.units import Count, NonNegative, Positive


@dataclass(frozen=True)
class Priors:
    """One Dirichlet(alpha) class prior for each device, and sizes that do not depend on it.

    sigma: spread of the logarithm of sizes.
    examples: mean size; the rest is not dealt out. By default everything is dealt out, but for what
        does not divide evenly.
    """

    alpha: Positive = 0.5
    sigma: NonNegative = 0.0
    examples: Count | None = None

    def __call__(self, dataset: Dataset, devices: int, rng: np.random.Generator) -> Partition:
        sizes = self._sizes(dataset, devices, rng)
        stock = np.bincount(dataset.labels, minlength=dataset.outputs)
        priors = rng.dirichlet(np.full(dataset.outputs, self.alpha), devices)
        classes = _drawn(priors, sizes, stock, rng)
        return Partition.from_sizes(_examples_of(classes, dataset, rng), sizes)

    def _sizes(self, dataset: Dataset, devices: int, rng: np.random.Generator) -> np.ndarray:
        """(devices,) int64, at least one each."""
        mean = self.examples or len(dataset) // devices
        if not mean or mean * devices > len(dataset):
            raise DataError(
                f"{dataset.name} has {len(dataset)} training examples, too few for {devices} "
                f"devices with {max(1, mean)} each: use fewer devices or examples"
            )
        draws = np.exp(self.sigma * rng.standard_normal(devices))
        ends = np.rint(np.cumsum(draws) / draws.sum() * (mean - 1) * devices).astype(np.int64)
        return 1 + np.diff(ends, prepend=0)


def _drawn(
    priors: np.ndarray, sizes: np.ndarray, left: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(sizes.sum(),) class of each example, device after device.

    left: examples of each class.
    """
    left, room, ends = left.copy(), sizes.copy(), np.cumsum(sizes)
    classes, hungry = np.empty(ends[-1], np.int64), list(range(len(sizes)))
    for u_device, u_class in rng.random((len(classes), 2)):
        at = int(u_device * len(hungry))
        device = hungry[at]
        odds = np.cumsum(priors[device] * (left > 0))
        if odds[-1] < 1e-12:  # nothing that it likes is left
            odds = np.cumsum(left > 0)
        label = int(np.searchsorted(odds, u_class * odds[-1], side="right"))
        classes[ends[device] - room[device]] = label
        left[label] -= 1
        room[device] -= 1
        if not room[device]:
            hungry.pop(at)
    return classes


def _examples_of(classes: np.ndarray, dataset: Dataset, rng: np.random.Generator) -> np.ndarray:
    """Distinct random examples of these classes, in their order."""
    examples = np.empty(len(classes), np.int64)
    for label in range(dataset.outputs):
        where = np.flatnonzero(classes == label)
        examples[where] = rng.permutation(np.flatnonzero(dataset.labels == label))[: len(where)]
    return examples
