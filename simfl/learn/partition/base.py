"""Who holds which training example."""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from simfl.errors import DataError
from simfl.learn.datasets.base import Dataset
from simfl.registry import Registry
from simfl.units import Count, NonNegative, Positive

#: Each entry is a frozen dataclass of options, called with (dataset, devices, rng) -> Partition.
PARTITIONS = Registry(
    "partition",
    "simfl.partitions",
    {
        "dirichlet": "simfl.learn.partition.base:Dirichlet",
        "iid": "simfl.learn.partition.base:Iid",
        "priors": "simfl.learn.partition.priors:Priors",
        "quantity": "simfl.learn.partition.base:Quantity",
        "shards": "simfl.learn.partition.base:Shards",
        "user": "simfl.learn.partition.base:User",
    },
)


@dataclass(frozen=True, eq=False)
class Partition:
    """Device i holds `indices[offsets[i]:offsets[i + 1]]` (int32), also written `partition[i]`.

    A device that has joined a fleet of N holds what device i mod N holds.
    """

    indices: np.ndarray
    offsets: np.ndarray  #: (devices + 1,) int64, not decreasing

    @classmethod
    def from_sizes(cls, order: np.ndarray, sizes: np.ndarray) -> Partition:
        """Deals `order` out in consecutive pieces of these sizes."""
        offsets = np.concatenate(([0], np.cumsum(sizes))).astype(np.int64)
        return cls(order[: offsets[-1]].astype(np.int32), offsets)

    @classmethod
    def from_owners(cls, owners: np.ndarray, devices: int) -> Partition:
        """Example j belongs to device owners[j]; a device's examples are in ascending order."""
        sizes = np.bincount(owners, minlength=devices)
        return cls.from_sizes(np.argsort(owners, kind="stable"), sizes)

    @property
    def sizes(self) -> np.ndarray:
        """(devices,) int64, examples of each device."""
        return np.diff(self.offsets)

    def hold_back(self, share: float, rng: np.random.Generator) -> tuple[Partition, Partition]:
        """The partition without a random share of each device's examples, rounded down; these."""
        kept, held = [], []
        for device in range(len(self)):
            mine = rng.permutation(self[device])
            n = int(share * len(mine))
            held.append(np.sort(mine[:n]))
            kept.append(np.sort(mine[n:]))
        sizes = [np.array([len(rows) for rows in parts]) for parts in (kept, held)]
        parts = zip((kept, held), sizes, strict=True)
        first, second = (Partition.from_sizes(np.concatenate(p), n) for p, n in parts)
        return first, second

    def __getitem__(self, device: int) -> np.ndarray:
        device %= len(self)
        return self.indices[self.offsets[device] : self.offsets[device + 1]]

    def __len__(self) -> int:
        """Number of devices."""
        return len(self.offsets) - 1


def _enough(dataset: Dataset, devices: int, each: int = 1) -> None:
    """DataError unless every device can have so many examples."""
    if len(dataset) < devices * each:
        raise DataError(
            f"{dataset.name} has {len(dataset)} training examples, too few for {devices} devices "
            f"with at least {each} each: use at most {len(dataset) // each} devices"
        )


@dataclass(frozen=True)
class Iid:
    """Every example to exactly one device, at random; sizes differ by at most one."""

    def __call__(self, dataset: Dataset, devices: int, rng: np.random.Generator) -> Partition:
        _enough(dataset, devices)
        n = len(dataset)
        sizes = n // devices + (np.arange(devices) < n % devices)
        return Partition.from_sizes(rng.permutation(n), sizes)


@dataclass(frozen=True)
class Dirichlet:
    """Each class is divided among the devices in proportions drawn from Dirichlet(alpha).

    Hsu, Qi, Brown, arXiv:1909.06335, in the usual form with one draw per class. Small alpha:
    few classes per device. Devices left with fewer than `min_examples` take examples from
    the device that holds most, so that nothing is drawn twice and any alpha works.
    """

    alpha: Positive = 0.5
    min_examples: Count = 1

    def __call__(self, dataset: Dataset, devices: int, rng: np.random.Generator) -> Partition:
        _enough(dataset, devices, self.min_examples)
        labels = dataset.labels
        owners = np.empty(len(labels), np.int64)
        for label in range(dataset.outputs):
            mine = rng.permutation(np.flatnonzero(labels == label))
            shares = rng.dirichlet(np.full(devices, self.alpha))
            cuts = np.rint(np.cumsum(shares)[:-1] * len(mine))
            owners[mine] = np.searchsorted(cuts, np.arange(len(mine)), side="right")
        return Partition.from_owners(_topped_up(owners, devices, self.min_examples), devices)


def _topped_up(owners: np.ndarray, devices: int, least: int) -> np.ndarray:
    """The same owners, except that no device has fewer than `least`: the largest give."""
    sizes = np.bincount(owners, minlength=devices)
    poor = np.flatnonzero(sizes < least)
    if not len(poor):
        return owners
    order = np.argsort(owners, kind="stable")
    ends = np.cumsum(sizes)
    rich = [(-int(sizes[d]), int(d)) for d in np.flatnonzero(sizes > least)]
    heapq.heapify(rich)
    owners = owners.copy()
    for taker in np.repeat(poor, least - sizes[poor]):
        size, giver = rich[0]
        ends[giver] -= 1
        owners[order[ends[giver]]] = taker
        if size + 1 < -least:
            heapq.heapreplace(rich, (size + 1, giver))
        else:
            heapq.heappop(rich)
    return owners


@dataclass(frozen=True)
class Shards:
    """Examples sorted by class, cut into equal shards; each device gets `classes_per_device`.

    McMahan et al., AISTATS 2017, section 3: most devices see so many classes only.
    """

    classes_per_device: Count = 2

    def __call__(self, dataset: Dataset, devices: int, rng: np.random.Generator) -> Partition:
        each = self.classes_per_device
        _enough(dataset, devices, each)
        shuffled = rng.permutation(len(dataset))
        by_class = shuffled[np.argsort(dataset.labels[shuffled], kind="stable")]
        cuts = np.arange(1, devices * each) * len(dataset) // (devices * each)
        owner_of_shard = rng.permutation(np.repeat(np.arange(devices), each))
        owners = np.empty(len(dataset), np.int64)
        owners[by_class] = owner_of_shard[
            np.searchsorted(cuts, np.arange(len(dataset)), side="right")
        ]
        return Partition.from_owners(owners, devices)


@dataclass(frozen=True)
class User:
    """As the data was made: device i is user i; with fewer devices, each is several users."""

    def __call__(self, dataset: Dataset, devices: int, rng: np.random.Generator) -> Partition:
        if dataset.users is None:
            raise DataError(
                f"{dataset.name} does not say who made which example: no partition 'user'"
            )
        names, owners = np.unique(dataset.users, return_inverse=True)
        if devices > len(names):
            raise DataError(
                f"{dataset.name} has {len(names)} users, too few for {devices} devices: "
                f"use at most {len(names)} devices, or another partition"
            )
        if devices < len(names):
            owners = (rng.permutation(len(names)) % devices)[owners]
        return Partition.from_owners(owners, devices)


@dataclass(frozen=True)
class Quantity:
    """At random like 'iid', but sizes are proportional to LogNormal(0, sigma) draws."""

    sigma: NonNegative = 1.0

    def __call__(self, dataset: Dataset, devices: int, rng: np.random.Generator) -> Partition:
        _enough(dataset, devices)
        draws = rng.lognormal(0.0, self.sigma, devices)
        spare = len(dataset) - devices
        cuts = np.rint(np.cumsum(draws) / draws.sum() * spare).astype(np.int64)
        return Partition.from_sizes(rng.permutation(len(dataset)), 1 + np.diff(cuts, prepend=0))
