"""Tiers as a selection, and tiers as a strategy."""

from __future__ import annotations

from collections import Counter
from itertools import chain

import pytest
import torch
from lab import Lab

from simfl.strategy.base import LocalRule
from simfl.strategy.methods.fedat import FedAt
from simfl.strategy.methods.fedavg import FedAvg
from simfl.strategy.methods.guided.tifl import Tifl, tiers_of

CENTRES = [[float(i), 1.0 - i] for i in range(8)]


def by_device(device, index):
    return 1.0 + device


def test_tiers_are_equal_in_size_and_ordered_by_speed():
    assert tiers_of({3: 1.0, 1: 9.0, 2: 5.0, 0: 1.0}, 2) == [[0, 3], [2, 1]]
    assert tiers_of({3: 1.0}, 2) == [[3]]


@pytest.mark.parametrize(
    "tiered",
    [FedAvg(cohort=3, selection=Tifl(tiers=1)), FedAt(cohort=3, tiers=1, local=LocalRule())],
)
def test_one_tier_is_fedavg(tiered):
    a, b = (Lab(CENTRES, by_device).play(s, versions=5) for s in (tiered, FedAvg(cohort=3)))
    assert torch.allclose(a.params.flat, b.params.flat, atol=1e-6)
    assert a.now_s == b.now_s


def rounds_of(lab, cohort):
    devices = [device for _, device, _, _ in lab.asked]
    return [devices[k : k + cohort] for k in range(0, len(devices), cohort)]


def test_after_profiling_a_round_stays_within_one_tier():
    lab = Lab(CENTRES, by_device).play(FedAvg(cohort=2, selection=Tifl(tiers=4)), versions=20)
    rounds = rounds_of(lab, 2)
    assert sorted(chain(*rounds[:4])) == list(range(8))
    assert {tuple(sorted(r)) for r in rounds[4:]} <= {(0, 1), (2, 3), (4, 5), (6, 7)}


def test_the_tier_with_the_worst_loss_is_drawn_most_often():
    """Devices of the lab report a loss that grows with their number."""
    tifl = Tifl(tiers=2, credits=10_000)
    lab = Lab(CENTRES, by_device).play(FedAvg(cohort=4, selection=tifl), versions=200)
    drawn = Counter(min(r) // 4 for r in rounds_of(lab, 4)[2:])
    assert drawn[1] / drawn.total() == pytest.approx(2 / 3, abs=0.1)


def test_credits_cap_how_often_a_tier_is_drawn():
    tifl = Tifl(tiers=2, credits=5)
    lab = Lab(CENTRES, by_device).play(FedAvg(cohort=4, selection=tifl), versions=12)
    drawn = Counter(min(r) // 4 for r in rounds_of(lab, 4)[2:12])
    assert drawn == {0: 5, 1: 5}


def test_fast_tiers_do_not_wait_for_slow_ones():
    lab = Lab(CENTRES, by_device).play(FedAt(tiers=2, cohort=4), versions=12)
    fast = [u for u, _, _ in lab.applied[8:] if u.device < 4]
    assert len(fast) > len(lab.applied[8:]) / 2
    assert any(staleness > 0 for _, staleness, _ in lab.applied)


def test_the_model_is_the_cross_weighted_mean_of_the_tiers():
    lab = Lab(CENTRES, by_device).play(FedAt(tiers=2, cohort=4), versions=9)
    fast, slow = lab.state.tiers
    total = fast.rounds + slow.rounds
    assert fast.rounds > slow.rounds > 0
    mean = fast.model * (slow.rounds / total) + slow.model * (fast.rounds / total)
    assert torch.allclose(lab.params.flat, mean.flat, atol=1e-6)


def test_devices_that_did_not_answer_the_profiling_are_in_the_slowest_tier():
    lab = Lab(CENTRES, by_device, lost_tasks=lambda serial: serial == 0)
    lab.play(FedAt(tiers=2, cohort=4), versions=3)
    assert [tier.devices for tier in lab.state.tiers] == [[1, 2, 3, 4], [5, 6, 7, 0]]
