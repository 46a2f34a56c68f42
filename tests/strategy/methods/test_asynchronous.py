"""Constant concurrency, buffers, staleness policies, and the limit cases between families."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lab import LR, Lab, update

from simfl.strategy.aggregation import mixed, weighted
from simfl.strategy.methods.fedasync import FedAsync
from simfl.strategy.methods.fedavg import FedAvg
from simfl.strategy.methods.fedbuff import FedBuff
from simfl.strategy.weighting import Polynomial, Weighting

CENTRES = [[float(i), 1.0 - i] for i in range(6)]


def models(lab):
    return [model.flat.tolist() for model in lab.models]


def uneven(device, index):
    """No two tasks ever end at the same instant."""
    return 1.0 + device * 0.7071 + index * 0.0137


def test_fedbuff_in_lock_step_is_fedavg_with_uniform_weights():
    """Equal speeds, buffer = concurrency: nobody is stale, and the fold is the same helper's."""
    rounds = Lab(CENTRES).play(FedAvg(cohort=6, weights="uniform"), versions=4)
    buffered = Lab(CENTRES).play(FedBuff(concurrency=6, buffer=6), versions=4)
    assert models(rounds) == models(buffered)
    assert {staleness for _, staleness, _ in buffered.applied} == {0}


def test_fedbuff_and_fedasync_agree_one_task_at_a_time():
    buff = FedBuff(concurrency=1, buffer=1, weighting=Weighting(), server_lr=0.3)
    mix = FedAsync(concurrency=1, alpha=0.3, weighting=Weighting())
    a, b = (Lab(CENTRES, uneven, seed=3).play(s, versions=9) for s in (buff, mix))
    assert models(a) == models(b)


def test_mixing_differs_from_adding_by_a_pull_towards_the_stale_base():
    server = Lab([[2.0, 1.0]], start=1.5, version=4)
    base = server.params * 0.2
    stale = update(0, server.params * 0.7, server=server, base=base)
    difference = weighted([stale], [0.4]).delta - mixed(stale, server, 0.4).delta
    assert torch.allclose(difference.flat, 0.4 * (server.params - base).flat, atol=1e-6)


@pytest.mark.parametrize(
    "strategy", [FedAsync(concurrency=1, alpha=1.0), FedBuff(concurrency=1, buffer=1)]
)
def test_one_task_at_a_time_is_sequential_descent(strategy):
    lab = Lab([[3.0]], uneven).play(strategy, versions=3)
    assert {staleness for _, staleness, _ in lab.applied} == {0}
    assert lab.params.flat.item() == pytest.approx(3.0 * (1 - (1 - LR) ** 15), rel=1e-5)


def test_alpha_zero_never_moves_the_model():
    lab = Lab(CENTRES, uneven, start=0.3).play(FedAsync(concurrency=3, alpha=0.0), versions=5)
    assert torch.equal(lab.params.flat, lab.models[0].flat)


def test_a_polynomial_of_degree_zero_is_the_constant_weighting():
    a, b = (
        Lab(CENTRES, uneven).play(FedAsync(concurrency=4, weighting=weighting), versions=12)
        for weighting in (Polynomial(a=0.0), Weighting())
    )
    assert models(a) == models(b)


@given(
    concurrency=st.integers(1, 6),
    buffer=st.integers(1, 5),
    before=st.booleans(),
    same=st.booleans(),
)
def test_staleness_is_conserved(concurrency, buffer, before, same):
    """Σ staleness at arrival + ages in flight = V(C - 1), or VC with replacement before."""
    strategy = FedBuff(
        concurrency=concurrency,
        buffer=buffer,
        dispatch="before" if before else "after",
        refill="same" if same else "uniform",
    )
    lab = Lab([[1.0]] * (concurrency + 1), uneven).play(strategy, versions=20)
    total = sum(staleness for _, staleness, _ in lab.applied)
    total += sum(u.staleness for u in lab.open.values())
    total += sum(lab.version - task.version for task in lab.flying.values())
    assert lab.in_flight == concurrency
    assert total == lab.version * (concurrency if before else concurrency - 1)


def test_refill_same_keeps_the_first_devices_busy_for_ever():
    lab = Lab(CENTRES, uneven).play(FedBuff(concurrency=3, buffer=2, refill="same"), versions=20)
    first = {device for _, device, _, _ in lab.asked[:3]}
    assert {device for _, device, _, _ in lab.asked} == first


def test_refill_same_turns_to_others_when_a_device_has_left():
    leaves = lambda device, now_s: now_s < 3.0 or device >= 3  # noqa: E731
    lab = Lab(CENTRES, uneven, present=leaves, seed=1)
    lab.play(FedBuff(concurrency=3, buffer=1, refill="same"), versions=30)
    assert lab.in_flight == 3
    assert {task.device for task in lab.flying.values()} == {3, 4, 5}


def test_losses_are_replaced():
    lab = Lab(CENTRES, uneven, lost_tasks=lambda serial: serial % 3 == 0)
    lab.play(FedBuff(concurrency=4, buffer=2, max_staleness=50, on_stale="wait"), versions=15)
    assert lab.in_flight == 4
    assert set(lab.state.flying) == set(lab.flying)


def very_uneven(device, index):
    return 50.0 if device == 5 else 1.0 + 0.01 * device


def test_updates_beyond_the_bound_are_dropped():
    strategy = FedBuff(concurrency=6, buffer=1, max_staleness=8)
    lab = Lab(CENTRES, very_uneven).play(strategy, versions=600)
    assert max(staleness for _, staleness, _ in lab.applied) <= 8
    assert {cause for _, cause in lab.discarded} == {"stale"}


def test_an_update_exactly_at_the_bound_is_kept():
    server = Lab([[0.0]], version=8)
    at_it, past_it = (update(i, server.params, server=server, version=1 - i) for i in (0, 1))
    server.open = {u.task: u for u in (at_it, past_it)}
    strategy = FedBuff(buffer=5, max_staleness=7)
    state = strategy.init(server.params)
    state.pending = [at_it, past_it]
    assert strategy.ready(state, server) == []
    assert state.pending == [at_it]
    assert server.discarded == [(past_it.task, "stale")]


def test_what_is_beyond_a_full_buffer_waits_for_the_next():
    """Five arrive at one instant: two buffers of two, and one update stays."""
    lab = Lab([[1.0]] * 5).play(FedBuff(concurrency=5, buffer=2), versions=2)
    assert [staleness for _, staleness, _ in lab.applied] == [0, 0, 1, 1]
    assert len(lab.state.pending) == len(lab.open) == 1


def test_waiting_holds_the_buffer_back_for_the_laggard():
    strategy = FedBuff(concurrency=6, buffer=2, max_staleness=3, on_stale="wait")
    lab = Lab(CENTRES, very_uneven).play(strategy, versions=9)
    assert max(staleness for _, staleness, _ in lab.applied) == 3
    assert not lab.discarded
    assert lab.now_s >= 50.0


def test_a_bound_that_nobody_reaches_changes_nothing():
    free, *bound = (
        Lab(CENTRES, uneven).play(FedBuff(concurrency=4, buffer=2, **options), versions=12)
        for options in ({}, {"max_staleness": 99}, {"max_staleness": 99, "on_stale": "wait"})
    )
    assert all(models(lab) == models(free) for lab in bound)


def test_discounts_follow_staleness_and_divide_by_the_buffer():
    lab = Lab(CENTRES, uneven).play(FedBuff(concurrency=5, buffer=2), versions=10)
    for _, staleness, weight in lab.applied:
        assert weight == pytest.approx((1 + staleness) ** -0.5 / 2)
