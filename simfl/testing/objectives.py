"""What every objective keeps to."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from simfl.learn.objective.base import as_objective


def check_objective(
    objective: Any, outputs: Tensor | None = None, targets: Tensor | None = None
) -> None:
    """Raises AssertionError if an objective breaks a contract.

    outputs, targets: a batch of what a model gives and of what is right; by default six examples of
        three classes.

    >>> from simfl.learn.objective.losses import CrossEntropy
    >>> check_objective(CrossEntropy(label_smoothing=0.1))
    """
    if outputs is None or targets is None:
        outputs, targets = torch.arange(18.0).view(6, 3).sin(), torch.arange(6) % 3
    for contract in OBJECTIVE_CONTRACTS:
        contract(objective, outputs, targets)


def one_loss_each(objective: Any, outputs: Tensor, targets: Tensor) -> None:
    """There is one finite loss for each example."""
    losses = objective.loss(outputs, targets)
    expected = (len(targets),)
    shape = tuple(getattr(losses, "shape", ()))
    assert shape == expected, f"loss has the shape {shape}, expected {expected}: one an example"
    assert bool(torch.isfinite(losses).all()), "loss is not finite"


def examples_stand_alone(objective: Any, outputs: Tensor, targets: Tensor) -> None:
    """The loss of an example does not depend on the others of its batch."""
    together = objective.loss(outputs, targets)
    for at in range(len(targets)):
        alone = objective.loss(outputs[at : at + 1], targets[at : at + 1])[0]
        near = torch.allclose(alone, together[at], rtol=1e-5, atol=1e-6)
        assert near, f"alone example {at} has the loss {alone}, among others {together[at]}"


def differentiable(objective: Any, outputs: Tensor, targets: Tensor) -> None:
    """Its gradient in the outputs is finite, and not zero everywhere."""
    point = outputs.clone().requires_grad_()
    losses = objective.loss(point, targets)
    assert losses.requires_grad, "loss cannot be differentiated: it left torch on the way"
    (slope,) = torch.autograd.grad(losses.mean(), point)
    assert bool(torch.isfinite(slope).all()), "the gradient of loss is not finite"
    assert bool(slope.any()), "the gradient of loss is zero, so nothing would be learnt"


def pure(objective: Any, outputs: Tensor, targets: Tensor) -> None:
    """The same batch has the same loss, and is not altered."""
    before = outputs.clone(), targets.clone()
    first, second = (objective.loss(outputs, targets) for _ in range(2))
    assert torch.equal(first, second), "loss gave another value when it was called again"
    same = torch.equal(outputs, before[0]) and torch.equal(targets, before[1])
    assert same, "loss altered what it was given"


def shares_of_right_answers(objective: Any, outputs: Tensor, targets: Tensor) -> None:
    """`right`, where there is one, gives a share for each example."""
    right = as_objective(objective).right(outputs, targets)
    if right is None:
        return
    shape = tuple(right.shape)
    assert shape == (len(targets),), f"right has the shape {shape}, expected ({len(targets)},)"
    shares = right.double()
    assert bool(((shares >= 0) & (shares <= 1)).all()), "right gives shares outside of 0 to 1"


OBJECTIVE_CONTRACTS = (
    one_loss_each,
    examples_stand_alone,
    differentiable,
    pure,
    shares_of_right_answers,
)
