"""What is particular to each family: sizes by the papers' formulas, ties, grids, ranges."""

from __future__ import annotations

from math import ceil, log2

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simfl.params import Layout, Params
from simfl.wire.codec import Codec
from simfl.wire.quantize import QSGD, Quantize
from simfl.wire.sign_half import BF16, FP16, Sign
from simfl.wire.sparse import RandomK, TopK, largest


def params_of(*tensors: list[float] | np.ndarray) -> Params:
    values = [torch.as_tensor(np.asarray(x, dtype=np.float32)) for x in tensors]
    return Params.from_named({f"w{i}": x for i, x in enumerate(values)})


def layout_of(*sizes: int) -> Layout:
    return Layout(tuple((f"w{i}", (n,)) for i, n in enumerate(sizes)), sum(sizes))


def through(codec: Codec, params: Params, seed: int = 0) -> np.ndarray:
    wire = codec.encode(params, None, np.random.Generator(np.random.Philox(seed)))
    return codec.decode(wire.payload, params.layout, None)[0].flat.numpy()


@given(st.lists(st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, 3.5, -3.5]), max_size=30), st.data())
def test_the_largest_are_chosen_and_ties_go_to_the_first(values: list[float], data: st.DataObject):
    k = data.draw(st.integers(min(1, len(values)), len(values)))
    by_hand = sorted(range(len(values)), key=lambda i: (-abs(values[i]), i))[:k]
    assert largest(np.array(values, dtype=np.float32), k).tolist() == sorted(by_hand)


def test_top_k_of_everything_is_the_identity() -> None:
    params = params_of([1.0, -2.0, -0.0], [3.0])
    wire = TopK(keep=1.0).encode(params, None, np.random.default_rng(0))
    assert wire.payload == Codec().encode(params, None, np.random.default_rng(0)).payload
    assert not wire.delivered.flat.any()


def test_the_scope_decides_who_competes() -> None:
    params = params_of([5.0, 4.0, 3.0, 2.0], [0.2, 0.1])
    assert through(TopK(keep=0.5), params).tolist() == [5.0, 4.0, 3.0, 0.0, 0.0, 0.0]
    per_tensor = through(TopK(keep=0.5, scope="tensor"), params).tolist()
    assert per_tensor == pytest.approx([5.0, 4.0, 0.0, 0.0, 0.2, 0.0])


@pytest.mark.parametrize(
    ("n", "keep", "k"), [(1000, 0.1, 100), (10, 0.1, 1), (10, 1e-3, 1), (0, 0.5, 0), (7, 1.0, 7)]
)
def test_a_share_of_the_elements_is_rounded_and_never_none(n: int, keep: float, k: int) -> None:
    """1000 times 0.1 is 100, not the 99 of a careless int()."""
    assert TopK(keep=keep).left((n,)) == (k,)


def test_more_than_there_is_means_all() -> None:
    assert TopK(k=10).left((4,)) == RandomK(k=10).left((1, 3)) == (4,)


def test_random_k_costs_a_seed_and_no_indices() -> None:
    assert RandomK(keep=0.01).nbytes(layout_of(1000)) == 8 + 4 * 10


def test_random_k_draws_without_replacement() -> None:
    decoded = through(RandomK(keep=0.1), params_of(np.ones(1000)))
    assert sorted(set(decoded.tolist())) == [0.0, 10.0]
    assert np.count_nonzero(decoded) == 100


@given(st.lists(st.integers(0, 50), max_size=4), st.integers(1, 16), st.integers(1, 60))
def test_affine_levels_cost_their_bits_and_eight_bytes_a_bucket(
    sizes: list[int], bits: int, bucket: int
) -> None:
    n, layout = sum(sizes), layout_of(*sizes)
    tensors = sum(1 for size in sizes if size)
    assert Quantize(bits=bits).nbytes(layout) == ceil(n * bits / 8) + 8 * tensors
    by_bucket = Quantize(bits=bits, bucket=bucket).nbytes(layout)
    assert by_bucket == ceil(n * bits / 8) + 8 * ceil(n / bucket)


@given(st.integers(0, 5000), st.integers(1, 2**23), st.integers(1, 600))
def test_qsgd_costs_what_its_formula_says(n: int, s: int, b: int) -> None:
    expected = ceil(n * (1 + ceil(log2(s + 1))) / 8) + 4 * ceil(n / b)
    assert QSGD(levels=s, bucket=b).nbytes(layout_of(n)) == expected


def test_signs_cost_a_bit_each_and_one_scale() -> None:
    assert Sign().nbytes(layout_of(9, 8)) == 3 + 4
    decoded = through(Sign(), params_of([1.0, -2.0, 0.0, 5.0]))
    assert decoded.tolist() == [2.0, -2.0, 2.0, 2.0]


@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
def test_values_on_the_grid_are_exact(rounding: str) -> None:
    grid = np.random.default_rng(0).permutation(np.arange(-64, 192)) / 32
    assert np.array_equal(through(Quantize(rounding=rounding), params_of(grid)), grid)  # type: ignore[arg-type]


def test_multiples_of_the_norm_are_exact_under_qsgd() -> None:
    """(3, 4) has norm 5, so that five levels hold it."""
    assert through(QSGD(levels=5), params_of([3.0, -4.0, 0.0])).tolist() == [3.0, -4.0, 0.0]


@pytest.mark.parametrize("value", [0.0, 1e-45, -7.25, 3e38])
def test_a_constant_is_exact_in_any_number_of_bits(value: float) -> None:
    """The range is empty: where a careless codec divides 0 by 0."""
    params = params_of(np.full(9, value), [value])
    for bits in (1, 8, 16):
        assert np.array_equal(through(Quantize(bits=bits), params), params.flat.numpy())


def test_the_widest_range_does_not_overflow() -> None:
    decoded = through(Quantize(bits=1), params_of([-3.4e38, 3.4e38]))
    assert decoded == pytest.approx([-3.4e38, 3.4e38])


def test_a_bucket_that_diverged_leaves_the_others_alone() -> None:
    for codec in (Quantize(bits=8, bucket=2), QSGD(bucket=2, levels=1)):
        decoded = through(codec, params_of([np.nan, 1.0, 0.0, 3.0, np.inf, 2.0]))
        assert np.isnan(decoded[[0, 1, 4, 5]]).all()
        assert decoded[2:4].tolist() == [0.0, 3.0]


def test_many_levels_are_nearly_the_identity() -> None:
    x = np.random.default_rng(1).standard_normal(2000).astype(np.float32)
    error = through(QSGD(levels=2**23, bucket=64), params_of(x)) - x
    assert np.linalg.norm(error) < 1e-6 * np.linalg.norm(x)


def test_half_precision_rounds_to_even_as_torch_does() -> None:
    x = np.random.default_rng(2).standard_normal(5000).astype(np.float32) * 100
    x[:4] = [1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-11, 1 + 3 * 2**-11]
    t = torch.from_numpy(x)
    assert np.array_equal(through(FP16(), params_of(x)), t.half().float().numpy())
    assert np.array_equal(through(BF16(), params_of(x)), t.bfloat16().float().numpy())


def test_large_numbers_stay_finite_in_half_precision() -> None:
    assert through(FP16(), params_of([1e6, -1e6, 65519.0])).tolist() == [65504, -65504, 65504]
    assert np.isfinite(through(BF16(), params_of([3.4028e38, -3.4028e38]))).all()
    assert not np.isfinite(through(BF16(), params_of([np.inf, -np.inf, np.nan]))).any()
