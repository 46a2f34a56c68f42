"""Seconds of training: each device's slowness times the law of its group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from simfl.fleet.laws import ComputeOptions, FlopRate
from simfl.fleet.view import view


class Compute:
    """How fast the devices train. slowness: (N,), 1 for the median device of a group."""

    def __init__(
        self, laws: Sequence[ComputeOptions], group: np.ndarray, slowness: np.ndarray
    ) -> None:
        self.laws = tuple(laws)
        self.group = group
        self.slowness = slowness
        self._seconds = [law.seconds for law in laws]
        self._setup = [law.setup for law in laws]
        self._group = view(group)
        self._slowness = view(slowness)

    def train_s(self, device: int, flops: float, steps: int, u: float) -> float:
        """Seconds that one task trains. u: the task's draw for training jitter."""
        return self._slowness[device] * self._seconds[self._group[device]](flops, steps, u)

    def setup_s(self, device: int, u: float) -> float:
        """Seconds of `train_s` that pass before the first mini-batch."""
        return self._slowness[device] * self._setup[self._group[device]](u)

    def expected_s(self, flops: ArrayLike, steps: ArrayLike) -> np.ndarray:
        """(N,) mean seconds of a task. flops, steps: one number, or (N,) numbers."""
        flops = np.broadcast_to(np.asarray(flops, dtype=float), self.group.shape)
        steps = np.broadcast_to(np.asarray(steps, dtype=float), self.group.shape)
        means = np.empty(self.group.shape)
        for g, law in enumerate(self.laws):
            mine = slice(*np.searchsorted(self.group, [g, g + 1]))  # groups are contiguous
            means[mine] = law.expected_s(flops[mine], steps[mine])
        return means * self.slowness

    def columns(self) -> dict[str, np.ndarray]:
        """train_gflops: effective rate, nan where a law in seconds stands instead."""
        rates = [law.gflops if isinstance(law, FlopRate) else np.nan for law in self.laws]
        return {"train_gflops": np.array(rates)[self.group] / self.slowness}

    @property
    def nbytes(self) -> int:
        """Memory that grows with the number of devices."""
        return self.slowness.nbytes
