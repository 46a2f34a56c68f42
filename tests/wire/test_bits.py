"""Packing integers and positions."""

from __future__ import annotations

from math import ceil, log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simfl.errors import WireError
from simfl.wire.bits import (
    index_width,
    pack,
    pack_positions,
    packed_nbytes,
    positions_nbytes,
    unpack,
    unpack_positions,
)


@given(st.integers(1, 32), st.integers(0, 40), st.integers(0, 99))
def test_unpacking_undoes_packing_at_every_width(width: int, n: int, seed: int) -> None:
    codes = np.random.default_rng(seed).integers(0, 2**width, n).astype(np.uint32)
    packed = pack(codes, width)
    assert len(packed) == ceil(n * width / 8) == packed_nbytes(n, width)
    assert unpack(packed, n, width).tolist() == codes.tolist()


@given(st.integers(0, 300), st.floats(0, 1), st.integers(0, 99))
def test_positions_come_back_in_the_fewest_bytes(n: int, share: float, seed: int) -> None:
    k = round(share * n)
    positions = np.sort(np.random.default_rng(seed).permutation(n)[:k])
    packed = pack_positions(positions, n)
    options = [4 * k, ceil(n / 8), ceil(k * ceil(log2(n)) / 8) if n else 0]
    assert len(packed) == positions_nbytes(n, k) == (0 if k == n else min(options))
    assert unpack_positions(packed, n, k).tolist() == positions.tolist()


@pytest.mark.parametrize(("n", "width"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (2**20, 20)])
def test_an_index_takes_the_rounded_up_logarithm(n: int, width: int) -> None:
    assert index_width(n) == width


@pytest.mark.parametrize(
    ("packed", "n", "k"),
    [
        (pack(np.array([3, 3], np.uint32), 10), 1000, 2),
        (pack(np.array([5, 4], np.uint32), 10), 1000, 2),
        (pack(np.array([5, 1001], np.uint32), 10), 1000, 2),
        (pack(np.array([5, 7], np.uint32), 10) + b"\0", 1000, 2),
        (b"\x07\x00", 16, 4),
    ],
    ids=["twice", "falling", "outside", "too long", "a bit short"],
)
def test_bytes_that_are_no_set_of_positions_are_refused(packed: bytes, n: int, k: int) -> None:
    with pytest.raises(WireError):
        unpack_positions(packed, n, k)


def test_codes_of_another_length_are_refused() -> None:
    with pytest.raises(WireError, match="9 codes of 5 bits"):
        unpack(bytes(5), 9, 5)
