"""Residuals in few bits: sparsify, split at medians, entropy-code (Song et al. 2022, ResFed).

The symbols are coded by a range coder (the `constriction` library) under their own frequencies,
which comes within a fraction of a percent of their entropy. Deflate and its kin are no choice
here: their output differs between implementations, and lengths are what simfl charges.
"""

from __future__ import annotations

import heapq
import struct

import constriction
import numpy as np

from simfl.errors import WireError
from simfl.wire.bits import pack_positions, positions_nbytes, unpack_positions
from simfl.wire.codec import dense, undense

_COARSE = struct.Struct("<HI")  # levels, words of code
_FINE = struct.Struct("<I")  # elements


def sparsified(r: np.ndarray, keep: float) -> np.ndarray:
    """The share `keep` of largest magnitude (at least one), the rest zero; ties are kept."""
    n = len(r)
    if not n:
        return r
    k = max(1, round(n * keep))
    size = np.abs(r)
    return np.where(size < np.partition(size, n - k)[n - k], np.float32(0), r)


def quantised(r: np.ndarray, bits: int) -> tuple[np.ndarray, np.ndarray]:
    """Symbols (n,) int32 and levels: symbol j > 0 means levels[j - 1], 0 means nothing.

    Non-zero elements below their median magnitude become zero, which halves them. Those that
    remain are split at the median `bits` - 1 times, positive and negative ones apart, and each
    group becomes its median. Medians are lower medians: element (n - 1) // 2 in order.
    """
    size = np.abs(r[r != 0])
    kept = np.where(np.abs(r) < _lower_median(np.sort(size)), np.float32(0), r)
    symbols, levels = np.zeros(len(r), dtype=np.int32), [np.zeros(0, dtype=np.float32)]
    for side in (kept < 0, kept > 0):
        x = np.sort(kept[side])
        groups = _groups(x, 0, len(x), bits)
        tops = np.array([x[stop - 1] for _, stop in groups], dtype=np.float32)
        symbols[side] = 1 + sum(map(len, levels)) + np.searchsorted(tops, kept[side])
        medians = [_lower_median(x[start:stop]) for start, stop in groups]
        levels.append(np.array(medians, dtype=np.float32))
    return symbols, np.concatenate(levels)


def looked_up(symbols: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """(n,) float32: what the symbols stand for."""
    return np.concatenate([np.zeros(1, dtype=np.float32), levels])[symbols]


def _lower_median(x: np.ndarray) -> np.float32:
    """Of sorted values; 0 of none."""
    return x[(len(x) - 1) // 2] if len(x) else np.float32(0)


def _groups(x: np.ndarray, start: int, stop: int, depth: int) -> list[tuple[int, int]]:
    """Slices of sorted x after depth - 1 splits into what is above the median and the rest."""
    if start == stop:
        return []
    if depth == 1:
        return [(start, stop)]
    median = _lower_median(x[start:stop])
    cut = start + int(np.searchsorted(x[start:stop], median, side="right"))
    return _groups(x, start, cut, depth - 1) + _groups(x, cut, stop, depth - 1)


def pack_coarse(symbols: np.ndarray, levels: np.ndarray) -> bytes:
    """Number of levels, words; how often each level occurs, the levels, the code words."""
    counts = np.bincount(symbols, minlength=len(levels) + 1)
    coder = constriction.stream.queue.RangeEncoder()
    if len(levels):
        coder.encode(symbols, _frequencies(counts))
    words = coder.get_compressed()
    head = _COARSE.pack(len(levels), len(words))
    return b"".join(
        [head, counts[1:].astype("<u4").tobytes(), dense(levels), words.astype("<u4").tobytes()]
    )


def unpack_coarse(body: bytes, n: int) -> np.ndarray:
    """(n,) float32. Raises WireError unless `pack_coarse` can have made these bytes."""
    counts, levels, words = _coarse_parts(body)
    counts = np.concatenate([[n - counts.sum()], counts])
    if counts[0] < 0 or not counts[1:].all():
        raise WireError(f"a residual of {n} elements announces {counts[1:].tolist()}")
    if not len(levels):
        return np.zeros(n, dtype=np.float32)
    decoder = constriction.stream.queue.RangeDecoder(words)
    try:
        symbols = decoder.decode(_frequencies(counts), n)
    except (AssertionError, ValueError) as error:
        raise WireError(f"a residual cannot be decoded: {error}") from error
    found = np.bincount(symbols, minlength=len(counts))
    if not (np.array_equal(found, counts) and decoder.maybe_exhausted()):
        raise WireError("a residual does not hold the symbols that it announces")
    return looked_up(symbols, levels)


def pack_fine(r: np.ndarray) -> bytes:
    """The non-zero elements as they are: how many, where, and their values."""
    positions = np.flatnonzero(r)
    where = pack_positions(positions, len(r))
    return _FINE.pack(len(positions)) + where + dense(r[positions])


def unpack_fine(body: bytes, n: int) -> np.ndarray:
    """(n,) float32. Raises WireError unless `pack_fine` can have made these bytes."""
    k = _announced(body, _FINE)[0]
    if k > n:
        raise WireError(f"a residual of {n} elements announces {k}")
    split = _FINE.size + positions_nbytes(n, k)
    r = np.zeros(n, dtype=np.float32)
    r[unpack_positions(body[_FINE.size : split], n, k)] = undense(body[split:], k)
    return r


def paper_bits(body: bytes, coarse: bool) -> int:
    """Bits as the paper's authors count a residual, who never serialise it.

    For each non-zero element a 16-bit run length, one bit more, and its Huffman code; 32 bits
    for each level. Unquantised elements count 32 bits instead of a code.
    """
    if not coarse:
        return (16 + 1 + 32) * int(_announced(body, _FINE)[0])
    counts, levels, _ = _coarse_parts(body)
    return 17 * int(counts.sum()) + huffman_bits(counts.tolist()) + 32 * len(levels)


def huffman_bits(counts: list[int]) -> int:
    """Length of an optimal prefix code of symbols that occur so often; one bit if it is one."""
    if len(counts) == 1:
        return counts[0]
    heap, total = list(counts), 0
    heapq.heapify(heap)
    while len(heap) > 1:
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        total += merged
        heapq.heappush(heap, merged)
    return total


def _frequencies(counts: np.ndarray) -> constriction.stream.model.Categorical:
    return constriction.stream.model.Categorical(counts.astype(np.float64), perfect=False)


def _announced(body: bytes, head: struct.Struct) -> tuple[int, ...]:
    if len(body) < head.size:
        raise WireError(f"a residual of {len(body)} bytes")
    return head.unpack_from(body)


def _coarse_parts(body: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Counts, levels, code words."""
    count, words = _announced(body, _COARSE)
    if len(body) != _COARSE.size + 8 * count + 4 * words:
        raise WireError(f"a residual of {len(body)} bytes announces {count} levels, {words} words")
    raw = np.frombuffer(body, dtype="<u4", offset=_COARSE.size).astype(np.uint32)
    levels = raw[count : 2 * count].view(np.float32)
    return raw[:count].astype(np.int64), levels, raw[2 * count :]
