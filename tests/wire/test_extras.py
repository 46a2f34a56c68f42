"""What travels beside the tensors, and the frame around it all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simfl.errors import PluginError, WireError
from simfl.params import Groups, Layout, Params, Part
from simfl.wire.extras import (
    as_part,
    decode_extras,
    encode_extras,
    extras_nbytes,
    pack_names,
    pack_part,
    part_layout,
    unpack_names,
)

MODEL = Params.from_named(
    {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2), "mean": torch.zeros(4)}, ["mean"]
)
EXTRAS: dict[str, Any] = {
    "none": None,
    "yes": True,
    "count": -3,
    "big": 2**62,
    "rate": 0.1,
    "word": "Übung",
    "blob": b"\x00\xff",
    "control": MODEL * 2.0,
    "part": MODEL.select(["b", "mean"]),
    "mask": torch.tensor([[True], [False]]),
    "scalar": torch.tensor(2.5),
    "halves": np.array([0.5, 1.5], dtype=np.float16),
    "empty": np.zeros((0, 3), dtype=np.int64),
}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, Params):
        return a.layout == b.layout and torch.equal(a.flat, b.flat)
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and bool(a == b)


@pytest.mark.parametrize("name", EXTRAS)
def test_an_extra_comes_back_as_it_was(name: str) -> None:
    one = {name: EXTRAS[name]}
    assert same(decode_extras(encode_extras(one, MODEL.layout), MODEL.layout)[name], EXTRAS[name])


def test_all_extras_come_back_together_in_order() -> None:
    encoded = encode_extras(EXTRAS, MODEL.layout)
    decoded = decode_extras(encoded, MODEL.layout)
    assert list(decoded) == list(EXTRAS)
    assert len(encoded) == extras_nbytes(EXTRAS, MODEL.layout)


def test_a_control_variate_costs_the_model_and_a_few_bytes() -> None:
    assert extras_nbytes({"c": MODEL}, MODEL.layout) == MODEL.nbytes + 5
    assert extras_nbytes({}, MODEL.layout) == 0


def test_what_was_decoded_shares_nothing_with_what_was_sent() -> None:
    """Writing into a received tensor must not reach the sender."""
    mine = torch.ones(3)
    theirs = decode_extras(encode_extras({"x": mine}, MODEL.layout), MODEL.layout)["x"]
    theirs += 1
    assert mine.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    "value", [{"a": 1}, [1, 2], 2**70, torch.zeros(2, dtype=torch.complex64)], ids=repr
)
def test_an_extra_that_cannot_travel_is_named(value: Any) -> None:
    with pytest.raises(PluginError, match="'odd'"):
        encode_extras({"odd": value}, MODEL.layout)


def test_params_of_another_model_cannot_travel() -> None:
    for other in ({"v": torch.ones(2)}, {"w": torch.ones(5)}):
        with pytest.raises(PluginError, match="whole tensors of the model"):
            encode_extras({"odd": Params.from_named(other)}, MODEL.layout)


@given(st.integers(0, 10**6))
def test_truncated_extras_are_refused(cut: int) -> None:
    one = {"control": MODEL, "word": "weight", "mask": EXTRAS["mask"]}
    encoded = encode_extras(one, MODEL.layout)
    ends = [len(encode_extras({k: one[k]}, MODEL.layout)) for k in one]
    cut %= len(encoded)
    if cut in np.cumsum([0, *ends]):
        return
    with pytest.raises(WireError):
        decode_extras(encoded[:cut], MODEL.layout)


@pytest.mark.parametrize(
    "encoded", [b"\x01aZ", b"\x01aT\x63\x00", b"\x01\xffn", b"\x01aP\x02\x00\0\0"]
)
def test_corrupt_extras_are_refused(encoded: bytes) -> None:
    with pytest.raises(WireError):
        decode_extras(encoded, MODEL.layout)


@given(st.sets(st.sampled_from(MODEL.layout.names)))
def test_a_part_of_the_model_says_which_in_one_bit_a_name(names: set[str]) -> None:
    part = MODEL.layout.select(names)
    packed = pack_names(part, MODEL.layout)
    assert len(packed) == (0 if part == MODEL.layout else 1)
    assert unpack_names(packed, MODEL.layout) == part


def grouped() -> Groups:
    """Two filters of two weights and a bias each, and one element that is always sent."""
    layout = Layout((("w", (2, 2)), ("b", (2,)), ("free", (1,))), 7)
    return Groups(layout, torch.tensor([[0, 0, 1, 1, 0, 1, 2]]), 2)


@pytest.mark.parametrize(
    ("chosen", "values", "bits"),
    [((False, True), [2.0, 3.0, 5.0, 6.0], b"\x02"), ((False, False), [6.0], b"\x00")],
)
def test_a_part_travels_as_its_groups_bits_and_its_values(chosen, values, bits):
    groups = grouped()
    part = Part.of(torch.arange(7.0), groups, torch.tensor(chosen))
    assert part.flat.tolist() == values
    packed = pack_part(part, groups.layout, groups)
    assert packed == bits
    assert part_layout(packed, groups.layout, groups) == part.layout
    again = as_part(Params(part.flat, part.layout), packed, groups)
    assert torch.equal(again.whole.flat, part.whole.flat)
    assert torch.equal(again.held, part.held)


def test_a_part_that_holds_everything_needs_no_bits():
    groups = grouped()
    part = Part.of(torch.arange(7.0), groups, torch.tensor([True, True]))
    assert pack_part(part, groups.layout, groups) == b""
    assert part_layout(b"", groups.layout, groups) == groups.layout


def test_the_rows_of_a_part_keep_their_shape_for_codecs():
    part = Part.of(torch.arange(7.0), grouped(), torch.tensor([False, True]))
    assert part.layout == Layout((("w", (1, 2)), ("b", (1,)), ("free", (1,))), 4)
    assert (part * 2.0).whole.flat.tolist() == [0.0, 0.0, 4.0, 6.0, 0.0, 10.0, 12.0]


def test_bits_of_the_wrong_length_are_no_part():
    with pytest.raises(WireError, match="2 groups need 1 bytes"):
        as_part(None, b"\x00\x00", grouped())


def test_a_model_in_groups_is_not_sent_by_name():
    groups = grouped()
    whole = Params(torch.zeros(7), groups.layout)
    with pytest.raises(PluginError, match="must be a Part"):
        pack_part(whole.select(["w"]), groups.layout, groups)
