"""Sparsifying codecs: send few elements, the largest or random ones.

top-k with error feedback: Stich et al. 2018, arXiv:1809.07599. A contraction:
||u - C(u)||^2 <= (1 - k/n) ||u||^2. Random-k: Konecny et al. 2016, arXiv:1610.05492; unbiased when
scaled by n/k, which error feedback must not be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from simfl.errors import WireError
from simfl.units import Count, Share
from simfl.wire.bits import pack_positions, positions_nbytes, unpack_positions
from simfl.wire.chain import OnLost, Sizes, Stage


@dataclass(frozen=True)
class TopK(Stage):
    """The elements of largest magnitude, as float32 or for the next codec; ties to the first.

    keep: share of the elements, at least one.
    k: so many instead.
    scope: of the whole model, or of each tensor by itself.
    feedback: what was left out is remembered and added next time.
    on_lost: a lost message returns to the memory as a whole ("keep"), or its new part is gone. A
        NaN counts as the largest. `keep = 1` is the identity.
    """

    keep: Share = 0.1
    k: Count | None = None
    scope: Literal["global", "tensor"] = "global"
    feedback: bool = True
    on_lost: OnLost = "keep"

    def left(self, sizes: Sizes) -> Sizes:
        wholes = sizes if self.scope == "tensor" else (sum(sizes),)
        return tuple([_count(n, self.keep, self.k) for n in wholes])

    def side_nbytes(self, sizes: Sizes) -> int:
        return positions_nbytes(sum(sizes), sum(self.left(sizes)))

    def shrink(
        self, x: np.ndarray, sizes: Sizes, rng: np.random.Generator
    ) -> tuple[bytes, np.ndarray]:
        wholes = sizes if self.scope == "tensor" else (sum(sizes),)
        found, start = [], 0
        for n, k in zip(wholes, self.left(sizes), strict=True):
            found.append(start + largest(x[start : start + n], k))
            start += n
        positions = np.concatenate(found) if found else np.arange(0)
        return pack_positions(positions, len(x)), x[positions]

    def grow(self, side: bytes, rest: np.ndarray, sizes: Sizes) -> np.ndarray:
        return _scatter(unpack_positions(side, sum(sizes), len(rest)), rest, sum(sizes))


@dataclass(frozen=True)
class RandomK(Stage):
    """Elements drawn uniformly without replacement; 8 bytes of seed say which.

    keep: share of the elements, at least one.
    k: so many instead.
    feedback: remember what was left out; without it the elements are scaled by n/k, so that the
        expectation is right.
    """

    keep: Share = 0.1
    k: Count | None = None
    feedback: bool = False
    on_lost: OnLost = "keep"

    @property
    def draws(self) -> bool:
        return True

    def left(self, sizes: Sizes) -> Sizes:
        return (_count(sum(sizes), self.keep, self.k),)

    def side_nbytes(self, sizes: Sizes) -> int:
        return 8

    def shrink(
        self, x: np.ndarray, sizes: Sizes, rng: np.random.Generator
    ) -> tuple[bytes, np.ndarray]:
        side = rng.bytes(8)
        n, k = len(x), self.left(sizes)[0]
        kept = x[_drawn(side, n, k)]
        return side, kept if self.feedback or k == n else kept * np.float32(n / k)

    def grow(self, side: bytes, rest: np.ndarray, sizes: Sizes) -> np.ndarray:
        return _scatter(_drawn(side, sum(sizes), len(rest)), rest, sum(sizes))


def largest(x: np.ndarray, k: int) -> np.ndarray:
    """Increasing positions of the k largest |x|; of equal ones, those that come first."""
    n = len(x)
    if k >= n:
        return np.arange(n)
    # Magnitudes order like their bit patterns, which compare exactly, NaN included.
    bits = x.view(np.uint32) & np.uint32(0x7FFFFFFF)
    threshold = np.partition(bits, n - k)[n - k]
    above = bits > threshold
    ties = np.flatnonzero(bits == threshold)[: k - np.count_nonzero(above)]
    above[ties] = True
    return np.flatnonzero(above)


def _count(n: int, keep: float, k: int | None) -> int:
    return min(n, k if k is not None else max(1, round(keep * n)))


def _drawn(seed: bytes, n: int, k: int) -> np.ndarray:
    key = int.from_bytes(seed, "little")
    generator = np.random.Generator(np.random.Philox(key=key))
    return np.sort(generator.choice(n, size=k, replace=False, shuffle=False))


def _scatter(positions: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    if len(positions) != len(values):
        raise WireError(f"{len(values)} values for {len(positions)} positions")
    x = np.zeros(n, dtype=np.float32)
    x[positions] = values
    return x
