"""FedProx: the proximal term and partial work."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lab import Lab

from simfl.strategy.local_rules import Proximal
from simfl.strategy.methods.fedavg import FedAvg
from simfl.strategy.methods.fedprox import FedProx

CENTRES = [[float(i), 1.0 - i] for i in range(8)]
PROX = FedProx(cohort=4, local=Proximal(mu=0.0))


def models(lab):
    return [model.flat.tolist() for model in lab.models]


def test_mu_zero_without_stragglers_is_fedavg():
    a, b = (Lab(CENTRES).play(s, versions=5) for s in (PROX, FedAvg(cohort=4)))
    assert models(a) == models(b)


def test_the_first_step_does_not_depend_on_mu():
    a, b = (
        Lab(CENTRES).play(replace(PROX, steps=1, local=Proximal(mu=mu)), versions=1)
        for mu in (0.0, 5.0)
    )
    assert models(a) == models(b)


@given(st.floats(0.5, 5.0), st.floats(0.0, 5.0))
def test_many_steps_end_between_the_optimum_and_the_model_received(a, mu):
    """F(y) = (a/2)(y - z)²: y = (az + μw)/(a + μ)."""
    strategy = FedProx(cohort=1, steps=400, local=Proximal(mu=mu))
    lab = Lab([[3.0]], start=1.0, curvature=a).play(strategy, versions=1)
    assert lab.params.flat.item() == pytest.approx((a * 3.0 + mu * 1.0) / (a + mu), abs=1e-3)


def test_devices_stray_less_the_larger_mu_is():
    moved = [
        Lab([[3.0]]).play(FedProx(cohort=1, local=Proximal(mu=mu)), versions=1).params.norm()
        for mu in (0.0, 0.1, 1.0, 5.0)
    ]
    assert moved == sorted(moved, reverse=True)


def test_stragglers_are_asked_for_fewer_whole_epochs():
    lab = Lab(CENTRES).play(replace(PROX, epochs=10.0, stragglers=0.5), versions=6)
    epochs = torch.tensor([float(e) for _, _, e, _ in lab.asked]).reshape(-1, 4)
    assert ((epochs == 10.0).sum(1) >= 2).all()
    assert (epochs < 10.0).any()
    assert torch.equal(epochs, epochs.round())


def test_a_straggler_may_get_as_far_as_the_others():
    lab = Lab(CENTRES).play(replace(PROX, epochs=2.0, stragglers=1.0), versions=6)
    assert {e for _, _, e, _ in lab.asked} == {1, 2}


def test_dropped_stragglers_are_waste():
    lab = Lab(CENTRES).play(replace(PROX, stragglers=0.5, on_straggler="drop"), versions=3)
    assert len(lab.applied) == len(lab.discarded) == 6
    assert {cause for _, cause in lab.discarded} == {"straggler"}
