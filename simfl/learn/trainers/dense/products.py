"""Matrix products of a mini-batch, as tiles whose sums stay in registers."""

from __future__ import annotations

from typing import Any

import llvmlite.binding
import numpy as np
from numba import njit

from simfl.learn.trainers.dense.layout import LANES
from simfl.learn.trainers.dense.tiles import add_tile, dot_tile

# AVX-512 has 32 registers of a whole vector, other processors fewer or shorter ones. No element
# depends on the tile that it lies in.
_LARGE = bool(llvmlite.binding.get_host_cpu_features().get("avx512f"))
WIDE = 4 if _LARGE else 1  # vectors
ROWS = 4 if _LARGE else 1
TALL = 6


@njit
def _reach(array: np.ndarray, last: int) -> float:
    """Reads an element, so that a build with bounds checks raises where a tile would go beyond."""
    element: float = array[last]
    return element


def _band(rows: int) -> Any:
    """So many rows of `add_product` from row m on."""

    @njit(forceinline=True)
    def add(
        m: int, width: int, depth: int, a: np.ndarray, a_at: int, a_row: int, a_col: int,
        b: np.ndarray, b_at: int, c: np.ndarray, c_at: int,
    ) -> None:  # fmt: skip
        n, left, below = 0, a_at + m * a_row, c_at + m * width
        while n + WIDE * LANES <= width:
            add_tile(rows, WIDE, depth, a, left, a_row, a_col, b, b_at + n, c, below + n, width)
            n += WIDE * LANES
        while n < width:
            add_tile(rows, 1, depth, a, left, a_row, a_col, b, b_at + n, c, below + n, width)
            n += LANES

    return add


def _columns(cols: int) -> Any:
    """So many columns of `apply_linear` from column n on."""

    @njit(forceinline=True)
    def apply(
        n: int, height: int, depth: int, x: np.ndarray, x_at: int, w: np.ndarray, w_at: int,
        bias_at: int, y: np.ndarray, y_at: int, width: int,
    ) -> None:  # fmt: skip
        m, row, bias = 0, w_at + n * depth, bias_at + n
        while m + ROWS <= height:
            left, into = x_at + m * depth, y_at + m * width + n
            dot_tile(ROWS, cols, depth, x, left, w, row, w, bias, y, into, width)
            m += ROWS
        while m < height:
            left, into = x_at + m * depth, y_at + m * width + n
            dot_tile(1, cols, depth, x, left, w, row, w, bias, y, into, width)
            m += 1

    return apply


_band_tall, _band_2, _band_1 = map(_band, (TALL, 2, 1))
_columns_tall, _columns_2, _columns_1 = map(_columns, (TALL, 2, 1))


@njit
def add_product(
    height: int, width: int, depth: int, a: np.ndarray, a_at: int, a_row: int, a_col: int,
    b: np.ndarray, b_at: int, c: np.ndarray, c_at: int,
) -> None:  # fmt: skip
    """Adds the product of a (height, depth) and b (depth, width) to c (height, width).

    They begin at elements a_at, b_at and c_at of flat arrays; a has strides a_row and a_col, and
    width is a multiple of LANES. Each sum is taken from zero in the order of depth, then added.
    """
    _reach(a, a_at + (height - 1) * a_row + (depth - 1) * a_col)
    _reach(b, b_at + depth * width - 1)
    _reach(c, c_at + height * width - 1)
    m = 0
    while m + TALL <= height:
        _band_tall(m, width, depth, a, a_at, a_row, a_col, b, b_at, c, c_at)
        m += TALL
    while m + 2 <= height:
        _band_2(m, width, depth, a, a_at, a_row, a_col, b, b_at, c, c_at)
        m += 2
    if m < height:
        _band_1(m, width, depth, a, a_at, a_row, a_col, b, b_at, c, c_at)


@njit
def apply_linear(
    height: int, out: int, depth: int, x: np.ndarray, x_at: int, w: np.ndarray, w_at: int,
    bias_at: int, y: np.ndarray, y_at: int, width: int,
) -> None:  # fmt: skip
    """Sets y (height, out) to x w^T + bias, for x (height, depth), w (out, depth) and bias (out,).

    They begin at elements x_at, w_at, bias_at and y_at of flat arrays, the bias in the same one as
    w; rows of y have `width` elements, and depth is a multiple of LANES.
    """
    _reach(x, x_at + height * depth - 1)
    _reach(w, w_at + out * depth - 1)
    _reach(w, bias_at + out - 1)
    _reach(y, y_at + (height - 1) * width + out - 1)
    n = 0
    while n + TALL <= out:
        _columns_tall(n, height, depth, x, x_at, w, w_at, bias_at, y, y_at, width)
        n += TALL
    while n + 2 <= out:
        _columns_2(n, height, depth, x, x_at, w, w_at, bias_at, y, y_at, width)
        n += 2
    if n < out:
        _columns_1(n, height, depth, x, x_at, w, w_at, bias_at, y, y_at, width)
