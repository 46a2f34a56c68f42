"""Compressing residuals: published vectors, medians, entropy, and bytes that are refused."""

from __future__ import annotations

import contextlib
import itertools
import struct

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from simfl.errors import WireError
from simfl.wire.residual import (
    huffman_bits,
    looked_up,
    pack_coarse,
    pack_fine,
    paper_bits,
    quantised,
    sparsified,
    unpack_coarse,
    unpack_fine,
)

VECTOR = np.array([0.1, -0.5, 0.9, 0.05, -0.2, 0.3, 0.7, -0.8, 0, 0.4], dtype=np.float32)

arrays = st.builds(
    lambda n, seed, grain: (
        np.round(np.random.default_rng(seed).standard_normal(n) * grain) / grain
    ).astype(np.float32),
    st.integers(0, 300),
    st.integers(0, 999),
    st.sampled_from([1, 3, 1000]),
)


@pytest.mark.parametrize(
    ("bits", "expected", "counted"),
    [
        (1, [0, -0.8, 0.7, 0, 0, 0, 0.7, -0.8, 0, 0], 136),
        (2, [0, -0.5, 0.9, 0, 0, 0, 0.7, -0.8, 0, 0], 204),
    ],
)
def test_the_known_vector(bits: int, expected: list[float], counted: int) -> None:
    """Keeping six of ten: 64 + 4 + 4 + 64 bits, and 64 + 8 + 4 + 128."""
    body = pack_coarse(*quantised(sparsified(VECTOR, 0.6), bits))
    assert unpack_coarse(body, 10).tolist() == pytest.approx(expected)
    assert paper_bits(body, coarse=True) == counted


@given(arrays, st.floats(0.01, 1.0))
def test_what_survives_is_no_smaller_than_what_does_not(r: np.ndarray, keep: float) -> None:
    kept = sparsified(r, keep)
    gone = kept != r
    assert (kept[gone] == 0).all()
    if len(r):
        assert (~gone).sum() >= max(1, round(keep * len(r)))
        assert np.abs(r[gone]).max(initial=0) < np.abs(kept[kept != 0]).min(initial=np.inf)


@given(arrays, st.integers(1, 8))
def test_levels_are_few_and_each_is_an_element_of_its_own_group(r: np.ndarray, bits: int) -> None:
    symbols, levels = quantised(r, bits)
    decoded = looked_up(symbols, levels)
    assert len(set(levels.tolist())) == len(levels) <= 2**bits
    assert set(levels.tolist()) <= set(r.tolist())
    assert (decoded * r >= 0).all()
    for a, b in itertools.pairwise(np.argsort(r, kind="stable")):
        assert not (decoded[a] != 0 and decoded[b] != 0 and decoded[a] > decoded[b])


@given(arrays)
def test_the_quantiser_drops_all_below_the_median_size(r: np.ndarray) -> None:
    """Of n different survivors, n - (n - 1) // 2 are left."""
    different = np.unique(np.abs(r[r != 0]))
    symbols, _ = quantised(different * np.resize([1, -1], len(different)).astype(np.float32), 1)
    n = len(different)
    assert np.count_nonzero(symbols) == (n - (n - 1) // 2 if n else 0)


@given(arrays, st.integers(1, 8), st.floats(0.01, 1.0))
def test_coding_loses_nothing(r: np.ndarray, bits: int, keep: float) -> None:
    kept = sparsified(r, keep)
    symbols, levels = quantised(kept, bits)
    body = pack_coarse(symbols, levels)
    assert unpack_coarse(body, len(r)).tobytes() == looked_up(symbols, levels).tobytes()
    assert unpack_fine(pack_fine(kept), len(r)).tolist() == kept.tolist()


def test_the_code_is_within_a_percent_of_the_entropy() -> None:
    r = np.random.default_rng(0).standard_normal(200_000).astype(np.float32)
    symbols, levels = quantised(sparsified(r, 0.05), 3)
    p = np.bincount(symbols) / len(symbols)
    entropy_bits = -len(symbols) * float(np.sum(p * np.log2(p)))
    body = pack_coarse(symbols, levels)
    assert 8 * (len(body) - 6 - 8 * len(levels)) < 1.01 * entropy_bits + 32


@pytest.mark.parametrize(
    ("keep", "bits", "ratio"),
    [(0.1, 1, 35.6), (0.05, 1, 71.1), (0.01, 1, 356), (0.1, 4, 30.5), (0.05, 4, 61.0)],
)
def test_the_authors_count_has_the_ratio_that_follows_from_it(
    keep: float, bits: int, ratio: float
) -> None:
    """32 / ((17 + H) keep / 2), H the bits of a level; and the bytes are fewer than counted."""
    n = 100_000
    r = np.random.default_rng(1).standard_normal(n).astype(np.float32)
    body = pack_coarse(*quantised(sparsified(r, keep), bits))
    counted = paper_bits(body, coarse=True)
    assert 32 * n / counted == pytest.approx(ratio, rel=0.03)
    assert 8 * len(body) < counted


@pytest.mark.parametrize(
    ("counts", "bits"),
    [([], 0), ([7], 7), ([3, 5], 8), ([1, 1, 2], 6), ([5, 9, 12, 13, 16, 45], 224)],
)
def test_huffman_codes_have_their_textbook_length(counts: list[int], bits: int) -> None:
    assert huffman_bits(counts) == bits


def test_nothing_is_a_few_bytes() -> None:
    zeros = np.zeros(1000, dtype=np.float32)
    body = pack_coarse(*quantised(sparsified(zeros, 0.1), 1))
    assert len(body) == 6
    assert paper_bits(body, coarse=True) == paper_bits(pack_fine(zeros), coarse=False) == 0
    assert not unpack_coarse(body, 1000).any()


@given(st.binary(max_size=60), st.integers(0, 50))
def test_arbitrary_bytes_are_refused_or_decode_to_the_right_length(data: bytes, n: int) -> None:
    for unpack in (unpack_coarse, unpack_fine):
        with contextlib.suppress(WireError):
            assert len(unpack(data, n)) == n


@given(st.lists(st.integers(0, 2**32 - 1), max_size=6), st.lists(st.integers(0, 60), max_size=3))
@example([2**32 - 1] * 3, [33, 33])
def test_arbitrary_code_words_are_refused_or_hold_what_they_announce(
    words: list[int], counts: list[int]
) -> None:
    levels = np.arange(1, len(counts) + 1, dtype="<f4")
    body = struct.pack("<HI", len(counts), len(words)) + np.array(counts, "<u4").tobytes()
    body += levels.tobytes() + np.array(words, "<u4").tobytes()
    with contextlib.suppress(WireError):
        decoded = unpack_coarse(body, 100).tolist()
        assert [decoded.count(level) for level in levels] == counts


@pytest.mark.parametrize("keep", [0.1, 1.0])
def test_cut_bytes_are_refused(keep: float) -> None:
    r = np.random.default_rng(2).standard_normal(100).astype(np.float32)
    kept = sparsified(r, keep)
    for body, unpack in (
        (pack_coarse(*quantised(kept, 2)), unpack_coarse),
        (pack_fine(kept), unpack_fine),
    ):
        for cut in range(len(body)):
            with pytest.raises(WireError):
                unpack(body[:cut], 100)
        with pytest.raises(WireError):
            unpack(body, 3)
