"""Guided selection: explore, exploit, pace."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from lab import Lab, update

from simfl.strategy.methods.fedavg import FedAvg, OverSelect
from simfl.strategy.methods.guided.oort import Oort

CENTRES = [[float(i), 1.0 - i] for i in range(12)]


def told(oort, reports, draws=10):
    """The memory after (utility, seconds) of each device, all met in the last draw."""
    memory = oort.init()
    memory.draws = draws
    updates = [
        update(device, examples=1, loss_rms=gain, arrived_s=seconds)
        for device, (gain, seconds) in enumerate(reports)
    ]
    oort.observe(memory, Lab(), updates)
    return memory


def picks(oort, reports, n, times=400):
    """How often each known device is picked."""
    memory, devices = told(oort, reports), list(range(len(reports)))
    chosen = [oort.exploit(memory, devices, n, np.random.default_rng(k)) for k in range(times)]
    assert all(len(set(some)) == n for some in chosen)
    return np.bincount(np.concatenate(chosen), minlength=len(devices)) / times


def test_pure_exploration_meets_everybody_before_anybody_twice():
    oort = Oort(explore=1.0, decay=1.0)
    lab = Lab(CENTRES).play(FedAvg(cohort=3, selection=oort), versions=4)
    assert sorted(device for _, device, _, _ in lab.asked[:12]) == list(range(12))
    assert lab.in_flight == 0 or len(lab.asked) == 15  # then it exploits


def test_duration_has_no_effect_with_alpha_zero_or_the_last_percentile():
    reports = [(1.0 + i, 10.0**i) for i in range(4)]
    same = [(gain, 1.0) for gain, _ in reports]
    for oort in (Oort(alpha=0.0), Oort(percentile=1.0)):
        slow, level = (oort.scores(told(oort, r), [0, 1, 2, 3]) for r in (reports, same))
        assert slow == pytest.approx(level)


def test_slow_devices_are_penalised_by_the_square_of_their_lateness():
    oort = Oort(alpha=2.0, percentile=0.0)
    scores = oort.scores(told(oort, [(1.0, 1.0), (1.0, 2.0)]), [0, 1])
    assert scores[1] / scores[0] == pytest.approx(0.25)


def test_equal_devices_are_picked_uniformly():
    assert picks(Oort(), [(1.0, 1.0)] * 5, n=2) == pytest.approx(np.full(5, 0.4), abs=0.1)


@pytest.mark.parametrize("cutoff", [0.0, 0.95])
def test_a_higher_loss_never_lowers_the_pick_rate(cutoff):
    rates = [
        picks(Oort(cutoff=cutoff, clip=1.0), [(gain, 1.0), *[(2.0, 1.0)] * 4], n=2)[0]
        for gain in (0.5, 1.0, 2.0, 3.0)
    ]
    assert all(later >= earlier - 0.08 for earlier, later in pairwise(rates))
    assert rates[-1] > rates[0]


def test_utilities_above_the_clip_count_no_more():
    scores = Oort(clip=0.5).scores(told(Oort(), [(1.0, 1.0), (2.0, 1.0), (9.0, 1.0)]), [0, 1, 2])
    assert scores[1] == scores[2] > scores[0]


def test_long_unseen_devices_gain_score():
    oort = Oort()
    memory = told(oort, [(1.0, 1.0)] * 2)
    gain, seconds, _ = memory.known[0]
    memory.known[0] = (gain, seconds, 1)
    first, second = oort.scores(memory, [0, 1])
    assert first > second


def test_the_pacer_grows_patient_when_less_is_gained():
    oort, memory = Oort(window=2, percentile=0.1, pacer_step=0.05), Oort().init()
    for gained in (5.0, 5.0, 4.0, 4.0):
        memory.gained = gained
        oort._pace(memory)
    assert memory.percentile == pytest.approx(0.15)


def test_exploration_decays_to_its_floor():
    oort = Oort(explore=0.9, decay=0.5, floor=0.2)
    lab = Lab(CENTRES).play(OverSelect(cohort=3, selection=oort), versions=8)
    assert lab.state.selection.epsilon == 0.2
