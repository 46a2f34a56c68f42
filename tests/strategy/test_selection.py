"""Whom a draw without memory chooses."""

from __future__ import annotations

import numpy as np
from lab import Lab

from simfl.strategy.methods.fedavg import FedAvg
from simfl.strategy.selection import Coin


def rounds(p, cohort=20, versions=300, seed=0):
    """The devices of each round."""
    lab = Lab([[float(i)] for i in range(20)], seed=seed)
    lab.play(FedAvg(cohort=cohort, epochs=0.2, selection=Coin(p)), versions)
    starts = {}
    for now_s, device, _, _ in lab.asked:
        starts.setdefault(now_s, []).append(device)
    return list(starts.values())


def test_coins_are_independent_and_somebody_always_takes_part():
    """Of 20 coins of 0.1 some are heads in 88 % of draws: 2 of 20 become 2.28."""
    sizes = np.array([len(devices) for devices in rounds(0.1)])
    assert sizes.min() >= 1
    assert abs(sizes.mean() - 2.0 / (1 - 0.9**20)) < 4 * sizes.std() / len(sizes) ** 0.5
    assert sizes.std() > 1.0


def test_a_certain_coin_takes_everybody_and_a_small_cohort_some_of_them():
    assert rounds(1.0, versions=3)[0] == list(range(20))
    few = rounds(1.0, cohort=5, versions=100)
    assert {len(devices) for devices in few} == {5}
    assert {device for devices in few for device in devices} == set(range(20))


def test_every_strategy_sees_the_same_coins():
    assert rounds(0.1, versions=20) == rounds(0.1, versions=20)
    assert rounds(0.1, versions=20) != rounds(0.1, versions=20, seed=1)
