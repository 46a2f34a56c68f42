"""Cached update calibration."""

from __future__ import annotations

import torch
from lab import Lab, params, update

from simfl.strategy.methods.fedavg import FedAvg
from simfl.strategy.methods.fedbuff import FedBuff
from simfl.strategy.methods.late.ca2fl import Ca2fl
from simfl.strategy.weighting import Weighting

CENTRES = [[float(i), 1.0 - i] for i in range(5)]


def uneven(device, index):
    return 1.0 + device * 0.7071 + index * 0.0137


def test_the_cached_mean_is_the_mean_of_the_caches():
    lab = Lab(CENTRES, uneven).play(Ca2fl(concurrency=4, buffer=2), versions=17)
    cache = lab.state.cache
    mean = sum(delta.flat for delta in cache.values()) / lab.devices
    assert torch.allclose(lab.state.mean.flat, mean, atol=1e-6)


def test_a_buffer_of_the_whole_fleet_is_fedavg_with_uniform_weights():
    cached = Lab(CENTRES).play(Ca2fl(concurrency=5, buffer=5), versions=6)
    rounds = Lab(CENTRES).play(FedAvg(cohort=5, weights="uniform"), versions=6)
    assert torch.allclose(cached.params.flat, rounds.params.flat, atol=1e-6)


def test_the_first_buffer_of_strangers_is_fedbuff_without_discount():
    buff = FedBuff(concurrency=5, buffer=2, weighting=Weighting())
    a, b = (Lab(CENTRES, uneven).play(s, 1) for s in (Ca2fl(concurrency=5, buffer=2), buff))
    assert torch.equal(a.params.flat, b.params.flat)


def test_identical_updates_from_everybody_are_the_step_once_all_were_heard():
    strategy, server = Ca2fl(buffer=1), Lab(CENTRES[:3])
    state = strategy.init(params(0.0))
    steps = [
        strategy.fold(state, server, [update(i, params(0.9))]).delta.flat for i in (0, 1, 2, 0)
    ]
    assert torch.allclose(steps[-1], torch.tensor([0.9]))


def test_a_device_twice_in_a_buffer_is_calibrated_by_itself():
    strategy, server = Ca2fl(buffer=2), Lab(CENTRES[:2])
    state = strategy.init(params(0.0))
    twice = [update(0, params(1.0), task=0), update(0, params(3.0), task=1)]
    assert strategy.fold(state, server, twice).delta.flat.item() == 1.5  # (1 + (3 - 1)) / 2
    assert state.cache[0].flat.item() == 3.0
