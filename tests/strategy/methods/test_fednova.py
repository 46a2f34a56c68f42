"""Normalised averaging."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lab import LR, Lab, params, update

from simfl.errors import ScenarioError
from simfl.scenario import parse
from simfl.strategy.local_rules import Proximal, path_length
from simfl.strategy.methods.fedavg import FedAvg
from simfl.strategy.methods.fednova import FedNova, Normalised

CENTRES = [[float(i), 1.0 - i] for i in range(4)]


def test_equal_steps_make_fedavg():
    sizes = [1, 2, 3, 4]
    a, b = (Lab(CENTRES, sizes=sizes).play(s, 4) for s in (FedNova(cohort=4), FedAvg(cohort=4)))
    assert torch.allclose(a.params.flat, b.params.flat, atol=1e-6)


def test_a_device_that_does_more_steps_does_not_pull_harder():
    """Equal gradients: the direction of each device counts once, however far it went."""
    strategy = FedNova()
    deltas = [update(0, params(2.0, 0.0), steps=2), update(1, params(0.0, 10.0), steps=10)]
    x, y = strategy.fold({}, Lab(), deltas).delta.flat.tolist()
    assert x == pytest.approx(y)
    assert x == pytest.approx(6 * 0.5)  # τ_eff = (2 + 10)/2


def test_the_effective_length_is_in_steps_with_a_proximal_term():
    extras = {"length": 2.0, "proximal": True}
    one = [update(0, params(2.0), steps=4, extras=extras)]
    assert FedNova().fold({}, Lab(), one).delta.flat.item() == 4.0  # 4 steps · 2.0/2


@given(st.integers(1, 30), st.floats(0.0, 0.95))
def test_the_length_of_a_path_with_momentum(k, rho):
    expected = (k - rho * (1 - rho**k) / (1 - rho)) / (1 - rho)
    assert path_length(k, LR, momentum=rho) == pytest.approx(expected, rel=1e-6)


@given(st.integers(1, 30), st.floats(0.01, 2.0))
def test_the_length_of_a_path_with_a_proximal_term(k, mu):
    expected = (1 - (1 - LR * mu) ** k) / (LR * mu)
    assert path_length(k, LR, mu=mu) == pytest.approx(expected, rel=1e-5)


def test_devices_send_the_length_of_their_path():
    lab = Lab(CENTRES).play(FedNova(cohort=2, local=Normalised(mu=1.0)), versions=1)
    expected = path_length(5, LR, mu=1.0)
    assert [u.extras for u, _, _ in lab.applied] == [{"length": expected, "proximal": True}] * 2


def table(**learning):
    return {
        "fleet": {"group": [{"compute": {"kind": "constant", "s": 1.0}, "count": 4}]},
        "learning": {"dataset": "digits", "model": "softmax", **learning},
        "strategy": {"kind": "fednova", "cohort": 4},
        "stop": {"versions": 2},
    }


def test_momentum_without_the_rule_is_refused_with_what_to_write():
    with pytest.raises(ScenarioError, match=r'momentum = 0\.9.*local = \{ kind = "normalised" \}'):
        parse(table(momentum=0.9))
    parse(table(momentum=0.9), {"strategy.local": "normalised"})
    parse(table())


def test_a_proximal_term_without_the_rule_is_refused_with_what_to_write():
    with pytest.raises(ScenarioError, match=r'kind = "normalised", mu = 0\.5'):
        FedNova(local=Proximal(mu=0.5))
