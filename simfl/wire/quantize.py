"""Quantising codecs: few bits for each element, by affine levels or QSGD.

Stochastic rounding floor(z + U) is unbiased: E = z. Here U has 16 bits and lies strictly inside
(0, 1), so that a value on the grid stays there, at the price of a bias below 2**-16 levels.
FedPAQ: Reisizadeh et al. 2020, arXiv:1909.13014. QSGD: Alistarh et al. 2017, arXiv:1610.02132.
Quantise updates, not models: the error scales with the range of what is coded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from annotated_types import Interval

from simfl.units import Count
from simfl.wire.bits import pack, packed_nbytes, unpack
from simfl.wire.chain import OnLost, Sizes, Stage
from simfl.wire.codec import dense, undense

_NOTHING_LEFT = np.zeros(0, dtype=np.float32)


@dataclass(frozen=True)
class Quantize(Stage):
    """2**bits evenly spaced levels between the smallest and the largest value of each bucket.

    ceil(n * bits / 8) bytes, and 8 for each bucket.
    bucket: elements that share a range; a tensor each if not given.
    rounding: "stochastic" is unbiased, "nearest" wants feedback.
    """

    last = True
    bits: Annotated[int, Interval(ge=1, le=16)] = 8
    bucket: Count | None = None
    rounding: Literal["stochastic", "nearest"] = "stochastic"
    feedback: bool = False
    on_lost: OnLost = "keep"

    @property
    def draws(self) -> bool:
        return self.rounding == "stochastic"

    def left(self, sizes: Sizes) -> Sizes:
        return ()

    def side_nbytes(self, sizes: Sizes) -> int:
        return 8 * len(self._buckets(sizes)) + packed_nbytes(sum(sizes), self.bits)

    def shrink(
        self, x: np.ndarray, sizes: Sizes, rng: np.random.Generator
    ) -> tuple[bytes, np.ndarray]:
        buckets = self._buckets(sizes)
        low, span = _ranges(x, buckets)
        scale = np.divide(2**self.bits - 1, span, out=np.zeros_like(span), where=span > 0)
        z = (x - np.repeat(low, buckets)) * np.repeat(scale, buckets)
        codes = _rounded(z, rng if self.draws else None)
        return dense(low) + dense(low + span) + pack(codes, self.bits), _NOTHING_LEFT

    def grow(self, side: bytes, rest: np.ndarray, sizes: Sizes) -> np.ndarray:
        buckets = self._buckets(sizes)
        ends, codes = side[: 8 * len(buckets)], side[8 * len(buckets) :]
        low, high = undense(ends, 2 * len(buckets)).astype(float).reshape(2, len(buckets))
        step = np.repeat((high - low) / (2**self.bits - 1), buckets)
        levels = unpack(codes, sum(sizes), self.bits)
        return (np.repeat(low, buckets) + levels * step).astype(np.float32)

    def _buckets(self, sizes: Sizes) -> Sizes:
        return sizes_without_empty(sizes) if self.bucket is None else cut(sum(sizes), self.bucket)


@dataclass(frozen=True)
class QSGD(Stage):
    """Sign and one of `levels` + 1 multiples of the bucket's norm, rounded stochastically.

    ceil(n (1 + ceil(log2(levels + 1))) / 8) bytes, and 4 for each bucket of `bucket` elements.
    Unbiased; E||Q - v||^2 <= min(b / levels^2, sqrt(b) / levels) ||v||^2 in a bucket of b.
    """

    last = True
    levels: Annotated[int, Interval(ge=1, le=2**23)] = 127
    bucket: Count = 512

    @property
    def draws(self) -> bool:
        return True

    @property
    def _width(self) -> int:
        return 1 + self.levels.bit_length()

    def left(self, sizes: Sizes) -> Sizes:
        return ()

    def side_nbytes(self, sizes: Sizes) -> int:
        n = sum(sizes)
        return 4 * len(cut(n, self.bucket)) + packed_nbytes(n, self._width)

    def shrink(
        self, x: np.ndarray, sizes: Sizes, rng: np.random.Generator
    ) -> tuple[bytes, np.ndarray]:
        buckets = cut(len(x), self.bucket)
        norm = _norms(x, buckets)
        scale = np.divide(self.levels, norm, out=np.zeros_like(norm), where=norm > 0)
        codes = _rounded(np.abs(x) * np.repeat(scale, buckets), rng)
        # The norm is rounded to float32, so the largest element may lie a hair above it.
        codes = np.minimum(codes, self.levels)
        codes |= np.signbit(x).astype(np.uint32) << (self._width - 1)
        return dense(norm) + pack(codes, self._width), _NOTHING_LEFT

    def grow(self, side: bytes, rest: np.ndarray, sizes: Sizes) -> np.ndarray:
        n = sum(sizes)
        buckets = cut(n, self.bucket)
        norm = undense(side[: 4 * len(buckets)], len(buckets)).astype(float)
        codes = unpack(side[4 * len(buckets) :], n, self._width)
        top = 1 << (self._width - 1)
        level = (codes & (top - 1)) * np.repeat(norm / self.levels, buckets)
        return np.where(codes & top, -level, level).astype(np.float32)


def cut(n: int, bucket: int) -> Sizes:
    """n elements in buckets of so many, the last one with what remains."""
    whole, rest = divmod(n, bucket)
    return (bucket,) * whole + ((rest,) if rest else ())


def sizes_without_empty(sizes: Sizes) -> Sizes:
    """Sizes of buckets that hold anything."""
    return tuple([n for n in sizes if n])


def _starts(buckets: Sizes) -> np.ndarray:
    return np.cumsum((0, *buckets[:-1])) if buckets else np.zeros(0, dtype=np.int64)


def _ranges(x: np.ndarray, buckets: Sizes) -> tuple[np.ndarray, np.ndarray]:
    """Smallest value and range of each bucket, float64; NaN where anything is not finite."""
    starts = _starts(buckets)
    low = np.minimum.reduceat(x, starts).astype(float)
    high = np.maximum.reduceat(x, starts).astype(float)
    finite = np.isfinite(low) & np.isfinite(high)
    return np.where(finite, low, np.nan), np.where(finite, high, np.nan) - low


def _norms(x: np.ndarray, buckets: Sizes) -> np.ndarray:
    """L2 norm of each bucket as float32 carries it, in float64; NaN where it is not finite."""
    norm = np.sqrt(np.add.reduceat(np.square(x, dtype=float), _starts(buckets)))
    norm = np.where(norm < np.finfo(np.float32).max, norm, np.nan)
    return norm.astype(np.float32).astype(float)


def _rounded(z: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
    """z >= 0 as uint32: to one of its two neighbours at random, or to the nearest without rng."""
    up = np.full(1, 0.5)
    if rng is not None:
        up = (rng.integers(0, 2**16, size=len(z), dtype=np.uint16) + 0.5) * 2.0**-16
    z = np.floor(z + up)
    return np.nan_to_num(z, copy=False, nan=0.0, posinf=0.0, neginf=0.0).astype(np.uint32)
