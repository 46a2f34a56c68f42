"""Every contract of `simfl.testing` finds the part that breaks it, and says which it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy

import simfl
from simfl.learn.objective.losses import Bce, CrossEntropy, Mse, NextToken
from simfl.strategy.local_rules import Proximal
from simfl.strategy.methods.feddyn import Dynamic
from simfl.strategy.methods.fednova import Normalised
from simfl.strategy.methods.quafl import OwnModel
from simfl.strategy.methods.scaffold import ControlVariate
from simfl.strategy.special_rules import Affine, AffineRule
from simfl.testing import (
    FakeServer,
    check_local_rule,
    check_objective,
    check_strategy,
    params,
    rules,
    strategies,
    update,
)
from simfl.testing.rules import RULE_CONTRACTS, noise
from simfl.testing.strategies import STRATEGY_CONTRACTS, Played

C, H = noise(1, 17), noise(2, 17)
RULES = {
    "plain": (simfl.LocalRule(), {}, {}),
    "proximal": (Proximal(0.5), {}, {}),
    "normalised": (Normalised(0.5), {}, {}),
    "variate": (ControlVariate(), {"c": C}, {"c_i": H}),
    "first variate": (ControlVariate("I"), {"c": C}, {}),
    "dynamic": (Dynamic(0.1), {}, {"h": H}),
}


@pytest.mark.parametrize("contract", RULE_CONTRACTS, ids=lambda contract: contract.__name__)
@pytest.mark.parametrize(("rule", "extras", "memory"), RULES.values(), ids=RULES)
def test_shipped_rules_keep_the_contracts(
    rule: Any, extras: Any, memory: Any, contract: Callable[[rules.Case], None]
) -> None:
    contract(rules.Case(rule, extras, memory))


class Shifted(simfl.LocalRule):
    def prepare(self, base: Any, extras: Any, memory: Any, work: Any) -> Any:
        return base[:-1], {}


class Odd(simfl.LocalRule):
    def prepare(self, base: Any, extras: Any, memory: Any, work: Any) -> Any:
        return base, {"c": base[:3]}


class Silent(simfl.LocalRule):
    def sends(self, params: Any) -> Any:
        return {}

    def report(self, end: Any, base: Any, context: Any, work: Any) -> Any:
        return simfl.Report(end - base, {"more": end})


class Mixes(simfl.LocalRule):
    def correct(self, grad: Any, y: Any, context: Any) -> Any:
        return grad - grad.mean()


class Writes(simfl.LocalRule):
    def correct(self, grad: Any, y: Any, context: Any) -> Any:
        return grad.mul_(0.5)


class Claims(AffineRule):
    def penalty(self, y: Any, context: Any) -> Any:
        return (y - context["base"]).square().sum(-1)

    def affine(self, context: Any) -> Affine:
        return Affine(1.0, None)


class Forgets(simfl.LocalRule):
    def prepare(self, base: Any, extras: Any, memory: Any, work: Any) -> Any:
        return base, {"h": memory["h"]} if memory else {}

    def report(self, end: Any, base: Any, context: Any, work: Any) -> Any:
        return simfl.Report(end - base, memory={"g": end})


BROKEN_RULES = {
    Shifted: r"prepare returned a model of \(18,\)",
    Odd: "context'?.*has a last dimension of 3",
    Silent: "sends announces 0 bytes, report sends",
    Mixes: "correct depends on the other models of a stack",
    Writes: "a hook altered what it was given",
    Claims: "affine is not what penalty and correct add",
    Forgets: "h",
}


@pytest.mark.parametrize(("rule", "said"), BROKEN_RULES.items(), ids=lambda part: str(part)[:30])
def test_a_rule_that_breaks_one_is_found(rule: Any, said: str) -> None:
    with pytest.raises((AssertionError, KeyError), match=said):
        check_local_rule(rule())


def test_a_personal_rule_is_checked_on_a_model() -> None:
    with pytest.raises(AssertionError, match="checked by check_strategy"):
        check_local_rule(simfl.PersonalRule())
    check_local_rule(OwnModel(), memory={"own": noise(3, 19)})


BATCHES = {
    "classes": (CrossEntropy(), None, None),
    "weights": (CrossEntropy(0.1, (1.0, 2.0, 3.0)), None, None),
    "values": (Mse(), noise(0, 6, 1), noise(1, 6)),
    "flags": (Bce(), noise(0, 6, 3), (noise(1, 6, 3) > 0).float()),
    "tokens": (NextToken(), noise(0, 4, 5, 3), torch.arange(20).view(4, 5) % 3),
}


@pytest.mark.parametrize("batch", BATCHES.values(), ids=BATCHES)
def test_shipped_objectives_keep_the_contracts(batch: Any) -> None:
    check_objective(*batch)


class Own:
    def __init__(self, loss: Callable[..., Any]) -> None:
        self.loss = loss


BROKEN_LOSSES = {
    "one for all": (cross_entropy, r"loss has the shape \(\), expected \(6,\)"),
    "together": (lambda o, t: o.square().sum(-1) / o.norm(), "alone example 0 has the loss"),
    "detached": (lambda o, t: o.detach().sum(-1), "left torch on the way"),
    "flat": (lambda o, t: (o * 0).sum(-1), "zero, so nothing would be learnt"),
    "writes": (lambda o, t: o.mul_(1.5).square().sum(-1), "alone example 0"),
    "infinite": (lambda o, t: o.sum(-1) / 0, "not finite"),
}


@pytest.mark.parametrize(("loss", "said"), BROKEN_LOSSES.values(), ids=BROKEN_LOSSES)
def test_an_objective_that_breaks_one_is_found(loss: Any, said: str) -> None:
    with pytest.raises(AssertionError, match=said):
        check_objective(Own(loss))


@dataclass(frozen=True)
class Steady:
    """Keeps a few devices busy; what is odd about it is told by `odd`."""

    concurrency: int = 4
    odd: str = ""
    seen: list = field(default_factory=list)
    local: simfl.LocalRule = field(default_factory=simfl.LocalRule)

    def init(self, params: Any) -> list:
        return []

    def step(self, state: list, server: Any, updates: list) -> simfl.Wait:
        if self.odd == "hoards":
            self.seen.extend(updates)
        for one in updates:
            weight = 0.5 if self.odd != "counts" else 1.0 / (1 + len(self.seen))
            if self.odd == "counts":
                self.seen.append(one.device)
            server.apply(simfl.Change(one.delta * weight, {one.task: weight}))
        if self.odd == "gives up" and (server.lost or self.seen):
            self.seen.append(True)
            return simfl.Wait(within=1.0)
        room = self.concurrency - server.in_flight + (self.odd == "greedy")
        server.dispatch(server.sample(room), epochs=1.0)
        return simfl.Wait(arrivals=1)


def contract(name: str) -> Callable[[Played], None]:
    return next(one for one in STRATEGY_CONTRACTS if one.__name__ == name)


BROKEN_STRATEGIES = {
    "counts": ("a_run_repeats", "state outside of `init`"),
    "greedy": ("one_task_a_device", "5 tasks were in flight, concurrency is 4"),
    "gives up": ("everything_is_lost", "it stopped asking when tasks were lost"),
}


@pytest.mark.parametrize("odd", BROKEN_STRATEGIES)
def test_a_strategy_that_breaks_one_is_found(odd: str) -> None:
    name, said = BROKEN_STRATEGIES[odd]
    with pytest.raises(AssertionError, match=said):
        contract(name)(Played(Steady(odd=odd)))


@pytest.mark.study
def test_a_strategy_that_keeps_them_passes_as_an_instance_and_as_a_table() -> None:
    check_strategy(Steady())
    check_strategy({"kind": "fedavg", "cohort": 4})


def test_the_fake_server_refuses_what_a_real_one_does() -> None:
    server = FakeServer(centres=[[0.0], [1.0]])
    serials = server.dispatch([0, 1], epochs=1)
    with pytest.raises(AssertionError, match="device 1 is busy or away"):
        server.dispatch([1], epochs=1)
    early = {serials[0]: 1.0}
    with pytest.raises(AssertionError, match=r"tasks \[0\] were applied before they arrived"):
        server.apply(simfl.Change(params(1.0), early))
    one = update(1, 2.0, server=server)
    assert (one.device, one.delta, one.staleness) == (1, 2.0, 0)
    assert strategies.AT_ONCE == ("cohort", "concurrency")
