"""ASO-Fed: shares of the data, memories of gradients, and larger steps for the slow."""

from __future__ import annotations

from math import log

import pytest
import torch
from lab import LR, Lab

from simfl.errors import ScenarioError
from simfl.strategy.base import LocalRule, Work
from simfl.strategy.methods.fedasync import FedAsync
from simfl.strategy.methods.late.asofed import AsoFed, Balanced
from simfl.strategy.weighting import Weighting

CENTRES = [[float(i), 1.0 - i] for i in range(5)]


def uneven(device, index):
    return 1.0 + device * 0.7071 + index * 0.0137


PLAIN = FedAsync(concurrency=4, alpha=0.2, weighting=Weighting(), mode="delta")


@pytest.mark.parametrize("local", [LocalRule(), Balanced(lam=0.0, beta=0.0)])
def test_without_its_terms_it_is_plain_asynchrony_with_shares_of_data_bit_for_bit(local):
    """Five devices of equal size: each counts a fifth."""
    plain = Lab(CENTRES, uneven).play(PLAIN, versions=20)
    strategy = AsoFed(concurrency=4, hasten=False, local=local)
    lab = Lab(CENTRES, uneven).play(strategy, versions=20)
    assert torch.equal(lab.params.flat, plain.params.flat)


def test_an_update_weighs_as_its_device_s_share_of_all_data():
    sizes = [1, 2, 3, 4, 10]
    lab = Lab(CENTRES, uneven, sizes=sizes).play(AsoFed(concurrency=5), versions=15)
    for given, _, weight in lab.applied:
        assert weight == pytest.approx(sizes[given.device] / 20)


def report(rule, memory, slope, rate=1.0, steps=4, momentum=0.0):
    """What a device keeps whose loss has this gradient everywhere, and how far it went."""
    base = torch.zeros(2)
    work = Work(10, 10.0, 1.0, steps, 2, LR, momentum, 2)
    y, context = rule.prepare(base, {"rate": rate} if rate != 1.0 else {}, memory, work)
    context = {**context, "base": base}
    velocity = torch.zeros(2)
    for _ in range(steps):
        velocity = momentum * velocity + rule.correct(torch.tensor(slope), y, context)
        y = y - LR * velocity
    return rule.report(y, base, context, work)


@pytest.mark.parametrize("rate", [1.0, 2.5])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_what_is_remembered_is_the_mean_gradient_whatever_rate_and_momentum(rate, momentum):
    kept = {"gradient": torch.tensor([3.0, 0.0]), "h": torch.tensor([1.0, 1.0])}
    found = report(Balanced(lam=0.0, beta=0.2), kept, [1.0, -2.0], rate, momentum=momentum)
    assert torch.allclose(found.memory["gradient"], torch.tensor([1.0, -2.0]), atol=1e-5)
    assert torch.allclose(found.memory["h"], torch.tensor([0.2 + 0.8 * 3.0, 0.2]))


def test_the_path_leans_away_from_the_last_gradient_by_beta():
    """∇s - β (p - h): with p = (3, 0), h = (1, 0), β = 0.5 that is ∇s - (1, 0)."""
    kept = {"gradient": torch.tensor([3.0, 0.0]), "h": torch.tensor([1.0, 0.0])}
    delta = report(Balanced(lam=0.0, beta=0.5), kept, [4.0, 1.0]).delta
    assert torch.allclose(delta, -4 * LR * torch.tensor([3.0, 1.0]))


def test_lam_holds_a_device_near_the_model_it_received():
    paths = [report(Balanced(lam=lam), {}, [1.0, 1.0]).delta.norm() for lam in (0.0, 1.0, 5.0)]
    assert paths[0] > paths[1] > paths[2] > 0.0


def test_the_slow_take_steps_that_grow_with_the_logarithm_of_their_delay():
    strategy = AsoFed(concurrency=5, local=Balanced(lam=0.0, beta=0.0))
    lab = Lab(CENTRES, lambda device, index: 1.0 + 10.0 * device + index).play(
        strategy, versions=40
    )
    count, mean_s = lab.state.delays[3]
    assert count > 2
    assert mean_s == pytest.approx(31.0 + (count - 1) / 2)
    assert strategy.rate_of(lab.state, 3) == pytest.approx(log(mean_s))
    assert strategy.rate_of(lab.state, 0) >= 1.0
    assert strategy.rate_of(strategy.init(lab.params), 3) == 1.0
    last = {u.device: u for u, _, _ in lab.applied}[3]
    step = 1.0 - LR * log(31.0 + (count - 2) / 2)
    gone = (1.0 - step**5) * (torch.tensor(CENTRES[3]) - last.base.flat)
    assert torch.allclose(last.delta.flat, gone, rtol=1e-4)


def test_larger_steps_need_the_rule_that_takes_them():
    with pytest.raises(ScenarioError, match="balanced"):
        AsoFed(local=LocalRule())
