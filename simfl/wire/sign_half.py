"""Codecs of fixed width: the sign alone, and half precision.

signSGD: Bernstein et al. 2018, arXiv:1802.04434. With the scale mean |u| and error feedback it is
EF-sign: Karimireddy et al. 2019, arXiv:1901.09847.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simfl.wire.bits import pack, packed_nbytes, unpack
from simfl.wire.chain import OnLost, Sizes, Stage
from simfl.wire.codec import dense, undense


@dataclass(frozen=True)
class Sign(Stage):
    """One bit for each element, and one scale: +-mean |u|. Zero counts as positive.

    ceil(n / 8) + 4 bytes. Without feedback the sum of what is sent need not follow the sum of
    what was meant.
    """

    last = True
    feedback: bool = True
    on_lost: OnLost = "keep"

    def left(self, sizes: Sizes) -> Sizes:
        return ()

    def side_nbytes(self, sizes: Sizes) -> int:
        return 4 + packed_nbytes(sum(sizes), 1)

    def shrink(
        self, x: np.ndarray, sizes: Sizes, rng: np.random.Generator
    ) -> tuple[bytes, np.ndarray]:
        mean = np.abs(x).mean(dtype=float) if len(x) else 0.0
        return dense(np.array([mean])) + pack(x < 0, 1), x[:0]

    def grow(self, side: bytes, rest: np.ndarray, sizes: Sizes) -> np.ndarray:
        scale = undense(side[:4], 1)[0]
        return np.where(unpack(side[4:], sum(sizes), 1), -scale, scale).astype(np.float32)


class _Half(Stage):
    """Two bytes for each element."""

    last = True

    def left(self, sizes: Sizes) -> Sizes:
        return ()

    def side_nbytes(self, sizes: Sizes) -> int:
        return 2 * sum(sizes)


@dataclass(frozen=True)
class FP16(_Half):
    """IEEE half precision, to nearest even; finite values beyond +-65504 become +-65504."""

    def shrink(
        self, x: np.ndarray, sizes: Sizes, rng: np.random.Generator
    ) -> tuple[bytes, np.ndarray]:
        held = np.where(np.isfinite(x), np.clip(x, -65504, 65504), x)
        return held.astype("<f2").tobytes(), x[:0]

    def grow(self, side: bytes, rest: np.ndarray, sizes: Sizes) -> np.ndarray:
        return np.frombuffer(side, dtype="<f2").astype(np.float32)


@dataclass(frozen=True)
class BF16(_Half):
    """The upper half of a float32, to nearest even: its range, with 8 bits of precision."""

    def shrink(
        self, x: np.ndarray, sizes: Sizes, rng: np.random.Generator
    ) -> tuple[bytes, np.ndarray]:
        bits = x.view(np.uint32)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        # Rounding must not carry a NaN into an infinity or across the sign, nor a
        # large number into an infinity.
        plain = np.abs(x) <= np.float32(3.3895314e38)
        return np.where(plain, rounded, bits >> 16).astype("<u2").tobytes(), x[:0]

    def grow(self, side: bytes, rest: np.ndarray, sizes: Sizes) -> np.ndarray:
        return (np.frombuffer(side, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
