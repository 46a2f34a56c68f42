"""A device's examples as a training function sees them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset as MapStyle

from simfl.learn.trainers.local_training import Local, Opened
from simfl.learn.trainers.minibatches import met


class DeviceData(MapStyle[tuple[Tensor, Tensor]]):
    """The training examples of one device: `len(data)`, `data[i]`, or whole as `data.x`, `data.y`.

    It is a map-style torch data set, so that a DataLoader takes it. `data.batches()` gives the
    mini-batches that simfl's own loop would train on. Inputs have gone through the transforms.

    taken, passed: mini-batches and examples that `batches` has given out so far.
    """

    def __init__(self, local: Local, opened: Opened) -> None:
        self._local, self._opened = local, opened
        self._rows = local.data.partition[opened.job.device]
        self._draws = local.streams.generator("items", opened.job.device, opened.job.index)
        self.taken = self.passed = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: int) -> tuple[Tensor, Tensor]:
        if not -len(self) <= i < len(self):
            raise IndexError(f"example {i} of a device that holds {len(self)}")
        if self._local.data.dataset.batchwise is None:
            return self.x[i], self.y[i]
        x, y = self._read(self._rows[[i]])
        return x[0], y[0]

    @property
    def x(self) -> Tensor:
        """(n, ...) all inputs. Examples on disk are read, all of them."""
        return self._whole[0]

    @property
    def y(self) -> Tensor:
        """(n, ...) all targets."""
        return self._whole[1]

    @property
    def held_back(self) -> tuple[Tensor, Tensor]:
        """Inputs and targets that are held back from training; all, if none are."""
        x, y = self._local.data.held_back(self._opened.job.device)
        return x.to(self._local.torch_device), y.to(self._local.torch_device)

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The task's mini-batches, `work.steps` pairs (inputs, targets) over `work.epochs` passes.

        Every call begins with the first.
        """
        for x, y in met(self._local, self._opened):
            self.taken, self.passed = self.taken + 1, self.passed + len(x)
            yield x, y

    @cached_property
    def _whole(self) -> tuple[Tensor, Tensor]:
        job, data = self._opened.job, self._local.data
        if data.dataset.batchwise is not None:
            return self._read(self._rows)
        x, y = data.of(job.device, job.version)
        return x.to(self._local.torch_device), y.to(self._local.torch_device)

    def _read(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        x, y = self._local.data.dataset.batch(rows, self._draws)
        return torch.as_tensor(x).to(self._local.torch_device), y.to(self._local.torch_device)
