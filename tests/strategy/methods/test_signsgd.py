"""Majority votes."""

from __future__ import annotations

import torch
from lab import LR, Lab, params, update

from simfl.strategy.methods.signsgd import SignSgd


def voted(*deltas):
    strategy, server = SignSgd(), Lab()
    updates = [update(i, params(*delta), server=server) for i, delta in enumerate(deltas)]
    change = strategy.fold(strategy.init(updates[0].base), server, updates)
    return change.delta.flat.tolist(), change.weights


def test_one_device_moves_every_element_by_the_rate():
    lab = Lab([[3.0, -2.0]]).play(SignSgd(cohort=1, server_lr=LR), versions=4)
    assert torch.allclose(lab.params.flat, torch.tensor([4 * LR, -4 * LR]))


def test_the_majority_decides_however_loud_the_others_are():
    delta, weights = voted([1.0, -1.0], [1.0, -0.1], [-99.0, 50.0])
    assert delta == [1.0, -1.0]
    assert weights == {0: 1 / 3, 1: 1 / 3, 2: 1 / 3}


def test_zeros_and_ties_count_as_positive():
    """Also where the shares of the votes do not add up to zero in floating point."""
    assert voted([0.0])[0] == [1.0]
    for half in range(1, 8):
        assert voted(*([[1.0]] * half + [[-1.0]] * half))[0] == [1.0]


def test_running_statistics_are_averaged():
    """Five a task, where what is trained moves by the rate."""
    lab = Lab([[9.0, 0.0], [9.0, 0.0]], buffers=1).play(SignSgd(cohort=2, steps=5), versions=2)
    assert lab.params.flat.tolist() == [torch.tensor(0.02).item(), 10.0]
