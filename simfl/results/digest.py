"""The digest of a run: one hash of its tables and final model. Equal digests, equal runs.

The digest depends on the values and their order alone: not on how rows were grouped into parts,
on file metadata, compression, or the version of a library. So a resumed run has the digest of
an unbroken one, and so has a copy on another platform.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from simfl.files import regular
from simfl.results.tables import TABLES, paths_of

if TYPE_CHECKING:
    from simfl.params import Params

_NAN = np.array(np.nan).view("<u8")
_MISSING = -(2**63)


def digest(folder: Path, params: Params | None = None) -> str:
    """Digest of the tables of a run folder, and of the final parameters: 32 hexadecimal digits.

    Reads a row group at a time. BLAKE2b (RFC 7693) over one running hash for each column.
    """
    whole = hashlib.blake2b(digest_size=16)
    for table in (*TABLES, "devices"):
        for name, column in sorted(_columns(folder, table).items()):
            whole.update(f"{table}.{name}:".encode() + column.digest())
    if params is not None:
        whole.update(np.ascontiguousarray(params.flat.numpy(), "<f4").tobytes())
    return whole.hexdigest()


def _columns(folder: Path, table: str) -> dict[str, hashlib.blake2b]:
    hashes: dict[str, hashlib.blake2b] = {}
    for batch in _batches(paths_of(folder, table)):
        for name, array in zip(batch.schema.names, batch.columns, strict=True):
            hashes.setdefault(name, hashlib.blake2b(digest_size=16)).update(_bytes(array))
    return hashes


def _batches(paths: list[Path]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        with pq.ParquetFile(regular(path)) as file:
            yield from file.iter_batches()


def _bytes(array: pa.Array) -> bytes:
    """Values as little-endian bytes, all NaN alike; words end in NUL."""
    if pa.types.is_dictionary(array.type):
        words = [word.encode() + b"\0" for word in array.dictionary.to_pylist()]
        return b"".join([words[i] for i in array.indices.to_pylist()])
    if pa.types.is_floating(array.type):
        values = array.to_numpy(zero_copy_only=False)
        return np.where(np.isnan(values), _NAN, values.view("<u8")).astype("<u8").tobytes()
    whole = pc.fill_null(array.cast(pa.int64()), _MISSING)
    return whole.to_numpy(zero_copy_only=False).astype("<i8").tobytes()
