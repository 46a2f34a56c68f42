"""Stages in a row: the identity, what may follow what, and who remembers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simfl.errors import ScenarioError
from simfl.params import Layout, Params
from simfl.wire.chain import Chain, Stage, chain
from simfl.wire.codec import Codec
from simfl.wire.quantize import QSGD, Quantize
from simfl.wire.sign_half import BF16, FP16, Sign
from simfl.wire.sparse import RandomK, TopK

FIRST: list[Stage] = [
    TopK(keep=0.2),
    TopK(k=5, scope="tensor"),
    RandomK(keep=0.4),
    RandomK(keep=1.0, feedback=True),
]
MIDDLE: list[Stage] = [RandomK(keep=0.7), TopK(keep=0.6, feedback=False)]
LAST: list[Stage] = [
    Quantize(bits=2),
    Quantize(bits=9, bucket=11),
    QSGD(levels=3, bucket=8),
    Sign(feedback=False),
    FP16(),
    BF16(),
]

links = st.tuples(
    st.lists(st.sampled_from(FIRST), max_size=1),
    st.lists(st.sampled_from(MIDDLE), max_size=2),
    st.lists(st.sampled_from(LAST), max_size=1),
).map(lambda parts: [*parts[0], *parts[1], *parts[2]])


def params_of(sizes: list[int], buffers: int = 0, seed: int = 0) -> Params:
    shapes = tuple((f"w{i}", (n,)) for i, n in enumerate([*sizes, buffers]))
    values = np.random.default_rng(seed).standard_normal(sum(sizes) + buffers, dtype=np.float32)
    return Params(torch.from_numpy(values), Layout(shapes, sum(sizes)))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


@given(links, st.lists(st.integers(0, 40), max_size=4), st.integers(0, 5), st.integers(0, 99))
def test_any_chain_of_any_sizes_is_as_long_as_announced(
    stages: list[Stage], sizes: list[int], buffers: int, seed: int
) -> None:
    """And what its receiver decodes is what its sender takes for decoded."""
    codec, params = chain(stages), params_of(sizes, buffers, seed)
    wire = codec.encode(params, None, rng(seed))
    decoded, _ = codec.decode(wire.payload, params.layout, None)
    assert wire.nbytes == codec.nbytes(params.layout)
    if wire.delivered is not None:
        assert torch.equal(wire.delivered.flat, params.flat - decoded.flat)


def test_an_empty_chain_is_the_identity_byte_for_byte() -> None:
    params = params_of([5, 7], buffers=2)
    payload = Codec().encode(params, None, rng()).payload
    assert Chain(()).encode(params, None, rng()).payload == payload
    assert payload == params.flat.numpy().tobytes()


def test_identities_vanish_from_a_chain() -> None:
    assert chain([]) == chain([Codec()]) == chain([Codec(), Codec()]) == Codec()
    assert chain([Codec(), TopK()]) == TopK()


@pytest.mark.parametrize("stage", [*FIRST, *MIDDLE, *LAST], ids=repr)
def test_a_stage_by_itself_is_a_chain_of_one(stage: Stage) -> None:
    params = params_of([50, 3])
    alone, chained = stage.encode(params, None, rng()), Chain((stage,)).encode(params, None, rng())
    assert alone.payload == chained.payload
    assert (stage.pure, stage.remembers_lost) == (
        Chain((stage,)).pure,
        Chain((stage,)).remembers_lost,
    )


def test_the_bytes_of_a_chain_add_up_by_hand() -> None:
    """100 of 1000 elements: a bitmap of 125 bytes, a range, and a byte for each."""
    codec = chain([TopK(keep=0.1), Quantize(bits=8)])
    assert codec.nbytes(params_of([600, 400]).layout) == 125 + 8 + 100


@pytest.mark.parametrize(
    ("codecs", "reason"),
    [
        ([Quantize(), TopK()], "Quantize leaves no floats"),
        ([TopK(), Sign()], "Sign asks for feedback behind another codec"),
        ([TopK(), Chain()], "Chain cannot be chained"),
    ],
)
def test_a_chain_that_cannot_work_says_why(codecs: list[Codec], reason: str) -> None:
    with pytest.raises(ScenarioError, match=reason):
        chain(codecs)


def test_feedback_of_the_first_covers_all_that_follow() -> None:
    """Nearest rounding to one bit after top-k: the memory holds the rounding error as well."""
    params = params_of([64])
    codec = chain([TopK(keep=1.0), Quantize(bits=1, rounding="nearest")])
    wire = codec.encode(params, None, rng())
    decoded, _ = codec.decode(wire.payload, params.layout, None)
    assert set(decoded.flat.tolist()) == {float(params.flat.min()), float(params.flat.max())}
    assert torch.equal(wire.delivered.flat, params.flat - decoded.flat)


def test_the_memory_of_buffers_is_empty() -> None:
    params = params_of([20], buffers=6)
    wire = TopK().encode(params, None, rng())
    assert not wire.delivered.flat[20:].any()
    assert not wire.lost.flat[20:].any()
    assert wire.delivered.flat[:20].any()
