"""How a device learns under SPATL, step by step, on a model of three numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import simfl
from simfl.errors import ScenarioError
from simfl.learn.trainers.jobs import LocalData
from simfl.params import Layout
from simfl.strategy.base import LocalRule, Work
from simfl.strategy.methods.spatl.salient import Salient
from simfl.strategy.methods.spatl.strategy import Spatl
from simfl.strategy.special_rules import PersonalContext
from simfl.structure import ModelStructure

LR = 0.1
#: Two shared elements and a private one.
STRUCTURE = ModelStructure(Layout((("w", (2,)), ("head", (1,))), 3), (), ("head",))
ALL = {"agent": "all"}
C, C_I = torch.tensor([0.5, -1.0]), torch.tensor([0.2, 0.3])
BASE = torch.tensor([1.0, 2.0])


def work(steps: int, momentum: float = 0.0, **memory) -> Work:
    personal = PersonalContext(
        structure=STRUCTURE,
        initial=torch.tensor([9.0, 9.0, 4.0]),
        accuracy=lambda point: 0.0,
        seed=1,
        extras={"c": C},
        memory={"c_i": C_I, "rounds": 1, **memory},
    )
    return Work(10, 10.0, 1.0, steps, 5, LR, momentum, personal=personal)


def walked(rule: LocalRule, todo: Work):
    """The report after gradient descent on a quadratic, and the raw gradients met on the way."""
    start, context = rule.prepare(BASE, todo.personal.extras, todo.personal.memory, todo)
    y, v, met = start.clone(), torch.zeros(3), []
    for _ in range(todo.steps):
        met.append(torch.tensor([1.0, 2.0, 3.0]) * y)
        v = todo.momentum * v + rule.correct(met[-1], y, context)
        y = y - LR * (v + rule.momentum_correction(y, context))
    return rule.report(y, BASE, context, todo), torch.stack(met), y


def test_the_new_variate_is_the_mean_gradient_of_the_path():
    report, met, _ = walked(Salient(**ALL), work(4))
    assert torch.allclose(report.memory["c_i"], met[:, :2].mean(0), atol=1e-5)
    assert torch.allclose(report.extras["c"], report.memory["c_i"] - C_I, atol=1e-6)


@pytest.mark.parametrize("steps", [1, 5, 25])
def test_with_momentum_it_is_the_mean_weighted_as_the_path_weighs_them(steps):
    """Step k of K moves y by (1 - ρ^(K-k+1)) / (1 - ρ); plain K would be wrong up to tenfold."""
    rho = 0.9
    report, met, _ = walked(Salient(**ALL), work(steps, rho))
    a = (1.0 - rho ** torch.arange(steps, 0, -1)) / (1.0 - rho)
    expected = (a[:, None] * met[:, :2]).sum(0) / a.sum()
    assert torch.allclose(report.memory["c_i"], expected, atol=1e-4)


def test_the_head_is_never_corrected_and_never_sent():
    rule, plain = Salient(**ALL), Salient(control="none", **ALL)
    for steps in (1, 5):
        corrected, _, _ = walked(rule, work(steps))
        free, _, _ = walked(plain, work(steps))
        assert torch.equal(corrected.memory["head"], free.memory["head"])
        assert corrected.delta.shape == (2,)
        assert not torch.equal(corrected.delta, free.delta)


def test_a_device_goes_on_with_the_head_that_it_kept():
    start, _ = Salient(**ALL).prepare(BASE, {"c": C}, {}, work(1, head=torch.tensor([7.0])))
    assert start.tolist() == [1.0, 2.0, 7.0]


def test_post_step_control_is_the_published_loop():
    """An SGD step on the plain gradient, then y ← y - η κ (c - cᵢ); the variate divides by K."""
    rule, kappa, rho = Salient(control="post_step", kappa=0.5, **ALL), 0.5, 0.9
    report, _, y = walked(rule, work(3, rho))
    x, v = torch.tensor([1.0, 2.0, 4.0]), torch.zeros(3)
    for _ in range(3):
        v = rho * v + torch.tensor([1.0, 2.0, 3.0]) * x
        x = x - LR * v
        x[:2] -= LR * kappa * (C - C_I)
    assert torch.allclose(y, x, atol=1e-5)
    expected = C_I - C + (BASE - x[:2]) / (3 * LR)
    assert torch.allclose(report.memory["c_i"], expected, atol=1e-4)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_the_server_can_derive_what_a_device_would_have_sent(momentum):
    """-c - d / (aη), from the path's length alone."""
    told, _, _ = walked(Salient(**ALL), work(4, momentum))
    terse, _, _ = walked(Salient(cv_uplink="derived", **ALL), work(4, momentum))
    derived = -C - terse.delta / terse.extras["path"]
    assert torch.allclose(derived, told.extras["c"], atol=1e-5)
    assert torch.equal(terse.memory["c_i"], told.memory["c_i"])


def test_a_clipped_correction_still_gives_the_mean_gradient():
    rule = Salient(clip_shift=0.1, **ALL)
    report, met, _ = walked(rule, work(4))
    assert torch.allclose(report.memory["c_i"], met[:, :2].mean(0), atol=1e-5)
    _, context = rule.prepare(BASE, {"c": C}, {"c_i": C_I}, work(1))
    assert float(context["shift"].norm()) == pytest.approx(0.1)


def test_what_was_clipped_cannot_be_derived():
    with pytest.raises(ScenarioError, match="explicit"):
        Salient(clip_shift=1.0, cv_uplink="derived")


def test_a_task_tries_more_plans_while_its_agent_learns():
    rule = Salient(episodes=30, finetune_rounds=2, plans=5)
    assert [rule.trials({"rounds": n}) for n in (0, 1, 2, 3)] == [30, 30, 5, 5]
    assert rule.trials({}) == 30
    assert Salient(agent="uniform").trials({}) == Salient(agent="all").trials({}) == 0


REWARDED = {
    "fleet": {"group": [{"compute": {"kind": "constant", "s": 1.0}, "count": 2}]},
    "learning": {
        "dataset": "digits",
        "partition": "iid",
        "model": {"kind": "convnet", "channels": [2], "hidden": []},
        "batch_size": 80,
        "hold_back": 0.75,
    },
    "strategy": {
        "kind": "spatl", "cohort": 2,
        "local": {"kind": "salient", "agent": "random", "episodes": 2, "reward_examples": 500},
    },
    "stop": {"versions": 1},
}  # fmt: skip


def test_a_reward_stands_on_as_many_held_back_examples_as_were_asked_for(monkeypatch):
    seen, held_back = [], LocalData.held_back

    def noted(self, device):
        seen.append(len(held_back(self, device)[1]))
        return held_back(self, device)

    monkeypatch.setattr(LocalData, "held_back", noted)
    simfl.run(REWARDED)
    assert seen
    assert min(seen) >= 500


@pytest.mark.parametrize(("share", "held"), [(0.1, 72), (0.0, 0)])
def test_a_run_whose_devices_hold_back_less_is_refused_before_it_starts(share, held):
    with pytest.raises(ScenarioError, match=rf"device 0 holds back {held} of its 7\d\d examples"):
        simfl.run(REWARDED, **{"learning.hold_back": share})
    every = {"learning.hold_back": share, "strategy.local.agent": "all"}
    assert simfl.run(REWARDED, **every).summary["versions"] == 1


def test_a_task_that_sends_everything_tries_nothing():
    rule = Salient(episodes=30, full_every=3)
    assert [rule.trials({"rounds": n}) for n in range(4)] == [30, 30, 0, 30]


def test_filters_are_chosen_where_there_are_some():
    with pytest.raises(ScenarioError, match="no convolutions"):
        Salient().split(STRUCTURE)


def test_spatl_needs_its_local_rule():
    with pytest.raises(ScenarioError, match="salient"):
        Spatl(local=LocalRule())


def test_no_variate_means_no_correction():
    def shift(rule: LocalRule) -> Tensor:
        return rule.prepare(BASE, {"c": C}, {"c_i": C_I}, work(1))[1]["shift"]

    assert not shift(Salient(control="none", **ALL)).any()
    assert shift(Salient(**ALL)).tolist() == pytest.approx([0.3, -1.3, 0.0])
