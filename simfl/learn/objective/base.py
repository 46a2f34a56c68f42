"""Objectives: what a model's outputs are compared with their targets by.

An objective has `loss(outputs, targets) -> (n,)`, one loss for each example of a batch, and names
`metrics` that every evaluation has beside it. Training minimises the mean loss of a mini-batch.
Any object with these two will do; `Objective` gives it the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from simfl.errors import PluginError, plugin_errors
from simfl.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from simfl.learn.datasets.base import Dataset

#: Each entry is a frozen dataclass of options with the methods of `Objective`.
OBJECTIVES = Registry(
    "objective",
    "simfl.objectives",
    {
        "bce": "simfl.learn.objective.losses:Bce",
        "cross-entropy": "simfl.learn.objective.losses:CrossEntropy",
        "mse": "simfl.learn.objective.losses:Mse",
        "next-token": "simfl.learn.objective.losses:NextToken",
    },
)


class Objective:
    """What is minimised. n: examples of a batch, whatever else the shapes hold.

    metrics: what evaluations have beside `loss` and `accuracy`: anything that the option
        `learning.metrics` takes.
    """

    metrics: ClassVar[Sequence[Any]] = ()

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(n,) loss of each example, differentiable."""
        raise NotImplementedError

    def right(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        """(n,) share of right answers in each example, for `accuracy`; None where none is right.

        NaN for an example whose outputs are no answer.
        """
        return None

    def check(self, dataset: Dataset) -> None:
        """Raises DataError where the targets are not of the kind that the loss compares with."""


@dataclass(frozen=True)
class OwnObjective(Objective):
    """An object with `loss` and perhaps `metrics` and `right`, made by others."""

    own: Any

    @property
    def metrics(self) -> Sequence[Any]:  # type: ignore[override]
        return tuple(getattr(self.own, "metrics", ()))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        with plugin_errors(f"objective {type(self.own).__name__}.loss"):
            losses = self.own.loss(outputs, targets)
            if getattr(losses, "shape", None) != (len(targets),):
                shape = tuple(getattr(losses, "shape", ())) or type(losses).__name__
                raise PluginError(
                    f"gave {shape} for {len(targets)} examples, expected a tensor of shape "
                    f"({len(targets)},): one loss for each, as with reduction='none'"
                )
            found: Tensor = losses
            return found

    def right(self, outputs: Tensor, targets: Tensor) -> Tensor | None:
        judge = getattr(self.own, "right", None)
        return None if judge is None else judge(outputs, targets)


def as_objective(given: Any) -> Objective:
    """The object itself, or one of another class with everything that simfl asks for."""
    return given if isinstance(given, Objective) else OwnObjective(given)


def has_right_answers(objective: Any) -> bool:
    """Whether an objective says what is right, so that there is an accuracy."""
    own = getattr(objective, "own", objective)
    return hasattr(own, "right") and getattr(type(own), "right", None) is not Objective.right


def title(objective: Objective) -> str:
    """What messages call it: the name of the class that its author wrote."""
    return type(getattr(objective, "own", objective)).__name__
