"""What every codec keeps to, whatever it does to the numbers."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import torch

from simfl.errors import WireError
from simfl.params import Params
from simfl.wire.codec import Codec, Guarded

Shape = tuple[list[tuple[int, ...]], int]

#: Layouts that messages have: shapes of the trained tensors, and elements of one float buffer.
SHAPES: dict[str, Shape] = {
    "nothing": ([], 0),
    "one element": ([(1,)], 0),
    "an empty tensor inside": ([(3, 2), (0,), (7,)], 2),
    "only buffers": ([], 4),
    "two tensors": ([(30, 20), (25,)], 0),
}


def check_codec(codec: Codec, skip: Collection[str] = ()) -> None:
    """Raises AssertionError if a codec breaks a contract.

    skip: names of contracts that it is not meant to keep, such as "numbers_that_are_none".

    >>> check_codec(Codec())
    """
    for contract in CODEC_CONTRACTS:
        if contract.__name__ not in skip:
            contract(codec)


def params_of(shape: Shape, seed: int = 0) -> Params:
    """Random params of these trainable shapes, and so many elements of one float buffer "stat"."""
    draws = torch.Generator().manual_seed(seed)
    named = {f"w{i}": torch.randn(s, generator=draws) for i, s in enumerate(shape[0])}
    if shape[1]:
        named["stat"] = torch.randn(shape[1], generator=draws)
    return Params.from_named(named, buffers=["stat"])


def rng(seed: int = 0) -> np.random.Generator:
    """What an encoder draws from."""
    return np.random.Generator(np.random.Philox(seed))


def same(a: Any, b: Any) -> bool:
    """Bit by bit, through lists, tuples and dataclasses."""
    if isinstance(a, torch.Tensor | np.ndarray):
        return np.asarray(a).tobytes() == np.asarray(b).tobytes()
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    return bool(a == b)


def length_and_layout(codec: Codec) -> None:
    """A payload is as long as announced and decodes to the same layout, twice in a row."""
    for name, shape in SHAPES.items():
        sent = theirs = None
        for seed in range(2):
            params = params_of(shape, seed)
            wire = codec.encode(params, sent, rng())
            size = codec.nbytes(params.layout)
            assert size in (None, wire.nbytes), f"{name}: nbytes says {size}, sent {wire.nbytes}"
            decoded, theirs = codec.decode(wire.payload, params.layout, theirs)
            sent = wire.delivered
            assert decoded.layout == params.layout, f"{name}: decoded to {decoded.layout}"
            assert decoded.flat.dtype == torch.float32, f"{name}: {decoded.flat.dtype}"
            assert bool(torch.isfinite(decoded.flat).all()), f"{name}: not finite any more"


def repeatable_draws(codec: Codec) -> None:
    """The same generator and memory give the same bytes."""
    params = params_of(SHAPES["two tensors"])
    memory = codec.encode(params, None, rng(1)).delivered
    first, second = (codec.encode(params, memory, rng(2)).payload for _ in range(2))
    assert first == second, "encode gave other bytes when it was called again"


def purity(codec: Codec) -> None:
    """A codec is pure exactly if its bytes depend on the params alone."""
    params = params_of(SHAPES["two tensors"])
    first = codec.encode(params, None, rng(1))
    second = codec.encode(params, first.delivered, rng(2))
    pure = Guarded(codec).pure
    alike = first.payload == second.payload
    assert pure == alike, f"it is called {'pure' if pure else 'stateful'}, and is not"


def lost_messages(codec: Codec) -> None:
    """Only a codec that says so remembers a message that was lost."""
    params = params_of(SHAPES["two tensors"])
    memory = codec.encode(params, None, rng()).delivered
    remembers = codec.encode(params, memory, rng()).lost is not memory
    assert Guarded(codec).remembers_lost == remembers, "remembers_lost does not say what it does"


def untouched_inputs(codec: Codec) -> None:
    """Nothing that is handed in is altered."""
    params = params_of(SHAPES["two tensors"])
    whole = copy.deepcopy(params)
    first = codec.encode(params, None, rng())
    memory = first.delivered
    _, theirs = codec.decode(first.payload, params.layout, None)
    before = copy.deepcopy([whole, memory, theirs])
    codec.decode(codec.encode(params, memory, rng(1)).payload, params.layout, theirs)
    assert same(before, [params, memory, theirs]), "encode or decode altered what it was given"


def refused_lengths(codec: Codec) -> None:
    """A payload of another length raises WireError."""
    for name, shape in SHAPES.items():
        params = params_of(shape)
        payload = bytes(codec.encode(params, None, rng()).payload)
        for other in _wrong(payload):
            try:
                codec.decode(other, params.layout, None)
            except WireError:
                continue
            raise AssertionError(f"{name}: {len(other)} bytes for {len(payload)} were decoded")


def _wrong(payload: bytes) -> Iterator[bytes]:
    found = [payload + b"\0", payload + payload + b"\0", payload[:-1], payload[: len(payload) // 2]]
    yield from (other for other in found if len(other) != len(payload))


def exact_buffers(codec: Codec) -> None:
    """Buffers travel as they are."""
    params = params_of(([(40, 3)], 5))
    payload = codec.encode(params, None, rng()).payload
    decoded, _ = codec.decode(payload, params.layout, None)
    assert torch.equal(decoded["stat"], params["stat"]), "a running statistic was altered"


def zeros(codec: Codec) -> None:
    """Nothing decodes as nothing, where a careless codec divides 0 by 0."""
    params = params_of(SHAPES["two tensors"]) * 0.0
    payload = codec.encode(params, None, rng()).payload
    decoded = codec.decode(payload, params.layout, None)[0].flat
    assert torch.equal(decoded.abs(), params.flat.abs()), "zeros came back as something else"


def numbers_that_are_none(codec: Codec) -> None:
    """A NaN or an infinity is not hidden: a run that diverges does so under every codec."""
    for value in (float("nan"), float("inf"), float("-inf")):
        params = params_of(SHAPES["two tensors"])
        params.flat[17] = value
        payload = codec.encode(params, None, rng()).payload
        decoded = codec.decode(payload, params.layout, None)[0].flat
        assert not bool(torch.isfinite(decoded).all()), f"{value} came back as a number"


def foreign_memories(codec: Codec) -> None:
    """A memory of another layout is forgotten."""
    params, others = params_of(SHAPES["two tensors"]), params_of(([(625,)], 0))
    memory = codec.encode(others, None, rng()).delivered
    fresh, stale = (codec.encode(params, m, rng(1)).payload for m in (None, memory))
    assert fresh == stale, "a memory of another model had an effect"


CODEC_CONTRACTS = (
    length_and_layout,
    repeatable_draws,
    purity,
    lost_messages,
    untouched_inputs,
    refused_lengths,
    exact_buffers,
    zeros,
    numbers_that_are_none,
    foreign_memories,
)
