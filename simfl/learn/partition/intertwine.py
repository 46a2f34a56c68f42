"""Data heterogeneity tied to device heterogeneity: the slow ones hold most of a class.

Wang and Gao, AAAI 2025, arXiv 2309.13536: what only slow devices know is lost where late updates
count for little.
"""

from __future__ import annotations

import numpy as np

from simfl.errors import DataError
from simfl.learn.datasets.base import Dataset
from simfl.learn.partition.base import Partition


def intertwined(partition: Partition, dataset: Dataset, label: int, slow: np.ndarray) -> Partition:
    """The same shares with other owners: those with most of a class go to these devices.

    slow: distinct devices; the first gets the share with most. The rest keep their order. Raises
    DataError where there is no such class.
    """
    labels = dataset.labels
    if not 0 <= label < dataset.outputs:
        raise DataError(
            f"learning.intertwined.label = {label}: {dataset.name} has the classes 0 to "
            f"{dataset.outputs - 1}"
        )
    owner = np.repeat(np.arange(len(partition)), partition.sizes)
    mine = labels[partition.indices] == label
    held = np.bincount(owner[mine], minlength=len(partition))
    order = np.argsort(-held, kind="stable")
    share_of = np.empty(len(partition), np.int64)
    share_of[slow] = order[: len(slow)]
    share_of[np.setdiff1d(np.arange(len(partition)), slow)] = np.sort(order[len(slow) :])
    return Partition.from_sizes(
        np.concatenate([partition[share] for share in share_of.tolist()]), partition.sizes[share_of]
    )
