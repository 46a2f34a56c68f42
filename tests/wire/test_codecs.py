"""Contracts that every codec keeps, in one table: a newcomer joins by adding a row."""

from __future__ import annotations

import copy
import zlib
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import numpy as np
import pytest
import torch

from simfl.errors import PluginError, WireError
from simfl.params import Layout, Params
from simfl.wire import CODECS
from simfl.wire.chain import Chain, Sizes, Stage, chain
from simfl.wire.codec import Codec, Guarded, StatefulCodec, Wire
from simfl.wire.mediansplit import MedianSplit
from simfl.wire.quantize import QSGD, Quantize
from simfl.wire.resfed import ResFed
from simfl.wire.sign_half import BF16, FP16, Sign
from simfl.wire.sparse import RandomK, TopK


@dataclass(frozen=True)
class Deflate(Stage):
    """Odd: a stage whose side bytes depend on the values, with nothing left."""

    last = True

    def left(self, sizes: Sizes) -> Sizes:
        return ()

    def side_nbytes(self, sizes: Sizes) -> int | None:
        return None

    def shrink(
        self, x: np.ndarray, sizes: Sizes, rng: np.random.Generator
    ) -> tuple[bytes, np.ndarray]:
        return zlib.compress(x.tobytes()), x[:0]

    def grow(self, side: bytes, rest: np.ndarray, sizes: Sizes) -> np.ndarray:
        try:
            x = np.frombuffer(zlib.decompress(side), np.float32)
        except zlib.error as error:
            raise WireError(str(error)) from error
        if len(x) != sum(sizes):
            raise WireError("wrong length")
        return x.copy()


@dataclass(frozen=True)
class Chatty(StatefulCodec):
    """Odd: not a stage, and each message is one byte longer than the last."""

    def nbytes(self, layout: Layout) -> int | None:
        return None

    def encode(self, params: Params, memory: Any, rng: np.random.Generator) -> Wire:
        count = (memory or 0) + 1
        return Wire(super().encode(params, None, rng).payload + b"!" * count, count, memory)

    def decode(self, payload: bytes, layout: Layout, memory: Any) -> tuple[Params, Any]:
        count = (memory or 0) + 1
        if payload[4 * layout.size :] != b"!" * count:
            raise WireError("out of step")
        return super().decode(payload[: 4 * layout.size], layout, None)[0], count


TABLE: dict[str, Codec] = {
    "identity": Codec(),
    "empty chain": Chain(),
    "topk": TopK(),
    "topk, few": TopK(k=3, on_lost="forget"),
    "topk, per tensor": TopK(keep=0.02, scope="tensor", feedback=False),
    "randomk": RandomK(),
    "randomk with feedback": RandomK(keep=0.5, feedback=True),
    "quantize": Quantize(),
    "quantize, nearest": Quantize(bits=3, bucket=50, rounding="nearest", feedback=True),
    "quantize, one bit": Quantize(bits=1),
    "quantize, eleven bits": Quantize(bits=11, bucket=7),
    "qsgd": QSGD(),
    "qsgd, ternary": QSGD(levels=1, bucket=10),
    "qsgd, fine": QSGD(levels=2**23),
    "sign": Sign(),
    "fp16": FP16(),
    "bf16": BF16(),
    "topk, quantize": chain([TopK(), Quantize(bits=5)]),
    "topk, randomk, sign": chain([TopK(keep=0.5), RandomK(keep=0.5), Sign(feedback=False)]),
    "topk per tensor, quantize per tensor": chain([TopK(0.3, scope="tensor"), Quantize()]),
    "resfed": ResFed(rule=0),
    "resfed, nearly lossless": ResFed(rule=0, keep=1.0, bits=0),
    "mediansplit": MedianSplit(),
    "topk, mediansplit": chain([TopK(keep=0.5), MedianSplit(feedback=False, bits=3)]),
    "deflate": Deflate(),
    "topk, deflate": chain([TopK(), Deflate()]),
    "chatty": Chatty(),
}
SHAPES = {
    "nothing": ([], 0),
    "one element": ([(1,)], 0),
    "an empty tensor inside": ([(3, 2), (0,), (7,)], 2),
    "only buffers": ([], 4),
    "two tensors": ([(30, 20), (25,)], 0),
}


def rows(*without: str) -> pytest.MarkDecorator:
    """The table, but for rows whose name holds one of these words."""
    kept = {name: c for name, c in TABLE.items() if not any(word in name for word in without)}
    return pytest.mark.parametrize("codec", kept.values(), ids=kept.keys())


codecs = rows()
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


def params_of(shape: tuple[list[tuple[int, ...]], int], seed: int = 0) -> Params:
    """Random params of these trainable shapes, and so many elements of one float buffer."""
    torch_rng = torch.Generator().manual_seed(seed)
    named = {f"w{i}": torch.randn(s, generator=torch_rng) for i, s in enumerate(shape[0])}
    if shape[1]:
        named["stat"] = torch.randn(shape[1], generator=torch_rng)
    return Params.from_named(named, buffers=["stat"])


def rng(seed: int = 0) -> np.random.Generator:
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


@codecs
@shapes
def test_a_payload_is_as_long_as_announced_and_decodes_to_the_same_layout(
    codec: Codec, shape: Any
) -> None:
    """Twice in a row, so that memories take part."""
    sent = theirs = None
    for seed in range(2):
        params = params_of(shape, seed)
        wire = codec.encode(params, sent, rng())
        assert codec.nbytes(params.layout) in (None, wire.nbytes)
        decoded, theirs = codec.decode(wire.payload, params.layout, theirs)
        sent = wire.delivered
        assert decoded.layout == params.layout
        assert decoded.flat.dtype == torch.float32
        assert decoded.flat.shape == params.flat.shape
        assert torch.isfinite(decoded.flat).all()


@codecs
def test_the_same_generator_gives_the_same_bytes(codec: Codec) -> None:
    params = params_of(SHAPES["two tensors"])
    memory = codec.encode(params, None, rng(1)).delivered
    first, second = (codec.encode(params, memory, rng(2)).payload for _ in range(2))
    assert first == second


@codecs
def test_a_pure_codec_looks_at_the_params_only(codec: Codec) -> None:
    params = params_of(SHAPES["two tensors"])
    first = codec.encode(params, None, rng(1))
    second = codec.encode(params, first.delivered, rng(2))
    assert Guarded(codec).pure == (first.payload == second.payload)


@codecs
def test_only_codecs_that_say_so_remember_a_lost_message(codec: Codec) -> None:
    params = params_of(SHAPES["two tensors"])
    memory = codec.encode(params, None, rng()).delivered
    assert Guarded(codec).remembers_lost == (codec.encode(params, memory, rng()).lost is not memory)


@codecs
def test_nothing_that_was_handed_in_is_altered(codec: Codec) -> None:
    params = params_of(SHAPES["two tensors"])
    first = codec.encode(params, None, rng())
    memory = first.delivered
    _, theirs = codec.decode(first.payload, params.layout, None)
    before = copy.deepcopy([params, memory, theirs])
    codec.decode(codec.encode(params, memory, rng(1)).payload, params.layout, theirs)
    assert same(before, [params, memory, theirs])


@codecs
@shapes
def test_a_payload_of_another_length_is_refused(codec: Codec, shape: Any) -> None:
    params = params_of(shape)
    payload = codec.encode(params, None, rng()).payload
    wrong = [payload + b"\0", payload + payload + b"\0", payload[:-1], payload[: len(payload) // 2]]
    for other in wrong:
        if len(other) != len(payload):
            with pytest.raises(WireError):
                codec.decode(other, params.layout, None)


@codecs
def test_buffers_travel_as_they_are(codec: Codec) -> None:
    params = params_of(([(40, 3)], 5))
    payload = codec.encode(params, None, rng()).payload
    decoded, _ = codec.decode(payload, params.layout, None)
    assert torch.equal(decoded["stat"], params["stat"])


@codecs
def test_nothing_decodes_as_nothing(codec: Codec) -> None:
    """All zeros: where a careless codec divides 0 by 0."""
    params = params_of(SHAPES["two tensors"]) * 0.0
    payload = codec.encode(params, None, rng()).payload
    assert torch.equal(codec.decode(payload, params.layout, None)[0].flat.abs(), params.flat.abs())


@rows("randomk")  # what it does not draw, it does not send
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_not_hidden(codec: Codec, value: float) -> None:
    """A run that diverges does so under every codec."""
    params = params_of(SHAPES["two tensors"])
    params.flat[17] = value
    payload = codec.encode(params, None, rng()).payload
    assert not torch.isfinite(codec.decode(payload, params.layout, None)[0].flat).all()


@rows("chatty")  # remembers a count, of any layout
def test_a_memory_of_another_layout_is_forgotten(codec: Codec) -> None:
    params, others = params_of(SHAPES["two tensors"]), params_of(([(625,)], 0))
    memory = codec.encode(others, None, rng()).delivered
    fresh, stale = (codec.encode(params, m, rng(1)).payload for m in (None, memory))
    assert fresh == stale


def test_a_codec_that_grows_its_message_is_charged_for_it() -> None:
    """Sizes are of what was sent, never of what was expected."""
    params, codec, memory = params_of(SHAPES["two tensors"]), Chatty(), None
    sizes = []
    for _ in range(3):
        wire = codec.encode(params, memory, rng())
        memory = wire.delivered
        sizes.append(wire.nbytes - 4 * len(params))
    assert sizes == [1, 2, 3]


@pytest.mark.parametrize("name", CODECS.names())
def test_every_registered_codec_works_as_it_is(name: str) -> None:
    codec, params = CODECS.get(name)(), params_of(SHAPES["two tensors"])
    payload = codec.encode(params, None, rng()).payload
    assert codec.decode(payload, params.layout, None)[0].layout == params.layout


class Forgetful(Codec):
    """Odd: a memory that nothing keeps."""

    def encode(self, params: Params, memory: Any, rng: np.random.Generator) -> Wire:
        return Wire(super().encode(params, memory, rng).payload, delivered=1)


class Deaf(Codec):
    """Odd: a hook that nothing calls."""

    def begin(self, direction: str, initial: Params) -> Any:
        return 1


def test_a_codec_with_memories_that_is_not_stateful_is_refused() -> None:
    with pytest.raises(PluginError, match=r"Deaf\.begin would never be called.*StatefulCodec"):
        Guarded(Deaf())
    params = params_of(SHAPES["two tensors"])
    with pytest.raises(PluginError, match=r"Forgetful\.encode returned a memory"):
        Guarded(Forgetful()).encode(params, None, rng())
