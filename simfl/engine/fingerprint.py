"""Digests of texts, files and arrays, quick enough for a data set at every start."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np

from simfl.files import regular

_SMALL_BYTES = 4 * 2**20  # up to which an array is hashed byte by byte
_ROW_BYTES = 2**15


def digest(*texts: str) -> str:
    """ "blake2b:" and 24 hexadecimal digits of the texts in this order."""
    whole = hashlib.blake2b(digest_size=12)
    for text in texts:
        whole.update(f"{len(text)}:{text}".encode())
    return f"blake2b:{whole.hexdigest()}"


def file_digest(path: Path) -> str:
    """Of a file's bytes."""
    with regular(path).open("rb") as file:
        whole = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=12))
    return f"blake2b:{whole.hexdigest()}"


def array_digest(*arrays: np.ndarray) -> str:
    """Of types, shapes and values, which must agree to the last bit.

    A large array is laid out in rows of 32 KiB, and the exclusive or down its columns and the sum
    along its rows are hashed: 2.8 GB/s instead of 0.95, 0.07 s for MNIST. A value that changes,
    rows that change places, and examples that change labels are seen. It is no defence against a
    forger.
    """
    whole = hashlib.blake2b(digest_size=12)
    for array in arrays:
        values = np.ascontiguousarray(array)
        whole.update(f"{values.dtype.str}{values.shape}".encode())
        _add(whole, values.reshape(-1).view(np.uint8))
    return f"blake2b:{whole.hexdigest()}"


def _add(whole: hashlib.blake2b, raw: np.ndarray) -> None:
    """raw: (n,) uint8."""
    if raw.nbytes > _SMALL_BYTES:
        rows, rest = np.split(raw, [raw.nbytes // _ROW_BYTES * _ROW_BYTES])
        words = rows.view("<u8").reshape(-1, _ROW_BYTES // 8)
        whole.update(np.bitwise_xor.reduce(words, axis=0).data)
        whole.update(words.sum(axis=1, dtype=np.uint64).data)
        raw = rest
    whole.update(raw.data)
