"""Metrics that torchmetrics computes, under the names that scenarios call them by.

Means over classes (or flags) are macro averages, each class counting alike, unless `average` says
otherwise. Which task it is follows from the data set: classes, or several flags per example.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from simfl.directions import Direction
from simfl.errors import DataError
from simfl.lazy import torch
from simfl.learn.objective.losses import like
from simfl.learn.objective.metrics import Tally
from simfl.units import Count

if TYPE_CHECKING:
    from torch import Tensor

    from simfl.learn.datasets.base import Dataset

Average = Literal["macro", "micro", "weighted"]


class Prepared:
    """A torchmetrics tally that sees outputs and targets through a function of both."""

    def __init__(self, tally: Any, prepare: Any) -> None:
        self._tally = tally
        self._prepare = prepare

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self._tally.update(*self._prepare(outputs, targets))

    def compute(self) -> Any:
        return self._tally.compute()


def _values(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Values in one shape, column by column of a table."""
    return like(outputs, targets).contiguous(), targets


def _choices(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(m, classes) outputs and (m,) targets, the positions of sequences one by one."""
    return outputs.flatten(0, -2), targets.flatten()


def _flags(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    return torch.sigmoid(like(outputs, targets)), targets.to(torch.int64)


def _classified(metric: str, dataset: Dataset, **options: Any) -> Tally:
    """One of torchmetrics' classification metrics, for the targets at hand."""
    from torchmetrics import classification

    if dataset.classes is not None:
        made = getattr(classification, f"Multiclass{metric}")
        return Prepared(made(num_classes=dataset.classes, **options), _choices)
    flags = 1 if dataset.y.ndim == 1 else int(dataset.y.shape[1])
    made = getattr(classification, f"Multilabel{metric}")
    _need_flags(metric, dataset)
    return Prepared(made(num_labels=flags, **options), _flags)


def _need_flags(metric: str, dataset: Dataset) -> None:
    """Raises DataError where targets are neither classes nor true or false."""
    if not bool(((dataset.y_test == 0) | (dataset.y_test == 1)).all()):
        raise DataError(
            f"learning.metrics: {metric} needs classes or flags of 0 and 1 for targets, but "
            f"{dataset.name} has other values; use mae, rmse, mape or r2"
        )


def _regressed(metric: str, **options: Any) -> Tally:
    import torchmetrics

    return Prepared(getattr(torchmetrics, metric)(**options), _values)


@dataclass(frozen=True)
class _Averaged:
    average: Average = "macro"

    direction: ClassVar[Direction] = "higher"
    name: ClassVar[str]
    metric: ClassVar[str]

    def __call__(self, dataset: Dataset) -> Tally:
        return _classified(self.metric, dataset, average=self.average)


@dataclass(frozen=True)
class F1(_Averaged):
    """Harmonic mean of precision and recall, of each class, and the mean over classes."""

    name: ClassVar[str] = "f1"
    metric: ClassVar[str] = "F1Score"


@dataclass(frozen=True)
class Precision(_Averaged):
    """Share of a class's answers that are right, mean over classes."""

    name: ClassVar[str] = "precision"
    metric: ClassVar[str] = "Precision"


@dataclass(frozen=True)
class Recall(_Averaged):
    """Share of a class's examples that are found, mean over classes."""

    name: ClassVar[str] = "recall"
    metric: ClassVar[str] = "Recall"


@dataclass(frozen=True)
class Auroc:
    """Area under the curve of true against false positives, each class against the others."""

    average: Literal["macro", "weighted"] = "macro"

    name: ClassVar[str] = "auroc"
    direction: ClassVar[Direction] = "higher"

    def __call__(self, dataset: Dataset) -> Tally:
        return _classified("AUROC", dataset, average=self.average)


@dataclass(frozen=True)
class TopK:
    """Share of examples whose class is among the k largest outputs; the column is `top_k`."""

    k: Count = 5

    direction: ClassVar[Direction] = "higher"

    @property
    def name(self) -> str:
        """The column, as in top_5."""
        return f"top_{self.k}"

    def __call__(self, dataset: Dataset) -> Tally:
        if dataset.classes is None or self.k > dataset.classes:
            there = "values" if dataset.classes is None else f"{dataset.classes} classes"
            raise DataError(
                f"learning.metrics: top-k with k = {self.k} needs at least as many classes, but "
                f"{dataset.name} has {there}"
            )
        return _classified("Accuracy", dataset, average="micro", top_k=self.k)


@dataclass(frozen=True)
class Mae:
    """Mean absolute error."""

    name: ClassVar[str] = "mae"
    direction: ClassVar[Direction] = "lower"

    def __call__(self, dataset: Dataset) -> Tally:
        return _regressed("MeanAbsoluteError")


@dataclass(frozen=True)
class Rmse:
    """Root of the mean squared error."""

    name: ClassVar[str] = "rmse"
    direction: ClassVar[Direction] = "lower"

    def __call__(self, dataset: Dataset) -> Tally:
        return _regressed("MeanSquaredError", squared=False)


@dataclass(frozen=True)
class Mape:
    """Mean absolute error as a share of the target."""

    name: ClassVar[str] = "mape"
    direction: ClassVar[Direction] = "lower"

    def __call__(self, dataset: Dataset) -> Tally:
        return _regressed("MeanAbsolutePercentageError")


@dataclass(frozen=True)
class R2:
    """Share of the targets' variance that the outputs explain; mean over columns of targets."""

    name: ClassVar[str] = "r2"
    direction: ClassVar[Direction] = "higher"

    def __call__(self, dataset: Dataset) -> Tally:
        return _regressed("R2Score")


@dataclass(frozen=True)
class Perplexity:
    """exp of the mean negative log-likelihood of a token.

    ignore: the token that pads sequences.
    """

    ignore: int | None = None

    name: ClassVar[str] = "perplexity"
    direction: ClassVar[Direction] = "lower"

    def __call__(self, dataset: Dataset) -> Tally:
        from torchmetrics.text import Perplexity as Tokens

        return Prepared(Tokens(ignore_index=self.ignore), _sequences)


def _sequences(outputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """(n, T, tokens) outputs; examples of one class are sequences of one."""
    return (outputs, targets) if targets.ndim == 2 else (outputs.unsqueeze(1), targets.unsqueeze(1))
