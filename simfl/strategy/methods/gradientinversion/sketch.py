"""Directions of updates in few numbers: sketches, and what is usual among fresh updates.

Distances are D(a, b) = 1 - cos(a, b), and 1 where either is zero. A count sketch (Charikar, Chen
and Farach-Colton, 2002) adds each element, with a random sign, to one of k bins: inner products
survive in expectation, with a relative error of about 1/√k.

Among fresh updates S, with m the mean of their unit vectors, the paper's threshold and the mean
distance of another update with unit vector v come to

    θ = (1/|S|²) Σ_jk D(u_j, u_k) = 1 - m·m,    (1/|S|) Σ_j D(v, u_j) = 1 - v·m

so that m is all that has to be remembered of a round.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from simfl.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

TINY = 1e-12


def sketched(values: Tensor, bins: int) -> Tensor:
    """(bins,) count sketch of a (T,) tensor; the tensor itself if it is no longer than that."""
    if len(values) <= bins:
        return values
    where, sign = _bins(len(values), bins)
    return torch.zeros(bins).index_add_(0, where, values * sign)


def unit(values: Tensor) -> Tensor:
    """The direction, zero where there is none."""
    length = float(torch.linalg.vector_norm(values, dtype=torch.float64))
    return values / length if length >= TINY else torch.zeros_like(values)


def distance(a: Tensor, b: Tensor) -> float:
    """1 - cos(a, b)."""
    return 1.0 - float(torch.dot(unit(a).double(), unit(b).double()))


def usual(sketches: Iterable[Tensor]) -> Tensor | None:
    """Mean unit vector of fresh updates; None if there are fewer than two."""
    units = [unit(one) for one in sketches]
    return torch.stack(units).mean(0) if len(units) > 1 else None


def is_unique(sketch: Tensor, mean: Tensor | None) -> bool:
    """Whether an update is farther from the fresh ones than they are from each other."""
    if mean is None:
        return True
    theta = 1.0 - float(torch.dot(mean, mean))
    return 1.0 - float(torch.dot(unit(sketch), mean)) > theta


@lru_cache(maxsize=4)
def _bins(size: int, bins: int) -> tuple[Tensor, Tensor]:
    """Bin and sign of each element: constants of the method, the same in every run."""
    rng = np.random.Generator(np.random.Philox(key=size))
    where = torch.from_numpy(rng.integers(bins, size=size))
    return where, torch.from_numpy(rng.integers(2, size=size).astype(np.float32) * 2 - 1)
