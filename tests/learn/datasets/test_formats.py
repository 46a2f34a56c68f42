from __future__ import annotations

import gzip
import io
import lzma
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest

from simfl.errors import DataError
from simfl.learn.datasets.formats import read_cifar, read_idx, read_npz


def idx(array: np.ndarray) -> bytes:
    """The array of bytes in IDX format."""
    header = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.tobytes()


def test_an_idx_file_reads_back_gzipped_or_plain(tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "a.gz").write_bytes(gzip.compress(idx(pixels)))
    (tmp_path / "a").write_bytes(idx(pixels))
    np.testing.assert_array_equal(read_idx(tmp_path / "a.gz", 3), pixels)
    np.testing.assert_array_equal(read_idx(tmp_path / "a", 3), pixels)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda raw: raw[:-1], "promises 24 bytes"),
        (lambda raw: raw + b"x", "promises 24 bytes"),
        (lambda raw: raw[:5], "not an IDX file"),
        (lambda raw: b"\x00\x00\x0d" + raw[3:], "not an IDX file"),
    ],
)
def test_a_damaged_idx_file_is_refused_by_name(tmp_path: Path, damage, says: str) -> None:
    raw = idx(np.zeros((2, 3, 4), np.uint8))
    (tmp_path / "images.gz").write_bytes(gzip.compress(damage(raw)))
    with pytest.raises(DataError, match=says) as caught:
        read_idx(tmp_path / "images.gz", 3)
    assert "images.gz" in str(caught.value)


@pytest.mark.parametrize("name", ["x.gz", "x.bin.xz"])
def test_a_file_that_is_not_compressed_as_its_name_says_is_refused(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / name).write_bytes(b"plain text")
    with pytest.raises(DataError, match="cannot be read"):
        read_cifar(tmp_path / name)


def test_half_an_archive_is_refused(tmp_path: Path) -> None:
    raw = gzip.compress(idx(np.zeros((2, 30, 40), np.uint8)))
    (tmp_path / "x.gz").write_bytes(raw[: len(raw) // 2])
    with pytest.raises(DataError, match="cannot be read"):
        read_idx(tmp_path / "x.gz", 3)


def test_a_cifar_batch_is_a_label_and_three_planes_per_row(tmp_path: Path) -> None:
    rows = np.arange(2 * 3073, dtype=np.uint64).astype(np.uint8).reshape(2, 3073)
    (tmp_path / "b.bin.xz").write_bytes(lzma.compress(rows.tobytes()))
    images, labels = read_cifar(tmp_path / "b.bin.xz")
    assert images.shape == (2, 3, 32, 32)
    np.testing.assert_array_equal(labels, rows[:, :1])
    assert images[1, 2, 0, 5] == rows[1, 1 + 2048 + 5]


def test_a_cifar_batch_of_odd_length_is_refused(tmp_path: Path) -> None:
    (tmp_path / "b.bin").write_bytes(bytes(3074))
    with pytest.raises(DataError, match="multiple of 3073"):
        read_cifar(tmp_path / "b.bin")


def test_pickled_objects_in_an_npz_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", x=np.array([{"a": 1}], dtype=object))
    with pytest.raises(DataError, match=r"p\.npz: not an \.npz file of plain arrays"):
        read_npz(tmp_path / "p.npz", ["x"])


def npy() -> bytes:
    """One array, not an archive of them."""
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


@pytest.mark.parametrize("content", [pickle.dumps([1]), b"", b"PK\x03\x04 not a zip", npy()])
def test_what_is_no_npz_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "p.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"p\.npz"):
        read_npz(tmp_path / "p.npz", ["x"])


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "p.npz", x=np.zeros(2))
    with pytest.raises(DataError, match=r"y.*expected x, y"):
        read_npz(tmp_path / "p.npz", ["x", "y"])
