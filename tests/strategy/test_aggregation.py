"""Folding: order, weights, partial uploads, running statistics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lab import Lab, params, update

from simfl.messages import NOTHING
from simfl.params import Layout, Params
from simfl.strategy.aggregation import applied, discounted, mean, mixed, scaled, weighted
from simfl.strategy.base import Change

deltas = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=6)


def two(x: float, y: float) -> Params:
    """Params with the tensors "a" (1,) and "b" (2,); "b" holds y twice."""
    return Params.from_named({"a": torch.tensor([x]), "b": torch.tensor([y, y])})


@given(deltas, st.randoms(use_true_random=False))
def test_the_order_of_arrival_does_not_change_a_fold(values, random):
    updates = [update(device, value) for device, value in enumerate(values)]
    shuffled = random.sample(updates, len(updates))
    assert mean(updates).delta == mean(shuffled).delta


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=8))
def test_mean_weights_are_proportional_to_examples_and_add_up_to_one(sizes):
    weights = mean([update(i, 0.0, examples=n) for i, n in enumerate(sizes)]).weights
    assert sum(weights.values()) == pytest.approx(1.0)
    assert weights[0] == pytest.approx(sizes[0] / sum(sizes))


def test_mean_weights_can_be_uniform_or_by_steps_or_any_function():
    updates = [update(0, 1.0, steps=1, examples=7), update(1, 5.0, steps=3)]
    assert mean(updates, "uniform").delta == 3.0
    assert mean(updates, "steps").delta == 4.0
    assert mean(updates, lambda u: float(u.device)).delta == 5.0


def test_a_discounted_fold_divides_by_the_count_unless_told_otherwise():
    updates = [update(0, 4.0), update(1, 8.0)]
    by = lambda u: 0.5  # noqa: E731
    assert discounted(updates, by).delta == 3.0
    assert discounted(updates, by, "weights").delta == 6.0
    assert discounted(updates, by, "none").delta == 6.0
    assert discounted(updates, by).weights == {0: 0.25, 1: 0.25}


def test_weights_that_are_all_zero_change_nothing():
    assert mean([update(0, 4.0)], lambda u: 0.0).delta == 0.0
    assert discounted([update(0, 4.0)], lambda u: 0.0, "weights").delta == 0.0


def test_arrays_and_nothing_fold_as_well():
    arrays = [update(i, np.full(2, float(i))) for i in range(3)]
    assert mean(arrays).delta.tolist() == [1.0, 1.0]
    assert mean([update(i, NOTHING) for i in range(3)]).delta is NOTHING


def test_a_partial_upload_counts_only_where_it_says_something():
    """Each name is averaged over those who sent it; a name that nobody sent stays."""
    base = two(0.0, 0.0)
    both = update(0, two(1.0, 2.0), base=base)
    part = update(1, two(9.0, 6.0).select(["b"]), base=base)
    assert mean([both, part], "uniform").delta.flat.tolist() == [1.0, 4.0, 4.0]
    assert mean([part], "uniform").delta.flat.tolist() == [0.0, 6.0, 6.0]


def test_a_partial_upload_keeps_its_staleness_discount():
    base = two(0.0, 0.0)
    updates = [update(i, two(4.0, 4.0).select(["b"]), base=base) for i in range(2)]
    assert discounted(updates, lambda u: 0.5).delta.flat.tolist() == [0.0, 2.0, 2.0]


def test_mixing_a_fresh_update_scales_it_exactly():
    server = Lab()
    fresh = update(0, params(0.3), server=server, base=server.params)
    assert torch.equal(mixed(fresh, server, 0.7).delta.flat, params(0.3).flat * 0.7)


def test_mixing_a_stale_update_lands_between_the_model_and_the_device():
    server = Lab(start=5.0, version=3)
    stale = update(0, params(2.0), server=server, base=params(1.0))  # the device is at 3
    moved = server.params + mixed(stale, server, 0.25).delta
    assert moved.flat.item() == pytest.approx(0.75 * 5.0 + 0.25 * 3.0)


def test_mixing_a_partial_upload_leaves_the_rest_alone():
    server = Lab(version=1)
    server.params = two(7.0, 8.0)
    stale = update(0, two(0.0, 2.0).select(["b"]), server=server, base=two(1.0, 1.0))
    assert mixed(stale, server, 0.5).delta.flat.tolist() == [0.0, -2.5, -2.5]


def test_a_server_rate_scales_what_is_trained_and_nothing_else():
    layout = Layout((("x", (1,)), ("stat", (1,))), 1)
    change = scaled(Change(Params(torch.tensor([2.0, 2.0]), layout), {0: 1.0}), 0.5)
    assert change.delta.flat.tolist() == [1.0, 2.0]
    assert change.weights == {0: 0.5}


def test_a_fold_needs_a_weight_for_each_update():
    with pytest.raises(ValueError, match="zip"):
        weighted([update(0)], [1.0, 2.0])


def test_a_fold_needs_updates():
    with pytest.raises(ValueError, match="no updates"):
        mean([])


def normed(x: float, statistic: float) -> Params:
    """One trained element and one running statistic."""
    return Params(torch.tensor([x, statistic]), Layout((("x", (1,)), ("stat", (1,))), 1))


def reports(statistics, bases):
    """Updates of devices that report these statistics; the first began a version ago."""
    lab = Lab(version=1)
    return [
        update(i, normed(1.0, y - base), base=normed(0.0, base), version=i, server=lab)
        for i, (y, base) in enumerate(zip(statistics, bases, strict=True))
    ]


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([0.5, 0.5], 0.4),  # the mean of 0.2 and 0.6
        ([2.0, 2.0], 0.4),  # no more than the mean
        ([0.25, 0.25], 0.65),  # half of it, and half of what was there
        ([0.0, 0.0], 0.9),
    ],
)
def test_a_running_statistic_is_a_value_wherever_its_device_started(weights, expected):
    updates = reports([0.2, 0.6], bases=[3.0, 0.9])
    after = applied(normed(0.0, 0.9), weighted(updates, weights), updates)
    assert after.flat.tolist() == pytest.approx([sum(weights), expected])


def test_a_server_rate_leaves_the_shares_of_running_statistics_alone():
    updates = reports([0.2, 0.6], bases=[0.9, 0.9])
    change = scaled(mean(updates, "uniform"), 0.1) * 1.0
    after = applied(normed(0.0, 0.9), change, updates)
    assert after.flat.tolist() == pytest.approx([0.1, 0.4])


def test_a_running_statistic_that_one_device_did_not_send_is_left_to_the_other():
    updates = reports([0.2, 0.6], bases=[0.9, 0.9])
    updates[1] = replace(updates[1], delta=updates[1].delta.select(["x"]))
    after = applied(normed(0.0, 0.9), weighted(updates, [0.5, 0.5]), updates)
    assert after.flat.tolist() == pytest.approx([1.0, 0.2])
