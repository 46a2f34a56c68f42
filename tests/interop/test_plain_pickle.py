"""Pickles are read when they are data, and refused, untouched, when they are more."""

from __future__ import annotations

import os
import pickle
import struct
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simfl.errors import TraceError
from simfl.interop.plain_pickle import load_plain

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=20,
)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("pickles") / "trace.pkl"


@given(value=plain, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_values_come_back(path, value, protocol):
    path.write_bytes(pickle.dumps(value, protocol))
    assert load_plain(path) == value


class Bomb:
    """What it would do shows in the file system."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return (os.mkdir, (str(self.mark),))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("wrap", [lambda b: b, lambda b: {"a": [1, b]}], ids=["bare", "nested"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not(path, tmp_path, protocol, wrap):
    mark = tmp_path / "ran"
    path.write_bytes(pickle.dumps(wrap(Bomb(mark)), protocol))
    with pytest.raises(TraceError, match=r"trace\.pkl: refused, for byte \d+"):
        load_plain(path)
    assert not mark.exists()
    pickle.loads(path.read_bytes())
    assert mark.exists()  # so it was a bomb


@pytest.mark.parametrize(
    "value", [{1, 2}, OrderedDict(a=1), np.float64(1.0), np.arange(3), (1, 2), b"bytes", 1j, Path]
)
def test_what_is_not_plain_is_refused(path, value):
    path.write_bytes(pickle.dumps({"x": value}))
    with pytest.raises(TraceError, match="refused"):
        load_plain(path)


@pytest.mark.parametrize(
    "instructions",
    [
        b"\x80\x04cos\nsystem\n.",
        b"\x80\x04\x82\x01.",  # extension registry
        b"\x80\x02Pabc\n.",  # persistent id
        b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b".",  # bytearray of four exabytes
        b"\x80\x04]r" + struct.pack("<I", 2**32 - 1) + b".",  # memo entry far beyond the rest
        b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b".",  # text of four exabytes
        b"\x80\x04\x95" + struct.pack("<Q", 2**62) + b".",  # frame of four exabytes
    ],
)
def test_hostile_instructions_are_refused(path, instructions):
    path.write_bytes(instructions)
    with pytest.raises(TraceError):
        load_plain(path)


def test_no_part_of_a_pickle_is_a_pickle(path):
    whole = pickle.dumps({"a": {"computation": 3.5, "communication": 1000.0}})
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(TraceError):
            load_plain(path)


@settings(max_examples=300)
@given(noise=st.binary(max_size=60), at=st.integers(0, 60))
def test_damage_is_an_error_of_the_trace_or_nothing(path, noise, at):
    whole = pickle.dumps([{"a": 1.5, "b": [1, 2, 3]}, "text"] * 2)
    path.write_bytes(whole[:at] + noise + whole[at + len(noise) :])
    with suppress(TraceError):
        load_plain(path)


def test_a_file_that_is_not_there_or_too_large_is_refused(path, monkeypatch):
    with pytest.raises(TraceError, match="No such file"):
        load_plain(path.parent / "nowhere.pkl")
    path.write_bytes(pickle.dumps([1] * 100))
    monkeypatch.setattr("simfl.interop.plain_pickle.MOST_BYTES", 50)
    with pytest.raises(TraceError, match="bytes, expected at most 50"):
        load_plain(path)
