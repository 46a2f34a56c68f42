"""What every local rule keeps to: hooks are pure, and know nothing of how many train at once."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from simfl.params import Layout, Params
from simfl.strategy.base import Context, LocalRule, Report, Work
from simfl.strategy.special_rules import AffineRule, MomentumRule, PersonalRule
from simfl.testing.codecs import same
from simfl.wire.extras import extras_nbytes

_LAYOUT = Layout((("w", (3, 4)), ("b", (5,)), ("stat", (2,))), 17)


class Case:
    """A rule, and a task of its: what its hooks are called with.

    extras, memory: what the rule needs from the server and from the device; a name in both may
        stand for a tensor of the trained elements.
    """

    def __init__(
        self,
        rule: LocalRule,
        extras: Mapping[str, Any] | None = None,
        memory: Mapping[str, Any] | None = None,
    ) -> None:
        self.rule, self.extras, self.memory = rule, dict(extras or {}), dict(memory or {})
        self.base = Params(noise(0, _LAYOUT.size), _LAYOUT)
        self.work = Work(
            examples=30, mean_examples=25.0, epochs=2.0, steps=6, batch_size=10, lr=0.1,
            trainable=_LAYOUT.trainable, gradient=lambda point: 0.5 * point[: _LAYOUT.trainable],
        )  # fmt: skip

    def opened(self) -> tuple[Tensor, Context]:
        """Where training starts, and the context as a trainer completes it."""
        flat = self.base.flat.clone()
        start, context = self.rule.prepare(flat, self.extras, self.memory, self.work)
        return start, {**context, "base": flat[: _LAYOUT.trainable]}

    def report(self) -> Report:
        """What the device sends when it has moved away from where it started."""
        start, context = self.opened()
        end = start + 0.1 * noise(7, len(start))
        return self.rule.report(end, self.base.flat.clone(), context, self.work)


def check_local_rule(
    rule: LocalRule,
    extras: Mapping[str, Any] | None = None,
    memory: Mapping[str, Any] | None = None,
) -> None:
    """Raises AssertionError if a local rule breaks a contract.

    extras, memory: what the rule gets from its strategy, and what a device of its remembers; where
        these are needed, tensors of 17 trained elements, or 19 with the running statistics. A
        `PersonalRule` needs a model to split, and is checked by `check_strategy`.

    >>> from simfl.strategy.local_rules import Proximal
    >>> check_local_rule(Proximal(mu=0.1))
    """
    assert not isinstance(rule, PersonalRule), "a PersonalRule is checked by check_strategy"
    for contract in RULE_CONTRACTS:
        contract(Case(rule, extras, memory))


def noise(seed: int, *shape: int) -> Tensor:
    """Normal numbers that follow from the seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def a_model_to_start_from(case: Case) -> None:
    """`prepare` gives a model like the one received, and constants that fit its trained part."""
    start, context = case.opened()
    assert isinstance(start, Tensor), f"prepare returned {start!r} as a model"
    assert start.shape == case.base.flat.shape, f"prepare returned a model of {tuple(start.shape)}"
    for name, value in context.items():
        last = value.shape[-1] if value.ndim else 0
        assert last in (1, _LAYOUT.trainable), (
            f"context[{name!r}] has a last dimension of {last}, expected 1 or the number of "
            "trained elements"
        )


def a_report_that_travels(case: Case) -> None:
    """`report` gives a Report with a delta of the model's size, and extras as `sends` announces."""
    report = case.report()
    assert isinstance(report, Report), f"report returned {report!r}, expected a Report"
    size = report.delta.layout.size if isinstance(report.delta, Params) else len(report.delta)
    assert size <= _LAYOUT.size, f"report sends {size} elements of a model of {_LAYOUT.size}"
    stated = case.rule.sends(case.base)
    if stated is not None:
        announced, sent = (extras_nbytes(one, _LAYOUT) for one in (stated, report.extras))
        assert announced == sent, f"sends announces {announced} bytes, report sends {sent}"


def stacking(case: Case) -> None:
    """Hooks give each of several stacked models what they give it alone."""
    _, context = case.opened()
    t, hooks = _LAYOUT.trainable, _hooks(case.rule)
    grads, points = noise(1, 3, t), noise(2, 3, t)
    stacked = {name: value.expand(3, *value.shape) for name, value in context.items()}
    for name, hook in hooks.items():
        together = hook(grads, points, stacked)
        for at in range(3):
            alone = hook(grads[at], points[at], context)
            near = torch.allclose(together[at], alone, rtol=1e-5, atol=1e-6)
            assert near, (
                f"{name} depends on the other models of a stack: be elementwise, or reduce over "
                "the last dimension only"
            )


def _hooks(rule: LocalRule) -> dict[str, Any]:
    """The hooks of a step as functions of (gradient, point, context)."""
    found = {
        "penalty": lambda g, y, context: rule.penalty(y, context),
        "correct": rule.correct,
    }
    if isinstance(rule, MomentumRule):
        found["momentum_correction"] = lambda g, y, context: rule.momentum_correction(y, context)
    return found


def untouched_tensors(case: Case) -> None:
    """No hook alters what it is given."""
    _, context = case.opened()
    t = _LAYOUT.trainable
    grad, y = noise(1, t), noise(2, t)
    kept = [*case.extras.values(), *case.memory.values()]
    given = [grad, y, *context.values(), case.base.flat, *kept]
    before = copy.deepcopy(given)
    for hook in _hooks(case.rule).values():
        hook(grad, y, context)
    case.report()
    assert same(given, before), "a hook altered what it was given"


def the_affine_term(case: Case) -> None:
    """`affine` is what `penalty` and `correct` together add to a gradient."""
    rule = case.rule
    if not isinstance(rule, AffineRule):
        return
    _, context = case.opened()
    grad = noise(1, _LAYOUT.trainable)
    point = noise(2, _LAYOUT.trainable).requires_grad_()
    penalty = rule.penalty(point, context)
    slope = torch.zeros_like(grad)
    if penalty.requires_grad:
        (slope,) = torch.autograd.grad(penalty, point)
    point = point.detach()
    stated = rule.affine(context)
    expected = grad + stated.a * (point - context["base"]) + (0.0 if stated.b is None else stated.b)
    found = rule.correct(grad + slope, point, context)
    near = torch.allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert near, "affine is not what penalty and correct add to a gradient"


def a_memory_that_lasts(case: Case) -> None:
    """What a device keeps can be handed back to it."""
    kept = case.report().memory
    again = Case(case.rule, case.extras, kept or case.memory)
    a_model_to_start_from(again)


RULE_CONTRACTS = (
    a_model_to_start_from,
    a_report_that_travels,
    stacking,
    untouched_tensors,
    the_affine_term,
    a_memory_that_lasts,
)
