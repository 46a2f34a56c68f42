"""FEMNIST as the authors of AsyncFedED have it: ten writers, tested on pictures of their own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from simfl.learn.datasets.base import DataDir, Dataset
from simfl.learn.datasets.formats import read_npz
from simfl.learn.datasets.images import Femnist
from simfl.units import Count


@dataclass(frozen=True)
class Writers:
    """The pictures of those writers who have most to train on. writers: how many."""

    writers: Count = 10

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Dataset:
        whole = Femnist()(source, rng)
        path = source.need("femnist-writers", ["femnist_writers.npz"])
        (tested,) = read_npz(path, ["writer_test"])
        users = np.asarray(whole.users)
        chosen = np.sort(np.argsort(-np.bincount(users), kind="stable")[: self.writers])
        mine, held = np.isin(users, chosen), torch.from_numpy(np.isin(tested, chosen))
        return replace(
            whole,
            x=whole.x[torch.from_numpy(mine)],
            y=whole.y[torch.from_numpy(mine)],
            x_test=whole.x_test[held],
            y_test=whole.y_test[held],
            users=np.searchsorted(chosen, users[mine]),
        )
