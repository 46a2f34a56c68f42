"""Closed-form laws of lossy codecs: nothing is forgotten, nothing is biased, errors are bounded."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simfl.params import Layout, Params
from simfl.wire.chain import chain
from simfl.wire.codec import Codec
from simfl.wire.mediansplit import MedianSplit
from simfl.wire.quantize import QSGD, Quantize
from simfl.wire.sign_half import Sign
from simfl.wire.sparse import RandomK, TopK

N = 60
FEEDBACK: dict[str, Codec] = {
    "topk": TopK(keep=0.1),
    "topk per tensor": TopK(keep=0.2, scope="tensor"),
    "randomk": RandomK(keep=0.2, feedback=True),
    "sign": Sign(),
    "nearest": Quantize(bits=2, rounding="nearest", feedback=True),
    "mediansplit": MedianSplit(keep=0.2),
    "topk, quantize": chain([TopK(keep=0.3), Quantize(bits=3)]),
}
UNBIASED: dict[str, Codec] = {
    "randomk": RandomK(keep=0.25),
    "quantize": Quantize(bits=2),
    "quantize in buckets": Quantize(bits=3, bucket=7),
    "qsgd": QSGD(levels=3, bucket=16),
    "ternary": QSGD(levels=1, bucket=N),
    "randomk, quantize": chain([RandomK(keep=0.5), Quantize(bits=4)]),
}


def params_of(values: np.ndarray) -> Params:
    shapes = (("a", (len(values) // 3,)), ("b", (len(values) - len(values) // 3,)))
    flat = torch.from_numpy(np.asarray(values, dtype=np.float32))
    return Params(flat, Layout(shapes, len(values)))


def drawn(seed: int, n: int = N) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(n).astype(np.float32)


def rng(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(seed))


@pytest.mark.parametrize("codec", FEEDBACK.values(), ids=FEEDBACK.keys())
@given(lost=st.lists(st.booleans(), min_size=1, max_size=25), seed=st.integers(0, 99))
def test_what_was_sent_and_what_is_remembered_add_up(
    codec: Codec, lost: list[bool], seed: int
) -> None:
    """Sum of decoded + memory = sum of updates, whichever messages are lost on the way."""
    memory, wanted, arrived = None, np.zeros(N), np.zeros(N)
    for t, gone in enumerate(lost):
        delta = params_of(drawn(seed + 1000 * t))
        wire = codec.encode(delta, memory, rng(t))
        wanted += delta.flat.numpy()
        memory = wire.lost if gone else wire.delivered
        if not gone:
            arrived += codec.decode(wire.payload, delta.layout, None)[0].flat.numpy()
    assert memory is not None
    assert arrived + memory.flat.numpy() == pytest.approx(wanted, abs=1e-4)


def test_a_lost_message_can_be_forgotten() -> None:
    """Then only its own update is gone; what was remembered before stays."""
    codec = TopK(keep=0.1, on_lost="forget")
    memory = codec.encode(params_of(drawn(0)), None, rng(0)).delivered
    assert codec.encode(params_of(drawn(1)), memory, rng(1)).lost is memory
    assert not codec.remembers_lost


@pytest.mark.parametrize("codec", UNBIASED.values(), ids=UNBIASED.keys())
def test_the_mean_of_many_encodings_is_what_was_meant(codec: Codec) -> None:
    """Within five standard errors in every element, and not exact by luck."""
    params, rounds = params_of(drawn(3)), 3000
    stack = np.empty((rounds, N))
    generator = rng(5)
    for t in range(rounds):
        payload = codec.encode(params, None, generator).payload
        stack[t] = codec.decode(payload, params.layout, None)[0].flat.numpy()
    error = np.abs(stack.mean(axis=0) - params.flat.numpy())
    assert stack.std(axis=0).max() > 0
    assert (error <= 5 * stack.std(axis=0) / rounds**0.5 + 1e-4).all()


@pytest.mark.parametrize(("s", "b"), [(1, 60), (3, 16), (5, 8), (127, 60)])
def test_the_variance_of_qsgd_is_within_its_bound(s: int, b: int) -> None:
    """E||Q - v||^2 <= min(b/s^2, sqrt(b)/s) ||v||^2 (Alistarh et al. 2017, lemma 3.1)."""
    params, codec, generator = params_of(drawn(4)), QSGD(levels=s, bucket=b), rng(6)
    v = params.flat.numpy()
    squares = []
    for _ in range(500):
        payload = codec.encode(params, None, generator).payload
        decoded = codec.decode(payload, params.layout, None)[0].flat.numpy()
        squares.append(float(np.sum((decoded - v) ** 2)))
    assert 0 < np.mean(squares) <= min(b / s**2, b**0.5 / s) * float(np.sum(v**2))


@given(st.integers(1, 200), st.floats(0.01, 1.0), st.integers(0, 99))
def test_top_k_is_a_contraction(n: int, keep: float, seed: int) -> None:
    """||u - C(u)||^2 <= (1 - k/n) ||u||^2."""
    params, codec = params_of(drawn(seed, n)), TopK(keep=keep)
    k = sum(codec.left((n,)))
    missed = codec.encode(params, None, rng(0)).delivered
    assert missed.norm() ** 2 <= (1 - k / n) * params.norm() ** 2 + 1e-9


@given(st.integers(1, 200), st.integers(0, 99))
def test_the_scaled_sign_is_a_contraction(n: int, seed: int) -> None:
    """||u - C(u)||^2 = (1 - ||u||_1^2 / (n ||u||^2)) ||u||^2."""
    params = params_of(drawn(seed, n))
    missed = Sign().encode(params, None, rng(0)).delivered
    mass = float(params.flat.abs().sum(dtype=torch.float64))
    assert missed.norm() ** 2 == pytest.approx(params.norm() ** 2 - mass**2 / n, abs=1e-4)


@given(st.integers(1, 16), st.integers(1, 80), st.integers(0, 99))
def test_no_element_is_further_off_than_one_level(bits: int, n: int, seed: int) -> None:
    params, codec = params_of(drawn(seed, n)), Quantize(bits=bits)
    decoded, _ = codec.decode(codec.encode(params, None, rng(0)).payload, params.layout, None)
    for name in params:
        x = params[name]
        if len(x):
            step = float(x.max() - x.min()) / (2**bits - 1)
            assert float((decoded[name] - x).abs().max()) <= step * (1 + 1e-3) + 1e-6
