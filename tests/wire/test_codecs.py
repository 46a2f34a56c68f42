"""Contracts that every codec keeps, in one table: a newcomer joins by adding a row."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from simfl.errors import PluginError, WireError
from simfl.params import Layout, Params
from simfl.testing import CODEC_CONTRACTS, check_codec
from simfl.testing.codecs import SHAPES, params_of, rng
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
#: Contracts that a row is not meant to keep, and why.
EXEMPT = {
    "numbers_that_are_none": ("randomk",),  # what it does not draw, it does not send
    "foreign_memories": ("chatty",),  # remembers a count, of any layout
}


ROWS = [
    pytest.param(codec, contract, id=f"{contract.__name__}-{name}")
    for contract in CODEC_CONTRACTS
    for name, codec in TABLE.items()
    if not any(word in name for word in EXEMPT.get(contract.__name__, ()))
]


@pytest.mark.parametrize(("codec", "contract"), ROWS)
def test_a_codec_keeps_its_contracts(codec: Codec, contract: Callable[[Codec], None]) -> None:
    contract(codec)


@dataclass(frozen=True)
class Liar(Codec):
    """Odd: announces another length, rounds statistics, and takes any payload."""

    def nbytes(self, layout: Layout) -> int | None:
        return 8 * layout.size

    def encode(self, params: Params, memory: Any, rng: np.random.Generator) -> Wire:
        params.flat.round_()
        return Wire(params.flat.nan_to_num().numpy().tobytes() + bytes(rng.integers(256, size=1)))

    def decode(self, payload: bytes, layout: Layout, memory: Any) -> Any:
        flat = torch.frombuffer(bytearray(payload[: 4 * layout.size]), dtype=torch.float32)
        return Params(flat + (flat == 0), layout), memory


def test_a_codec_that_keeps_none_of_them_is_found_out() -> None:
    broken = set()
    for contract in CODEC_CONTRACTS:
        try:
            contract(Liar())
        except (AssertionError, PluginError, ValueError):
            broken.add(contract.__name__)
    kept = {"lost_messages", "foreign_memories", "repeatable_draws"}
    assert {contract.__name__ for contract in CODEC_CONTRACTS} - broken == kept
    check_codec(Codec())
    with pytest.raises(AssertionError, match="is called pure, and is not"):
        check_codec(Liar(), skip=("length_and_layout",))


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
