"""Ratios, filters and folds of SPATL: pure functions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lab import update
from torch import nn
from torch.nn.utils import prune

from simfl.errors import ScenarioError
from simfl.params import Groups, Layout, Params, Part
from simfl.strategy.aggregation import mean
from simfl.strategy.methods.spatl.filters import (
    FLOOR,
    choose,
    groups_of,
    kept,
    masked,
    removed,
    salient,
    scaled,
    shares,
)
from simfl.strategy.methods.spatl.fold import absorbed, by_index
from simfl.structure import Conv, ModelStructure

#: Two convolutions of 2 and 3 filters with biases, and a head of two.
LAYOUT = Layout(
    (("w0", (2, 1, 1, 1)), ("b0", (2,)), ("w1", (3, 2, 1, 1)), ("b1", (3,)), ("head", (2,))), 15
)
CONVS = (
    Conv("w0", ("b0",), 2, 1, 1, positions=4),
    Conv("w1", ("b1",), 3, 2, 1, positions=4, reads=0),
)
TINY = ModelStructure(LAYOUT, CONVS, ("head",))
RATIOS = st.lists(st.floats(FLOOR, 1.0), min_size=2, max_size=2).map(np.array)


@given(st.floats(0.0, 1.0), st.integers(1, 64))
def test_the_number_of_filters_is_that_of_structured_pruning(ratio, filters):
    """PyTorch's own, except that at least one is kept."""
    layer = nn.Conv2d(1, filters, 1)
    prune.ln_structured(layer, "weight", amount=1.0 - ratio, n=2, dim=0)
    left = int(layer.weight_mask.flatten(1).any(1).sum())
    assert kept(ratio, filters) == max(1, left)


@given(st.floats(0.1, 1.0), st.integers(0, 1000))
def test_kept_filters_are_those_of_the_largest_norm(ratio, seed):
    layer = nn.Conv2d(2, 9, 3)
    with torch.no_grad():
        layer.weight.normal_(generator=torch.Generator().manual_seed(seed))
    mask = salient(layer.weight.detach().clone(), ratio)
    prune.ln_structured(layer, "weight", amount=1.0 - ratio, n=2, dim=0)
    assert torch.equal(mask, layer.weight_mask.flatten(1).any(1))


def test_of_equal_filters_the_first_are_kept():
    assert salient(torch.ones(4, 1), 0.5).tolist() == [True, True, False, False]


def test_a_masked_model_lacks_whole_channel_groups():
    point = torch.arange(1.0, 16.0)
    chosen = torch.tensor([True, False, False, True, False])
    thin = Params(masked(point, TINY, chosen), LAYOUT)
    assert thin["w0"].flatten().tolist() == [1.0, 0.0]
    assert thin["b0"].tolist() == [3.0, 0.0]
    assert thin["w1"].flatten(1).tolist() == [[0.0, 0.0], [7.0, 8.0], [0.0, 0.0]]
    assert thin["b1"].tolist() == [0.0, 12.0, 0.0]
    assert thin["head"].tolist() == [14.0, 15.0]


def test_statistics_behind_the_trained_elements_belong_to_their_filter():
    layout = Layout((("w", (2, 1)), ("mean", (2,))), 2)
    structure = ModelStructure(layout, (Conv("w", ("mean",), 2, 1, 1, 1),), ())
    part = Part.of(torch.arange(4.0), groups_of(structure, layout), torch.tensor([False, True]))
    assert part.flat.tolist() == [1.0, 3.0]
    assert part.layout.trainable == 1


def test_columns_go_with_the_filters_that_they_read():
    groups = groups_of(TINY, LAYOUT, columns=True)
    chosen = torch.tensor([True, False, False, True, True])
    held = Params(groups.held(chosen).float(), LAYOUT)
    assert held["w1"].flatten(1).tolist() == [[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]]
    assert held["b1"].tolist() == [0.0, 1.0, 1.0]


def test_columns_need_a_plain_sequence():
    tangled = replace(TINY, convs=(CONVS[0], replace(CONVS[1], reads=None)))
    with pytest.raises(ScenarioError, match="rows"):
        groups_of(tangled, LAYOUT, columns=True)


def test_flops_go_with_the_ratios_of_a_layer_and_the_one_before():
    first, second = (conv.flops for conv in CONVS)
    expected = 1.0 - (0.5 * first + 0.5 * 0.25 * second) / (first + second)
    assert removed(CONVS, np.array([0.5, 0.25])) == pytest.approx(expected)


@given(RATIOS, st.floats(0.0, 0.9))
def test_scaling_removes_what_is_asked_and_no_more(ratios, cut):
    found = scaled(CONVS, ratios, cut)
    assert ((found >= FLOOR) & (found <= 1.0)).all()
    assert removed(CONVS, found) == pytest.approx(cut, abs=1e-6)


def test_shares_are_those_of_the_chosen_filters():
    point = torch.arange(15.0)
    chosen = choose(point, TINY, np.array([0.5, 0.7]))
    assert shares(TINY, chosen).tolist() == [0.5, pytest.approx(2 / 3)]


# Folding.

GROUPS = Groups(Layout((("w", (3,)),), 3), torch.tensor([[0, 1, 2]]), 3)
BASE = Params(torch.tensor([10.0, 10.0, 10.0]), GROUPS.layout)


def sent(device, values, chosen, **known):
    delta = Part.of(torch.tensor(values), GROUPS, torch.tensor(chosen))
    return update(device, delta, base=BASE, **known)


ONE = sent(0, [1.0, 2.0, 3.0], [True, True, False])
TWO = sent(1, [3.0, 4.0, 5.0], [True, False, False])


@pytest.mark.parametrize(
    ("divisor", "expected"),
    [
        ("index_mean", [0.25 * 1 + 0.75 * 3, 2.0, 0.0]),
        ("damped", [0.25 * 1 + 0.75 * 3, 0.25 * 2, 0.0]),
        ("zero_fill", [0.25 * 1 + 0.75 * 3, 0.25 * 2 - 0.75 * 10, 0.0]),
    ],
)
def test_an_entry_is_folded_over_those_who_sent_it(divisor, expected):
    change = by_index([ONE, TWO], [0.25, 0.75], divisor)
    assert change.delta.flat.tolist() == expected
    assert change.weights == {0: 0.25, 1: 0.75}


def test_zero_fill_is_the_mean_of_models_with_holes():
    """(A1) written with models: 0.25 (11, 12, 0) + 0.75 (13, 0, 0), and what nobody sent stays."""
    change = by_index([ONE, TWO], [0.25, 0.75], "zero_fill")
    assert (BASE + change.delta).flat.tolist() == [12.5, 3.0, 10.0]


@given(st.lists(st.tuples(*[st.booleans()] * 3), min_size=1, max_size=4))
def test_what_nobody_sent_stays_bit_for_bit(masks):
    updates = [sent(i, [0.1, 0.2, 0.3], list(mask)) for i, mask in enumerate(masks)]
    silent = ~torch.tensor(masks).any(0)
    for divisor in ("index_mean", "damped", "zero_fill"):
        change = by_index(updates, [1.0 / len(masks)] * len(masks), divisor)
        assert torch.equal((BASE + change.delta).flat[silent], BASE.flat[silent])


@given(st.lists(st.integers(1, 99), min_size=1, max_size=5), st.integers(0, 99))
def test_whole_uploads_fold_as_fedavg_does_bit_for_bit(sizes, seed):
    generator = torch.Generator().manual_seed(seed)
    updates = [
        update(i, BASE.like(torch.randn(3, generator=generator)), base=BASE, examples=n)
        for i, n in enumerate(sizes)
    ]
    weights = [n / sum(sizes) for n in sizes]
    plain = mean(updates).delta.flat
    for divisor in ("index_mean", "damped", "zero_fill"):
        assert torch.equal(by_index(updates, weights, divisor).delta.flat, plain)


def test_no_divisor_contains_a_discount():
    """Else staleness that all share would cancel."""
    change = by_index([ONE], [1.0], "index_mean", [0.5])
    assert change.delta.flat.tolist() == [0.5, 1.0, 0.0]
    assert change.weights == {0: 0.5}


def test_the_order_of_arrival_does_not_matter():
    there, back = (by_index(two, w, "index_mean") for two, w in (
        ([ONE, TWO], [0.3, 0.7]), ([TWO, ONE], [0.7, 0.3])
    ))  # fmt: skip
    assert torch.equal(there.delta.flat, back.delta.flat)


def test_the_server_hears_of_variates_where_filters_were_sent():
    told = replace(ONE, extras={"c": torch.tensor([4.0, 8.0])})
    assert absorbed(torch.zeros(3), [told], {}, devices=4).tolist() == [1.0, 2.0, 0.0]


def test_a_path_is_as_good_as_the_variate_itself():
    """cᵢ⁺ - cᵢ = -c - d / (aη), which needs no cᵢ."""
    c, path = torch.tensor([1.0, 2.0, 3.0]), 0.5
    gained = -c - torch.tensor([1.0, 2.0, 3.0]) / path
    told = replace(ONE, extras={"c": gained[:2]})
    derived = replace(ONE, extras={"path": path})
    both = [absorbed(c, [one], {0: c}, devices=4) for one in (told, derived)]
    assert torch.equal(*both)
