"""ResFed's residual coder as a codec by itself: the largest elements, split at medians.

Song, Zhou, Lyu, Festag, Knoll: IEEE IoT Journal 11(6), 2024. Here it codes updates, with the error
feedback of Seide et al. 2014: what ResFed's prediction of models is to be measured against.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from annotated_types import Interval

from simfl.units import Share
from simfl.wire.chain import OnLost, Sizes, Stage
from simfl.wire.residual import pack_coarse, quantised, sparsified, unpack_coarse

_NOT_FINITE = np.array([np.nan], dtype=np.float32)


@dataclass(frozen=True)
class MedianSplit(Stage):
    """At most 2**bits levels for the larger half of the `keep` largest elements, range-coded.

    keep: share of the elements that survive before half of them are dropped (1 - s in the paper).
    bits: q there.
    feedback: what was left out is remembered and added next time.
    """

    last = True
    keep: Share = 0.1
    bits: Annotated[int, Interval(ge=1, le=8)] = 1
    feedback: bool = True
    on_lost: OnLost = "keep"

    def left(self, sizes: Sizes) -> Sizes:
        return ()

    def side_nbytes(self, sizes: Sizes) -> int | None:
        return None

    def shrink(
        self, x: np.ndarray, sizes: Sizes, rng: np.random.Generator
    ) -> tuple[bytes, np.ndarray]:
        if not np.isfinite(x).all():
            return pack_coarse(np.ones(len(x), dtype=np.int32), _NOT_FINITE), x[:0]
        return pack_coarse(*quantised(sparsified(x, self.keep), self.bits)), x[:0]

    def grow(self, side: bytes, rest: np.ndarray, sizes: Sizes) -> np.ndarray:
        return unpack_coarse(side, sum(sizes))
