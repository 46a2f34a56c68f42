"""What a partition function of the user's may give: who holds which examples, in any form.

def by_brightness(dataset, devices, rng):
    order = dataset.x.mean((1, 2, 3)).argsort()
    return np.array_split(order, devices)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from simfl.errors import DataError
from simfl.learn.datasets.base import Dataset
from simfl.learn.partition.base import Partition, User

_WANTED = (
    "expected a Partition, one array of example numbers for each device, or (n,) the device of "
    "each example"
)


def dealt_out(part: Any, dataset: Dataset, devices: int, rng: np.random.Generator) -> Partition:
    """The partition that a part makes of a data set. Raises DataError.

    part: called with (dataset, devices, rng). A list of one data set per device says who holds
    what already, and must not be dealt out anew.
    """
    if dataset.by_device:
        sets = len(np.unique(np.asarray(dataset.users)))
        if not isinstance(part, User):
            raise DataError(
                f"{dataset.name} is a list of one data set per device, which this partition would "
                'deal out anew: set learning.partition = "user", which leaves every device its own'
            )
        if sets != devices:
            raise DataError(f"{dataset.name} is a list of {sets} data sets for {devices} devices")
    given = part(dataset, devices, rng)
    try:
        return as_partition(given, dataset, devices)
    except DataError as error:
        raise DataError(f"the partition of {dataset.name}: {error}") from error


def as_partition(given: Any, dataset: Dataset, devices: int) -> Partition:
    """The partition that this is, or says. Raises DataError where it does not fit.

    An example may lie on several devices, or on none.
    """
    found = given if isinstance(given, Partition) else _made(given, dataset, devices)
    if len(found) != devices:
        raise DataError(f"deals out to {len(found)} devices, but the fleet has {devices}")
    n, rows = len(dataset), found.indices
    if len(rows) and (int(rows.min()) < 0 or int(rows.max()) >= n):
        raise DataError(
            f"has the examples {int(rows.min())} to {int(rows.max())}, but {dataset.name} has "
            f"only 0 to {n - 1}"
        )
    poor = np.flatnonzero(found.sizes == 0)
    if len(poor):
        raise DataError(
            f"leaves {len(poor)} of {devices} devices without an example, device {int(poor[0])} "
            "among them: each needs one or more"
        )
    return found


def _made(given: Any, dataset: Dataset, devices: int) -> Partition:
    if isinstance(given, dict):
        if sorted(given) != list(range(devices)):
            raise DataError(
                f"has the keys {list(given)[:4]}, expected the devices 0 to {devices - 1}"
            )
        given = [given[device] for device in range(devices)]
    flat = _whole(given)
    if flat is not None and flat.ndim == 1:
        return _of_owners(flat, dataset, devices)
    parts = [_whole(rows) for rows in given] if isinstance(given, Sequence) else None
    if flat is not None and flat.ndim == 2:
        parts = list(flat)
    if parts is None or any(part is None or part.ndim != 1 for part in parts):
        raise DataError(f"gave a {type(given).__name__}, {_WANTED}")
    rows = [np.asarray(part, np.int64) for part in parts]
    sizes = np.array([len(part) for part in rows], np.int64)
    return Partition.from_sizes(np.concatenate(rows) if rows else np.empty(0), sizes)


def _of_owners(owners: np.ndarray, dataset: Dataset, devices: int) -> Partition:
    if len(owners) != len(dataset):
        raise DataError(
            f"gave {len(owners)} devices for the {len(dataset)} training examples of "
            f"{dataset.name}, {_WANTED}"
        )
    if int(owners.min()) < 0 or int(owners.max()) >= devices:
        raise DataError(
            f"deals out to the devices {int(owners.min())} to {int(owners.max())}, but the fleet "
            f"has 0 to {devices - 1}"
        )
    return Partition.from_owners(owners, devices)


def _whole(given: Any) -> np.ndarray | None:
    """An array of whole numbers; None if this is none."""
    try:
        made = np.asarray(given)
    except ValueError:  # parts of several lengths
        return None
    if made.size == 0 and made.ndim == 1 and not isinstance(given, np.ndarray):
        return made.astype(np.int64)
    return made if made.dtype.kind in "iu" else None
