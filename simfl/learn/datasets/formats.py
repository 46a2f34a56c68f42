"""Readers of published file formats. Whatever is damaged ends as a DataError naming the file."""

from __future__ import annotations

import gzip
import io
import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from simfl.errors import DataError, first_line
from simfl.files import MOST_BYTES, read_file, regular

_BROKEN = (OSError, EOFError, zlib.error, lzma.LZMAError)
_PIXELS = 3 * 32 * 32


def unpacked(path: Path) -> bytes:
    """The file's bytes, decompressed when its name ends in .gz or .xz."""
    packed = read_file(path, MOST_BYTES, DataError)
    if path.suffix not in (".gz", ".xz"):
        return packed
    held = io.BytesIO(packed)
    try:
        with gzip.GzipFile(fileobj=held) if path.suffix == ".gz" else lzma.LZMAFile(held) as file:
            data = file.read(MOST_BYTES + 1)
    except _BROKEN as error:
        raise DataError(f"{path}: cannot be read ({first_line(error)})") from error
    if len(data) > MOST_BYTES:
        raise DataError(f"{path}: unpacks to more than {MOST_BYTES:,} bytes")
    return data


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """An IDX file of unsigned bytes with so many dimensions (the format of MNIST)."""
    raw = unpacked(path)
    header = 4 + 4 * ndim
    if len(raw) < header or raw[:4] != bytes((0, 0, 8, ndim)):
        raise DataError(f"{path}: not an IDX file of unsigned bytes with {ndim} dimensions")
    shape = struct.unpack(f">{ndim}I", raw[4:header])
    if 0 in shape:
        raise DataError(f"{path}: its header says {shape}, expected no dimension of 0")
    if len(raw) - header != math.prod(shape):
        raise DataError(
            f"{path}: its header promises {math.prod(shape)} bytes of data, "
            f"the file holds {len(raw) - header}"
        )
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def read_cifar(path: Path, labels: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 3, 32, 32) and labels (n, labels), uint8, of a binary batch of CIFAR.

    labels: of each image; CIFAR-100 has two, the coarse one first.
    """
    raw, row = unpacked(path), labels + _PIXELS
    if not raw or len(raw) % row:
        raise DataError(f"{path}: {len(raw)} bytes, expected a multiple of {row}")
    rows = np.frombuffer(raw, np.uint8).reshape(-1, row)
    return rows[:, labels:].reshape(-1, 3, 32, 32), rows[:, :labels]


def read_npz(path: Path, names: Sequence[str]) -> list[np.ndarray]:
    """These arrays of an .npz file. Pickled objects are refused, for they can run code."""
    try:
        with regular(path, DataError).open("rb") as stream:
            _check_sizes(path, stream)
            with np.load(stream, allow_pickle=False) as archive:
                return [archive[name] for name in names]
    except KeyError as error:
        raise DataError(f"{path}: {error.args[0]}; expected {', '.join(names)}") from error
    except (*_BROKEN, TypeError, ValueError, AttributeError, MemoryError, SyntaxError,
            NotImplementedError, RuntimeError, zipfile.BadZipFile) as error:  # fmt: skip
        raise DataError(
            f"{path}: not an .npz file of plain arrays ({first_line(error)})"
        ) from error


def _check_sizes(path: Path, stream: IO[bytes]) -> None:
    """An archive says how much it unpacks to; `zipfile` holds it to that."""
    with zipfile.ZipFile(stream) as archive:
        nbytes = sum(entry.file_size for entry in archive.infolist())
    if nbytes > MOST_BYTES:
        raise DataError(f"{path}: unpacks to {nbytes:,} bytes, expected at most {MOST_BYTES:,}")
    stream.seek(0)
