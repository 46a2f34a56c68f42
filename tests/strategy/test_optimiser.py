"""Server optimisers: hand-computed steps and limit cases."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lab import Lab, params

from simfl.messages import NOTHING
from simfl.params import Layout, Params
from simfl.strategy.methods.fedavg import FedAvg
from simfl.strategy.methods.fedbuff import FedBuff
from simfl.strategy.optimiser import Adagrad, Adam, Amsgrad, Momentum, ServerOptimiser, Yogi

ALL = [ServerOptimiser(), Momentum(), Adagrad(), Adam(), Yogi(), Amsgrad()]
CENTRES = [[float(i), 1.0 - i] for i in range(4)]


def run(optimiser, *deltas):
    """The directions that a sequence of one-element folds leads to, and the last moments."""
    moments, directions = optimiser.init(params(0.0)), []
    for delta in deltas:
        moments, direction = optimiser.step(moments, params(delta))
        directions.append(direction.flat.item())
    return directions, moments


@pytest.mark.parametrize("family", [FedAvg(cohort=4), FedBuff(concurrency=3, buffer=2)])
def test_no_momentum_is_no_optimiser(family):
    with_it = replace(family, server_optimiser=Momentum(beta=0.0))
    a, b = (Lab(CENTRES).play(s, versions=4) for s in (family, with_it))
    assert all(torch.equal(x.flat, y.flat) for x, y in zip(a.models, b.models, strict=True))


def test_momentum_and_nesterov_by_hand():
    assert run(Momentum(beta=0.5), 1.0, 1.0, 0.0)[0] == [1.0, 1.5, 0.75]
    assert run(Momentum(beta=0.5, nesterov=True), 1.0, 1.0)[0] == [1.5, 1.75]


def test_adam_by_hand_without_bias_correction():
    (first, second), _ = run(Adam(beta1=0.9, beta2=0.99, eps=0.1), 2.0, 0.0)
    v = 0.99 * 0.01 + 0.01 * 4.0
    assert first == pytest.approx(0.2 / (v**0.5 + 0.1), rel=1e-6)
    assert second == pytest.approx(0.18 / ((0.99 * v) ** 0.5 + 0.1), rel=1e-6)


def test_adagrad_adds_squares():
    assert run(Adagrad(eps=1e-3), 3.0, 4.0)[0][1] == pytest.approx(4.0 / 5.0, rel=1e-3)


def test_yogi_keeps_v_where_it_equals_the_square():
    assert run(Yogi(eps=0.5), 0.5)[1].v.flat.item() == 0.25


@given(st.floats(-3, 3), st.floats(-3, 3))
def test_yogi_moves_v_by_at_most_the_square(first, second):
    optimiser = Yogi()
    _, before = run(optimiser, first)
    _, after = run(optimiser, first, second)
    moved = abs(after.v.flat.item() - before.v.flat.item())
    assert moved <= (1 - optimiser.beta2) * second**2 + 1e-6


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=6))
def test_the_divisor_of_amsgrad_never_falls(deltas):
    tops = [run(Amsgrad(), *deltas[: k + 1])[1].top.flat.item() for k in range(len(deltas))]
    assert tops == sorted(tops)


def test_an_empty_fold_moves_adagrad_nowhere_and_adam_by_its_memory():
    assert run(Adagrad(), 1.0, 0.0)[0][1] == 0.0
    assert run(Adam(), 1.0, 0.0)[0][1] > 0.0


@pytest.mark.parametrize("kind", [Adagrad, Adam, Yogi])
def test_a_large_epsilon_is_a_plain_server_rate(kind):
    """server_lr = 2εc with β₁ = 0 is FedAvg with rate c: v starts at ε², twice the divisor."""
    (direction,), _ = run(kind(beta1=0.0, eps=1e4), 0.7)
    assert 1e4 * 2 * direction == pytest.approx(0.7, rel=0.01)


@pytest.mark.parametrize("optimiser", ALL)
def test_running_statistics_keep_their_plain_average(optimiser):
    layout = Layout((("x", (1,)), ("stat", (1,))), 1)
    start = Params(torch.zeros(2), layout)
    _, direction = optimiser.step(optimiser.init(start), Params(torch.tensor([1.0, 7.0]), layout))
    assert direction.flat[1] == 7.0


@pytest.mark.parametrize("optimiser", ALL)
def test_every_optimiser_runs_without_learning(optimiser):
    assert optimiser.step(optimiser.init(NOTHING), NOTHING)[1] is NOTHING


@pytest.mark.parametrize("optimiser", ALL[1:])
def test_every_optimiser_approaches_the_optimum(optimiser):
    lr = 0.1 if isinstance(optimiser, Momentum) else 0.3
    strategy = FedAvg(cohort=4, server_lr=lr, server_optimiser=optimiser)
    lab = Lab(CENTRES).play(strategy, versions=150)
    assert torch.allclose(lab.params.flat, torch.tensor([1.5, -0.5]), atol=0.1)
