"""Synchronous rounds and over-selection."""

from __future__ import annotations

import pytest
import torch
from lab import LR, Lab

from simfl.errors import ScenarioError
from simfl.strategy.local_rules import Proximal
from simfl.strategy.methods.fedavg import FedAvg, OverSelect
from simfl.strategy.selection import Weighted

CENTRES = [[float(i), 1.0 - i] for i in range(6)]


def same(a: Lab, b: Lab) -> bool:
    return all(torch.equal(x.flat, y.flat) for x, y in zip(a.models, b.models, strict=True))


def by_device(device, index):
    return 1.0 + device


def test_fedsgd_on_everybody_is_gradient_descent_on_the_union():
    sizes = [1, 2, 3, 4, 5, 6]
    lab = Lab(CENTRES, sizes=sizes).play(FedAvg(cohort=6, steps=1), versions=5)
    w = torch.zeros(2)
    share = torch.tensor(sizes) / sum(sizes)
    for _ in range(5):
        w -= LR * (w - share @ torch.tensor(CENTRES))
    assert torch.allclose(lab.params.flat, w, atol=1e-6)


def test_one_device_is_plain_gradient_descent():
    lab = Lab([[3.0]]).play(FedAvg(cohort=1, steps=4), versions=3)
    assert lab.params.flat.item() == pytest.approx(3.0 * (1 - (1 - LR) ** 12), rel=1e-5)


def test_weights_of_a_round_add_up_to_one():
    lab = Lab(CENTRES, sizes=[5, 1, 1, 9, 2, 2]).play(FedAvg(cohort=3), versions=1)
    assert sum(weight for _, _, weight in lab.applied) == pytest.approx(1.0)
    assert all(staleness == 0 for _, staleness, _ in lab.applied)


def test_a_round_with_losses_averages_those_who_reported():
    lab = Lab(CENTRES, lost_tasks=lambda serial: serial in (0, 2)).play(FedAvg(cohort=3), 1)
    ((reporter, _, weight),) = lab.applied
    assert weight == 1.0
    assert torch.equal(lab.params.flat, reporter.delta.flat)


def test_a_round_that_loses_everybody_is_followed_by_another():
    lab = Lab(CENTRES, lost_tasks=lambda serial: serial < 3).play(FedAvg(cohort=3), 1)
    assert lab.now_s == 2.0


def test_a_server_rate_of_two_moves_twice_as_far():
    once = Lab(CENTRES).play(FedAvg(cohort=6), versions=1)
    twice = Lab(CENTRES).play(FedAvg(cohort=6, server_lr=2.0), versions=1)
    assert torch.equal(twice.params.flat, 2 * once.params.flat)


def test_proximal_with_mu_zero_is_fedavg():
    plain = Lab(CENTRES).play(FedAvg(cohort=3), 4)
    assert same(plain, Lab(CENTRES).play(FedAvg(cohort=3, local=Proximal(mu=0.0)), 4))


def test_epochs_and_steps_contradict_each_other():
    with pytest.raises(ScenarioError, match=r"epochs = 2\.0 and steps = 3"):
        FedAvg(epochs=2.0, steps=3)


def test_a_deadline_nobody_misses_is_a_synchronous_round():
    plain = Lab(CENTRES, by_device).play(FedAvg(cohort=4), versions=4)
    for deadline_s in (None, 100.0):
        strategy = OverSelect(cohort=4, over_select=1.0, deadline_s=deadline_s)
        lab = Lab(CENTRES, by_device).play(strategy, versions=4)
        assert same(plain, lab)
        assert lab.now_s == plain.now_s


@pytest.mark.parametrize("on_surplus", ["cancel", "ignore"])
def test_the_first_reports_are_folded_and_the_rest_is_cut(on_surplus):
    strategy = OverSelect(cohort=3, over_select=2.0, on_surplus=on_surplus)
    lab = Lab(CENTRES, by_device).play(strategy, versions=1)
    assert [update.device for update, _, _ in lab.applied] == [0, 1, 2]
    assert lab.now_s == 3.0
    cut = [serial for serial, cause in lab.cancelled if cause == "surplus"]
    assert len(cut) == (3 if on_surplus == "cancel" else 0)


def test_ignored_devices_stay_busy_and_their_reports_are_thrown_away():
    strategy = OverSelect(cohort=3, over_select=1.5, min_fraction=0.0, on_surplus="ignore")
    lab = Lab(CENTRES, by_device, seed=2).play(strategy, versions=6)
    assert {cause for _, cause in lab.discarded} == {"late"}
    assert not lab.cancelled


def test_a_round_does_not_wait_for_those_who_are_lost():
    """In the second round one reports and one is lost; an ignored device is still at work."""
    slow = lambda device, index: 50.0 if device == 2 else 1.0  # noqa: E731
    lab = Lab(CENTRES[:3], slow, lost_tasks=lambda serial: serial == 4)
    strategy = OverSelect(cohort=2, over_select=1.5, min_fraction=0.5, on_surplus="ignore")
    assert lab.play(strategy, versions=2).now_s == 2.0


def test_reports_of_the_instant_of_the_goal_beyond_it_are_surplus():
    lab = Lab(CENTRES).play(OverSelect(cohort=2, over_select=3.0), versions=1)
    assert len(lab.applied) == 2
    assert {cause for _, cause in lab.discarded} == {"surplus"}


def test_a_deadline_ends_the_round_with_those_who_made_it():
    strategy = OverSelect(cohort=6, over_select=1.0, deadline_s=4.0, min_fraction=0.5)
    lab = Lab(CENTRES, by_device).play(strategy, versions=1)
    assert lab.now_s == 4.0
    assert [u.device for u, _, _ in lab.applied] == [0, 1, 2, 3]
    assert [cause for _, cause in lab.cancelled] == ["late", "late"]


def test_a_round_with_too_few_reports_is_abandoned():
    away = lambda device, now_s: now_s >= 4.0 or device >= 3  # noqa: E731
    strategy = OverSelect(cohort=6, over_select=1.0, deadline_s=4.0, min_fraction=0.5)
    lab = Lab(CENTRES, by_device, present=away).play(strategy, versions=1)
    assert {cause for _, cause in lab.discarded} == {"abandoned round"}
    assert lab.now_s == 8.0


def test_the_goal_is_reached_no_later_when_more_are_asked():
    times = [
        Lab(CENTRES, by_device).play(OverSelect(cohort=3, over_select=f), versions=1).now_s
        for f in (1.0, 1.5, 2.0)
    ]
    assert times == sorted(times, reverse=True)


def test_every_task_of_over_selection_ends_in_exactly_one_way():
    lab = Lab(CENTRES, by_device, lost_tasks=lambda serial: serial % 7 == 0)
    lab.play(OverSelect(cohort=3, over_select=1.6, deadline_s=4.0), versions=8)
    ends = [u.task for u, _, _ in lab.applied]
    ends += [serial for serial, _ in lab.discarded + lab.cancelled]
    lost = [s for s in range(len(lab.asked)) if s % 7 == 0 and s not in lab.flying]
    assert len(ends) == len(set(ends))
    assert set(ends) | set(lost) | set(lab.flying) == set(range(len(lab.asked)))


def test_weighted_selection_prefers_devices_with_more_data():
    lab = Lab(CENTRES, sizes=[1, 1, 1, 1, 1, 1000])
    lab.play(FedAvg(cohort=1, selection=Weighted()), versions=20)
    asked = [device for _, device, _, _ in lab.asked]
    assert asked.count(5) > 15
