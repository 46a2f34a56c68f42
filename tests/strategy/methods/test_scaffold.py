"""Control variates."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from lab import LR, Lab

import simfl
from simfl.errors import ScenarioError
from simfl.strategy.base import LocalRule, Work
from simfl.strategy.methods.fedavg import FedAvg
from simfl.strategy.methods.scaffold import AsyncScaffold, ControlVariate, Scaffold
from simfl.strategy.weighting import Weighting

CENTRES = [[float(i), 1.0 - i] for i in range(5)]


def uneven(device, index):
    return 1.0 + device * 0.7071 + index * 0.0137


def variates(lab):
    """(N, T) what the devices keep; zero for those never heard of."""
    zero = torch.zeros(lab.params.layout.trainable)
    return torch.stack([lab._memory.get(i, {}).get("c_i", zero) for i in range(lab.devices)])


@pytest.mark.parametrize("option", ["I", "II"])
@pytest.mark.parametrize(
    "family", [Scaffold(cohort=3), AsyncScaffold(concurrency=3, buffer=2)], ids=["sync", "async"]
)
def test_the_server_variate_is_the_mean_over_the_whole_fleet(family, option):
    """Also when uploads are lost: a lost upload leaves both sides as they were."""
    strategy = replace(family, local=ControlVariate(option=option))
    lab = Lab(CENTRES, uneven, lost_tasks=lambda serial: serial % 5 == 1)
    lab.play(strategy, versions=9)
    pending = [u.extras["c"] for u in lab.open.values()]  # delivered, not folded yet
    known = lab.state.c + sum(pending) / lab.devices if pending else lab.state.c
    assert torch.allclose(known, variates(lab).mean(0), atol=1e-5)


@pytest.mark.parametrize("weights", ["examples", "uniform"])
def test_the_first_round_is_fedavg_with_the_same_weights(weights):
    pair = (Scaffold(cohort=3, weights=weights), FedAvg(cohort=3, weights=weights))
    a, b = (Lab(CENTRES, sizes=[2, 4, 10, 20, 64]).play(strategy, 1) for strategy in pair)
    assert torch.equal(a.params.flat, b.params.flat)


def test_one_step_of_option_two_keeps_exactly_the_gradient():
    lab = Lab(CENTRES).play(Scaffold(cohort=5, steps=1), versions=3)
    before = lab.models[-2].flat
    gradient = before - lab.centres
    assert torch.allclose(variates(lab), gradient, atol=1e-5)


def test_one_step_of_everybody_is_gradient_descent():
    lab = Lab(CENTRES).play(Scaffold(cohort=5, steps=1), versions=7)
    w = torch.zeros(2)
    for _ in range(7):
        w -= LR * (w - lab.centres.mean(0))
    assert torch.allclose(lab.params.flat, w, atol=1e-5)


def test_drift_is_gone_once_everybody_has_taken_part():
    """Every device then walks the same path, whatever its own optimum."""
    lab = Lab(CENTRES).play(Scaffold(cohort=5, local=ControlVariate(option="I")), versions=2)
    first, second = (
        torch.stack([u.delta.flat for u, _, _ in part]).std(0)
        for part in (lab.applied[:5], lab.applied[5:])
    )
    assert (first > 0.1).all()
    assert torch.allclose(second, torch.zeros(2), atol=1e-6)


def test_identical_devices_need_no_correction():
    lab = Lab([[1.0, 2.0]] * 4).play(Scaffold(cohort=4), versions=3)
    assert torch.allclose(lab.state.c - variates(lab), torch.zeros(4, 2), atol=1e-5)


def test_running_statistics_have_no_variate():
    lab = Lab([[1.0, 0.0], [2.0, 0.0]], buffers=1).play(Scaffold(cohort=2), versions=2)
    assert lab.state.c.shape == (1,)
    assert lab.params.flat[1] == 10.0  # five steps a round, averaged plainly


def test_option_one_takes_the_time_of_one_more_pass():
    """Two epochs and a pass against two epochs, on devices whose time goes with their work."""
    seconds = {}
    for option in ("I", "II"):
        local = {"kind": "controlvariate", "option": option}
        table = {
            "fleet": {"group": [{"compute": {"gflops": 1.0}, "count": 4}]},
            "learning": {
                "dataset": "none",
                "parameters": 9,
                "examples": 10,
                "flops_per_example": 1e9,
            },
            "strategy": {"kind": "scaffold", "cohort": 4, "epochs": 2, "local": local},
            "stop": {"versions": 2},
        }
        seconds[option] = simfl.run(table).tasks.train_s
    assert seconds["I"].tolist() == pytest.approx((seconds["II"] * 1.5).tolist())


def test_scaffold_needs_its_local_rule():
    with pytest.raises(ScenarioError, match="controlvariate"):
        Scaffold(local=LocalRule())


def reported(momentum, steps=25, lr=0.1, **known):
    """What a device reports that meets the gradient 1 at each step."""
    y, velocity = torch.zeros(1), torch.zeros(1)
    for _ in range(steps):
        velocity = momentum * velocity + 1.0
        y = y - lr * velocity
    context = {"c": torch.zeros(1), "c_i": torch.zeros(1), "shift": torch.zeros(1)}
    work = Work(10, 10.0, 1.0, steps, 2, lr, momentum, 1, **known)
    return ControlVariate().report(y, torch.zeros(1), context, work)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("steps", [1, 25])
def test_the_variate_is_the_mean_gradient_whatever_the_momentum(momentum, steps):
    assert reported(momentum, steps).memory["c_i"].item() == pytest.approx(1.0, rel=1e-5)


SIZES = [2, 4, 10, 20, 64]


@pytest.mark.parametrize(
    "strategy",
    [Scaffold(cohort=2), AsyncScaffold(concurrency=2, buffer=2, weighting=Weighting())],
    ids=["sync", "async"],
)
@pytest.mark.parametrize("weights", ["examples", "uniform"])
def test_the_model_comes_to_rest_where_the_objective_of_its_weights_does(strategy, weights):
    """The centre of all examples, or with the paper's letter that of all devices."""
    sizes = torch.tensor(SIZES, dtype=torch.float32)
    shares = sizes / sizes.sum() if weights == "examples" else torch.full((5,), 0.2)
    expected = shares @ torch.tensor(CENTRES)
    lab = Lab(CENTRES, uneven, sizes=SIZES).play(replace(strategy, weights=weights), versions=400)
    assert torch.allclose(lab.params.flat, expected, atol=0.02)


@pytest.mark.parametrize("weights", ["examples", "uniform"])
def test_the_server_variate_weighs_devices_as_the_objective_does(weights):
    lab = Lab(CENTRES, uneven, sizes=SIZES).play(Scaffold(cohort=3, weights=weights), versions=9)
    sizes = torch.tensor(SIZES, dtype=torch.float32)
    shares = sizes / sizes.sum() if weights == "examples" else torch.full((5,), 0.2)
    assert torch.allclose(lab.state.c, shares @ variates(lab), atol=1e-5)
