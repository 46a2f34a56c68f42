"""Small unsigned integers and sets of positions as bytes, without a loop over the elements."""

from __future__ import annotations

import numpy as np

from simfl.errors import WireError


def packed_nbytes(n: int, width: int) -> int:
    """ceil(n * width / 8): bytes of n integers of `width` bits.

    >>> packed_nbytes(10, 3)
    4
    """
    return (n * width + 7) // 8


def pack(codes: np.ndarray, width: int) -> bytes:
    """codes: (n,) unsigned integers below 2**width, as exactly `packed_nbytes(n, width)` bytes.

    Whole low bytes come first, as planes; of what is left, eight codes share `width` bytes.

    >>> pack(np.array([1, 0, 1, 1]), 1)
    b'\\r'
    """
    planes = []
    while width >= 8:
        planes.append((codes & 0xFF).astype(np.uint8).tobytes())
        codes, width = codes >> 8, width - 8
    return b"".join([*planes, _pack_words(codes, width)])


def unpack(payload: bytes, n: int, width: int) -> np.ndarray:
    """(n,) uint32, or uint8 up to 8 bits: the inverse of `pack`. Raises WireError.

    >>> unpack(pack(np.array([5, 300]), 9), 2, 9)
    array([  5, 300], dtype=uint32)
    """
    if len(payload) != packed_nbytes(n, width):
        raise WireError(f"{n} codes of {width} bits do not fit {len(payload)} bytes exactly")
    raw = np.frombuffer(payload, dtype=np.uint8)
    if width <= 8:
        return raw.copy() if width == 8 else _unpack_words(raw, n, width)
    codes = np.zeros(n, dtype=np.uint32)
    shift = 0
    while width - shift >= 8:
        codes |= raw[:n].astype(np.uint32) << shift
        raw, shift = raw[n:], shift + 8
    return codes | (_unpack_words(raw, n, width - shift).astype(np.uint32) << shift)


def _pack_words(codes: np.ndarray, width: int) -> bytes:
    """Fewer than 8 bits each: eight codes in the low `width` bytes of a 64-bit word."""
    n = len(codes)
    if width == 1:
        return np.packbits(codes.astype(bool), bitorder="little").tobytes()
    padded = np.zeros((-(-n // 8), 8), dtype=np.uint64)
    padded.reshape(-1)[:n] = codes
    words = np.zeros(len(padded), dtype="<u8")
    for j in range(8):
        words |= padded[:, j] << np.uint64(width * j)
    return words.view(np.uint8).reshape(-1, 8)[:, :width].tobytes()[: packed_nbytes(n, width)]


def _unpack_words(raw: np.ndarray, n: int, width: int) -> np.ndarray:
    if width == 1:
        return np.unpackbits(raw, count=n, bitorder="little")
    low = np.zeros(-(-n // 8) * width, dtype=np.uint8)
    low[: len(raw)] = raw
    padded = np.zeros((-(-n // 8), 8), dtype=np.uint8)
    padded[:, :width] = low.reshape(len(padded), width)
    words = padded.view("<u8")[:, 0]
    mask = np.uint64((1 << width) - 1)
    columns = [((words >> np.uint64(width * j)) & mask).astype(np.uint8) for j in range(8)]
    return np.stack(columns, axis=1).reshape(-1)[:n]


def index_width(n: int) -> int:
    """ceil(log2 n): bits that tell n positions apart.

    >>> index_width(1000)
    10
    """
    return max(n - 1, 0).bit_length()


def positions_nbytes(n: int, k: int) -> int:
    """Bytes that say which k of n positions are meant: the shorter of bitmap and packed indices.

    Indices of 32 bits would never be shorter than packed ones. All of them need no bytes.
    """
    if k == n:
        return 0
    return min(packed_nbytes(n, 1), packed_nbytes(k, index_width(n)))


def pack_positions(positions: np.ndarray, n: int) -> bytes:
    """positions: (k,) strictly increasing integers below n."""
    k = len(positions)
    if k == n:
        return b""
    if packed_nbytes(k, index_width(n)) < packed_nbytes(n, 1):
        return pack(positions.astype(np.uint32), index_width(n))
    bitmap = np.zeros(n, dtype=bool)
    bitmap[positions] = True
    return np.packbits(bitmap, bitorder="little").tobytes()


def unpack_positions(payload: bytes, n: int, k: int) -> np.ndarray:
    """(k,) increasing integers below n. Raises WireError if the bytes mean anything else."""
    if len(payload) != positions_nbytes(n, k):
        raise WireError(f"{k} of {n} positions do not fit {len(payload)} bytes exactly")
    if k == n:
        return np.arange(n)
    if packed_nbytes(k, index_width(n)) < packed_nbytes(n, 1):
        positions = unpack(payload, k, index_width(n)).astype(np.int64)
    else:
        bitmap = np.unpackbits(np.frombuffer(payload, np.uint8), count=n, bitorder="little")
        positions = np.flatnonzero(bitmap)
    if len(positions) != k or (k and positions[-1] >= n) or np.any(np.diff(positions) <= 0):
        raise WireError(f"these are not {k} increasing positions below {n}")
    return positions
