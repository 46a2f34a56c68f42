"""Delay-adaptive asynchronous SGD and FADAS."""

from __future__ import annotations

from math import inf

import pytest
from lab import Lab, update

from simfl.strategy.methods.fedasync import FedAsync
from simfl.strategy.methods.fedbuff import FedBuff
from simfl.strategy.methods.late.delay import DelayAdaptive, Fadas
from simfl.strategy.optimiser import Amsgrad
from simfl.strategy.weighting import Weighting

CENTRES = [[float(i), 1.0 - i] for i in range(6)]


def uneven(device, index):
    return 1.0 + device**2 * 0.7071 + index * 0.0137


def models(lab):
    return [model.flat.tolist() for model in lab.models]


def test_a_delay_that_never_exceeds_the_threshold_is_plain_asynchronous_sgd():
    adaptive = Lab(CENTRES, uneven).play(DelayAdaptive(concurrency=6, tau_c=inf), versions=30)
    plain = FedAsync(concurrency=6, alpha=1.0, mode="delta", weighting=Weighting())
    assert models(adaptive) == models(Lab(CENTRES, uneven).play(plain, versions=30))


def test_the_step_shrinks_beyond_the_threshold():
    lab = Lab(CENTRES, uneven).play(DelayAdaptive(concurrency=6, tau_c=2.0), versions=40)
    assert any(staleness > 2 for _, staleness, _ in lab.applied)
    for _, staleness, weight in lab.applied:
        assert weight == (1.0 if staleness <= 2 else 2.0 / staleness)


def test_the_threshold_is_the_concurrency_unless_told_otherwise():
    lab = Lab(CENTRES, uneven).play(DelayAdaptive(concurrency=6), versions=60)
    late = [(staleness, weight) for _, staleness, weight in lab.applied if staleness > 6]
    assert late
    assert all(weight == 6 / staleness for staleness, weight in late)


def test_fewer_than_half_of_the_arrivals_are_twice_as_late_as_the_concurrency():
    lab = Lab([[1.0]] * 8, uneven).play(DelayAdaptive(concurrency=8), versions=400)
    late = [staleness for _, staleness, _ in lab.applied if staleness > 2 * 7]
    assert len(late) < len(lab.applied) / 2


def test_fadas_that_never_adapts_is_fedbuff_with_amsgrad():
    buff = FedBuff(
        concurrency=5, buffer=2, weighting=Weighting(), server_lr=0.1, server_optimiser=Amsgrad()
    )
    fadas = Fadas(concurrency=5, buffer=2, server_lr=0.1, tau_c=inf)
    a, b = (Lab(CENTRES, uneven).play(s, versions=20) for s in (buff, fadas))
    assert models(a) == models(b)


@pytest.mark.parametrize(("beyond", "expected"), [("min", 0.1), ("multiply", 0.2 / 10)])
def test_the_rate_of_fadas_follows_the_stalest_update(beyond, expected):
    fadas = Fadas(server_lr=0.2, tau_c=1.0, beyond=beyond)
    old, new = (update(server=Lab(version=10), version=version) for version in (0, 9))
    assert fadas.rate([new]) == 0.2
    assert fadas.rate([new, old]) == expected
