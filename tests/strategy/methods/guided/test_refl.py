"""REFL: the rarest devices first, and what a late update is worth."""

from __future__ import annotations

from math import exp, inf
from types import SimpleNamespace

import pytest
import torch
from lab import Lab, params, update

from simfl.strategy.methods.fedavg import FedAvg
from simfl.strategy.methods.guided.refl import Refl, ReflSelection, Rounds, available
from simfl.strategy.methods.semisync import SemiSync
from simfl.strategy.selection import Selection
from simfl.strategy.weighting import Polynomial

CENTRES = [[float(i), 1.0 - i] for i in range(8)]


def by_device(device, index):
    return 1.0 + device + 0.01 * index


class Blinking:
    """Device i is present for i + 1 of every 10 seconds."""

    always = False

    def off_after(self, device, t):
        start = 10.0 * (t // 10.0)
        return start + device + 1 if t < start + device + 1 else t

    def on_after(self, device, t):
        start = 10.0 * (t // 10.0)
        return t if t < start + device + 1 else start + 10.0


def test_without_late_updates_it_is_fedavg_of_equal_devices_bit_for_bit():
    plain = Lab(CENTRES, by_device).play(FedAvg(cohort=4, weights="uniform"), versions=8)
    lab = Lab(CENTRES, by_device).play(Refl(cohort=4), versions=8)
    assert torch.equal(lab.params.flat, plain.params.flat)


def test_without_beta_a_late_update_weighs_by_its_age_alone():
    other = SemiSync(cohort=4, deadline_s=3.5, weights="uniform", weighting=Polynomial(a=1.0))
    plain = Lab(CENTRES, by_device).play(other, versions=12)
    lab = Lab(CENTRES, by_device).play(Refl(cohort=4, deadline_s=3.5, beta=0.0), versions=12)
    assert torch.equal(lab.params.flat, plain.params.flat)
    assert max(staleness for _, staleness, _ in lab.applied) > 0


def test_a_late_update_that_would_change_more_weighs_more():
    """Two fresh ones of mean (1, 0); of the stale ones one points there and one does not."""
    server = Lab([[0.0]], version=2)
    fresh = [update(d, params(1.0, 0.0), server=server, version=2) for d in (0, 1)]
    stale = [
        update(2, params(1.0, 1.5), server=server, version=0),
        update(3, params(1.0, 6.0), server=server, version=1),
    ]
    strategy = Refl(beta=0.4)
    weights = strategy.merge(strategy.init(params(0.0, 0.0)), fresh + stale).weights
    raw = {2: 0.6 / 3 + 0.4 * (1 - exp(-0.25 / 4.0)), 3: 0.6 / 2 + 0.4 * (1 - exp(-1.0))}
    total = 2.0 + sum(raw.values())
    assert weights == pytest.approx(
        {0: 1 / total, 1: 1 / total, 2: raw[2] / total, 3: raw[3] / total}
    )


def test_without_a_fresh_update_only_age_tells_them_apart():
    server = Lab([[0.0]], version=3)
    stale = [update(d, params(1.0 + d), server=server, version=3 - d) for d in (1, 3)]
    strategy = Refl()
    weights = strategy.merge(strategy.init(params(0.0)), stale).weights
    assert weights == pytest.approx({1: 2 / 3, 3: 1 / 3})


def test_availability_is_the_share_of_the_slot_that_the_device_is_there():
    """Device 3 is there in [0, 4), [10, 14) and so on."""
    presence = Blinking()
    assert available(presence, 3, 2.0, 4.0) == 1.0
    assert available(presence, 3, 2.0, 12.0) == pytest.approx(0.4)
    assert available(presence, 3, 5.0, 9.0) == 0.0
    assert available(presence, 3, 5.0, 25.0) == pytest.approx(0.4)
    assert available(presence, 3, 5.0, 5.0) == 0.0


def test_a_device_that_never_goes_or_never_comes_back_is_no_endless_loop():
    gone = SimpleNamespace(off_after=lambda d, t: t, on_after=lambda d, t: inf)
    stays = SimpleNamespace(off_after=lambda d, t: inf, on_after=lambda d, t: t)
    assert available(gone, 0, 1.0, 2.0) == 0.0
    assert available(stays, 0, 1.0, 2.0) == 1.0


def test_those_come_first_who_will_be_there_least():
    """A draw every 20 s, so that a slot holds two whole cycles."""
    server = Lab(CENTRES, fleet=SimpleNamespace(presence=Blinking()))
    memory, selection = Rounds(mean_s=20.0, last_s=0.0), ReflSelection(pace=1.0)
    server.now_s = 20.0
    assert selection.choose(memory, server, 3) == [0, 1, 2]
    assert memory == Rounds(mean_s=20.0, last_s=20.0)


def test_in_a_fleet_that_is_always_there_the_draw_is_uniform():
    plain = Lab(CENTRES, by_device).play(FedAvg(cohort=3, selection=Selection()), versions=6)
    lab = Lab(CENTRES, by_device).play(FedAvg(cohort=3, selection=ReflSelection()), versions=6)
    assert lab.asked == plain.asked


def test_mu_follows_the_lengths_of_rounds():
    rounds = Rounds()
    means = [rounds.heard(now_s, 0.25) for now_s in (0.0, 4.0, 12.0, 12.0)]
    assert means == [0.0, 4.0, 5.0, 5.0]


def test_with_adapt_fewer_are_asked_where_late_ones_are_expected():
    asked = {}
    for adapt in (False, True):
        strategy = Refl(cohort=4, deadline_s=3.5, adapt=adapt)
        lab = Lab(CENTRES, by_device).play(strategy, versions=20)
        asked[adapt] = len(lab.asked)
    assert asked[True] < asked[False]
