"""FedASMU: what an update weighs, by age and by the time of the run."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lab import Lab

from simfl.errors import ScenarioError
from simfl.strategy.methods.fedasync import FedAsync
from simfl.strategy.methods.late.fedasmu import FedAsmu
from simfl.strategy.weighting import Weighting

CENTRES = [[float(i), 1.0 - i] for i in range(5)]
positive = st.floats(0.01, 100.0)


def uneven(device, index):
    return 1.0 + device * 0.7071 + index * 0.0137


def test_without_lam_it_is_fedasync_with_a_constant_alpha_bit_for_bit():
    mu, iota = 1.5, 0.75
    constant = FedAsync(
        concurrency=4, alpha=mu * iota / (1.0 + mu * iota), weighting=Weighting(), mode="mix"
    )
    plain = Lab(CENTRES, uneven).play(constant, versions=30)
    strategy = FedAsmu(concurrency=4, mu=mu, lam=0.0, iota=iota)
    lab = Lab(CENTRES, uneven).play(strategy, versions=30)
    assert torch.equal(lab.params.flat, plain.params.flat)
    assert max(staleness for _, staleness, _ in lab.applied) > 1


def test_a_weight_by_hand():
    """ξ = 2/(3 · 4^0.5) + 0.1 at the ninth version, for an update three versions old."""
    xi = 2.0 / 6.0 + 0.1
    alpha = FedAsmu(mu=0.5, lam=2.0, sigma=0.5, iota=0.1).alpha(9, 3)
    assert alpha == pytest.approx(0.5 * xi / (1.0 + 0.5 * xi))


@given(positive, positive, positive, st.integers(1, 1000), st.integers(0, 100))
def test_weights_are_between_0_and_1_and_fall_with_age_and_with_time(mu, lam, sigma, t, tau):
    strategy = FedAsmu(mu=mu, lam=lam, sigma=sigma, iota=0.25)
    now = strategy.alpha(t, tau)
    assert 0.0 < now < 1.0
    assert strategy.alpha(t, tau + 1) <= now
    assert strategy.alpha(t + 1, tau) <= now
    assert now >= mu * 0.25 / (1 + mu * 0.25) * (1 - 1e-9)


def test_weights_that_are_all_zero_are_refused():
    with pytest.raises(ScenarioError, match="iota = 0"):
        FedAsmu(lam=0.0, iota=0.0)
