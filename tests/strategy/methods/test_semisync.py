"""Rounds that do not wait: what baselines make of late updates."""

from __future__ import annotations

import pytest
import torch
from lab import Lab, params, update
from latecomers import run

from simfl.strategy.methods.semisync import FirstOrder, SemiSync, TwoTiers
from simfl.strategy.selection import Cyclic
from simfl.strategy.weighting import Sigmoid

TWO_SPEEDS = {"seconds": lambda device, index: 3.0 if device == 3 else 1.0}
CENTRES = [[0.0], [1.0], [2.0], [8.0]]


def played(strategy, versions=9):
    return Lab(CENTRES, **TWO_SPEEDS).play(strategy, versions)


def test_a_round_ends_with_its_deadline_and_late_updates_enter_a_later_one():
    lab = played(SemiSync(cohort=4, deadline_s=1.5))
    staleness = {device: set() for device in range(4)}
    for used, tau, _ in lab.applied:
        staleness[used.device].add(tau)
    assert staleness[0] == {0}
    assert staleness[3] == {1}


def test_a_weighting_that_forgets_the_late_leaves_the_mean_of_the_others():
    """At τ = 1 with b far below zero nothing of device 3 is left."""
    lab = played(SemiSync(cohort=4, deadline_s=1.5, weighting=Sigmoid(a=0.6, b=0.0)))
    full = played(SemiSync(cohort=4, deadline_s=1.5))
    weights = [weight for used, _, weight in lab.applied if used.device == 3]
    plain = [weight for used, _, weight in full.applied if used.device == 3]
    assert all(w < p for w, p in zip(weights, plain, strict=True))


def test_tiers_weigh_as_many_devices_as_they_have():
    lab = played(TwoTiers(cohort=4, deadline_s=1.5))
    rounds: dict[int, list] = {}
    for used, tau, weight in lab.applied:
        rounds.setdefault(used.version + tau, []).append((tau, weight))
    mixed = [r for r in rounds.values() if any(tau for tau, _ in r) and any(not t for t, _ in r)]
    assert mixed
    for entries in rounds.values():
        assert sum(weight for _, weight in entries) == pytest.approx(1.0)
    late = [sum(weight for tau, weight in entries if tau) for entries in mixed]
    assert late == pytest.approx([0.25] * len(late))


def test_first_order_is_its_equation_elementwise():
    """u' = u - λ u ⊙ u ⊙ (w_t - w_v)."""
    lab = Lab([[0.0, 0.0]])
    lab.params, lab.version = params(1.0, -2.0), 5
    late = update(0, params(0.5, 2.0), server=lab, version=3, base=params(0.0, 0.0))
    strategy = FirstOrder(lam=4.0)
    (made,) = strategy.freshen(strategy.init(params(0.0, 0.0)), lab, [late])
    assert made.delta.flat.tolist() == [0.5 - 4 * 0.25 * 1.0, 2.0 + 4 * 4.0 * 2.0]


def test_the_predicted_way_is_the_last_step_as_often_as_the_update_is_late():
    lab = Lab([[0.0]])
    lab.version, lab.params = 7, params(50.0)
    strategy = FirstOrder(lam=1.0, predict=True)
    state = strategy.init(params(0.0))
    state.pace = {3: params(0.1)}
    late = update(0, params(2.0), server=lab, version=3, base=params(9.0))
    (made,) = strategy.freshen(state, lab, [late])
    assert made.delta.flat.tolist() == pytest.approx([2.0 - 4.0 * 4 * 0.1])


def test_a_first_order_term_of_nothing_changes_nothing():
    direct = run("semisync", hold=3).params.flat
    assert run("firstorder", hold=3, lam=0.0).params.flat.equal(direct)
    assert not run("firstorder", hold=3, lam=4.0).params.flat.equal(direct)
    assert not run("twotiers", hold=3).params.flat.equal(direct)


def test_paces_are_kept_for_versions_that_somebody_may_still_answer():
    lab = played(FirstOrder(cohort=4, deadline_s=1.5, predict=True), versions=30)
    assert len(lab.state.pace) <= 4


def test_the_cycle_takes_everybody_in_turn_and_passes_over_who_is_away():
    lab = Lab([[0.0]] * 5, present=lambda device, now_s: device != 3)
    cycle = Cyclic()
    memory = cycle.init()
    turns = [cycle.choose(memory, lab, 2) for _ in range(4)]
    assert turns == [[0, 1], [2, 4], [0, 1], [2, 4]]
    assert cycle.choose(memory, lab, 9) == [0, 1, 2, 4]


def test_deltas_stay_tensors_of_the_model_s_layout():
    lab = played(FirstOrder(cohort=4, deadline_s=1.5))
    assert bool(torch.isfinite(lab.params.flat).all())
