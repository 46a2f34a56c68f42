"""The objectives that simfl ships. Each loss is that of one example, so that batches can be unlike.

cross-entropy   classes (n,), or of every position (n, T): -log p(target)
next-token      tokens (n, T): the same, padding left out
mse             values (n,) or (n, k): mean over the k of (output - target)²
bce             flags (n, k) in [0, 1]: mean over the k of -log p(target), p = sigmoid(output)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from annotated_types import Ge, Lt

from simfl.errors import DataError
from simfl.lazy import functional as F
from simfl.lazy import torch
from simfl.learn.objective.base import Objective
from simfl.units import Index, NonNegative

if TYPE_CHECKING:
    from torch import Tensor

    from simfl.learn.datasets.base import Dataset


@dataclass(frozen=True)
class CrossEntropy(Objective):
    """Classes, one per example or per position of a sequence.

    label_smoothing: share of each target that goes to all classes alike.
    class_weights: one factor per class on the losses of its examples; the mean over a batch is
        that over its examples, whatever their weights.

    >>> import torch
    >>> CrossEntropy(class_weights=(1.0, 2.0)).loss(torch.zeros(2, 2), torch.tensor([0, 1]))
    tensor([0.6931, 1.3863])
    """

    label_smoothing: Annotated[float, Ge(0.0), Lt(1.0)] = 0.0
    class_weights: tuple[NonNegative, ...] | None = None

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        weights = None if self.class_weights is None else outputs.new_tensor(self.class_weights)
        each = F.cross_entropy(
            outputs.flatten(0, -2),
            targets.flatten(),
            weight=weights,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        return each if targets.ndim == 1 else each.view(targets.shape).mean(1)

    def right(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return _hits(outputs, targets).reshape(len(targets), -1).mean(1)

    def check(self, dataset: Dataset) -> None:
        need_classes(dataset, "cross-entropy")
        weights = self.class_weights
        if weights is not None and len(weights) != dataset.classes:
            raise DataError(
                f"learning.objective.class_weights has {len(weights)} entries, expected one for "
                f"each of the {dataset.classes} classes of {dataset.name}"
            )


#: Cross-entropy with nothing to it, which some trainers compute by hand.
PLAIN = CrossEntropy()


def is_plain(objective: Objective) -> bool:
    """Whether an objective is plain cross-entropy, and no subclass of it."""
    return type(objective) is CrossEntropy and objective == PLAIN


@dataclass(frozen=True)
class NextToken(Objective):
    """Language models: outputs (n, T, tokens), targets (n, T) the tokens that follow.

    ignore: the token that pads sequences; its positions count for nothing.
    """

    ignore: Index | None = None

    @property
    def metrics(self) -> Sequence[Any]:  # type: ignore[override]
        return ({"kind": "perplexity", "ignore": self.ignore},)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        each = F.cross_entropy(outputs.flatten(0, -2), targets.flatten(), reduction="none")
        return self._mean(each.view(targets.shape), targets)

    def right(self, outputs: Tensor, targets: Tensor) -> Tensor:
        return self._mean(_hits(outputs, targets), targets)

    def check(self, dataset: Dataset) -> None:
        need_classes(dataset, "next-token")
        if not dataset.sequence:
            raise DataError(
                f'{dataset.name} has one class per example, but learning.objective = "next-token" '
                'needs sequences: targets (n, T) and `sequence=True`; use "cross-entropy"'
            )

    def _mean(self, values: Tensor, targets: Tensor) -> Tensor:
        """(n,) mean of (n, T) values over the positions that count."""
        if self.ignore is None:
            return values.mean(1)
        counts = (targets != self.ignore).to(values.dtype)
        return (values * counts).sum(1) / counts.sum(1).clamp(min=1.0)


@dataclass(frozen=True)
class Mse(Objective):
    """Values: squared errors. Outputs (n, 1) fit targets (n,)."""

    metrics: ClassVar[Sequence[Any]] = ("mae",)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        errors = F.mse_loss(like(outputs, targets), targets, reduction="none")
        return errors if errors.ndim == 1 else errors.flatten(1).mean(1)

    def check(self, dataset: Dataset) -> None:
        need_values(dataset, "mse")


@dataclass(frozen=True)
class Bce(Objective):
    """Several flags per example, each true or not; `accuracy` is the share of flags that are right.

    positive_weights: one factor per flag on the loss where it is true, for rare flags.
    """

    positive_weights: tuple[NonNegative, ...] | None = None

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        given = self.positive_weights
        weights = None if given is None else outputs.new_tensor(given)
        each = F.binary_cross_entropy_with_logits(
            like(outputs, targets), targets, pos_weight=weights, reduction="none"
        )
        return each if each.ndim == 1 else each.flatten(1).mean(1)

    def right(self, outputs: Tensor, targets: Tensor) -> Tensor:
        scores = like(outputs, targets)
        hits = ((scores > 0) == (targets > 0.5)).double().masked_fill(scores.isnan(), nan)
        return hits.reshape(len(targets), -1).mean(1)

    def check(self, dataset: Dataset) -> None:
        need_values(dataset, "bce")
        for field in ("y", "y_test"):
            flags = getattr(dataset, field)
            if not bool(((flags >= 0) & (flags <= 1)).all()):
                low, high = float(flags.min()), float(flags.max())
                raise DataError(
                    f"{dataset.name}: {field} runs from {low:g} to {high:g}, but "
                    'learning.objective = "bce" needs flags between 0 and 1'
                )


def like(outputs: Tensor, targets: Tensor) -> Tensor:
    """The outputs in the shape of the targets. Raises ValueError where that would broadcast."""
    if outputs.shape == targets.shape:
        return outputs
    if outputs.numel() != targets.numel():
        raise ValueError(
            f"outputs of shape {tuple(outputs.shape)} for targets of shape "
            f"{tuple(targets.shape)}, expected one output for each target"
        )
    return outputs.reshape(targets.shape)


def need_classes(dataset: Dataset, objective: str) -> None:
    """Raises DataError where the targets are values."""
    if dataset.classes is None:
        raise DataError(
            f"{dataset.name} has values for targets and no classes, but learning.objective = "
            f'"{objective}" compares classes: use "mse" for values or "bce" for flags, or give '
            "whole numbers as y"
        )


def need_values(dataset: Dataset, objective: str) -> None:
    """Raises DataError where the targets are classes."""
    if dataset.classes is not None:
        raise DataError(
            f"{dataset.name} has {dataset.classes} classes for targets, but learning.objective = "
            f'"{objective}" compares values: give floating-point numbers, as in y.float(), or use '
            '"cross-entropy"'
        )


def _hits(outputs: Tensor, targets: Tensor) -> Tensor:
    """float64 in the shape of the targets: 1 where the largest output is the target's."""
    hits = (outputs.argmax(-1) == targets).double()
    return hits.masked_fill(torch.isnan(outputs).any(-1), nan)
