"""Metrics: numbers about a model's outputs on all test examples, each with a direction.

A metric is asked for by name, by the dotted path of a function `f(outputs, targets) -> number` or
of a class of torchmetrics, or is such an object itself. Functions see all test examples at once.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from simfl.directions import BUILT_IN, Direction
from simfl.errors import PluginError, ScenarioError, plugin_errors
from simfl.lazy import torch
from simfl.registry import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from simfl.learn.datasets.base import Dataset

#: Each entry is a frozen dataclass of options, called with a Dataset -> Tally; its `name` is the
#: column and its `direction` says which way is better.
METRICS = Registry(
    "metric",
    "simfl.metrics",
    {
        "auroc": "simfl.learn.objective.torch_metrics:Auroc",
        "f1": "simfl.learn.objective.torch_metrics:F1",
        "mae": "simfl.learn.objective.torch_metrics:Mae",
        "mape": "simfl.learn.objective.torch_metrics:Mape",
        "perplexity": "simfl.learn.objective.torch_metrics:Perplexity",
        "precision": "simfl.learn.objective.torch_metrics:Precision",
        "r2": "simfl.learn.objective.torch_metrics:R2",
        "recall": "simfl.learn.objective.torch_metrics:Recall",
        "rmse": "simfl.learn.objective.torch_metrics:Rmse",
        "top-k": "simfl.learn.objective.torch_metrics:TopK",
    },
)


class Tally(Protocol):
    """What gathers a metric over the batches of one evaluation, as torchmetrics' classes do."""

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        """Takes one batch in."""

    def compute(self) -> Any:
        """The metric of all batches so far: a number, or a tensor of one."""


class Whole:
    """A tally that hands all outputs and targets to a function of them, at once."""

    def __init__(self, function: Callable[[Tensor, Tensor], Any]) -> None:
        self._function = function
        self._parts: list[tuple[Tensor, Tensor]] = []

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        self._parts.append((outputs, targets))

    def compute(self) -> Any:
        outputs, targets = (torch.cat(list(part)) for part in zip(*self._parts, strict=True))
        return self._function(outputs, targets)


@dataclass(frozen=True)
class Metric:
    """A metric that is ready to be measured.

    name: its column in `evaluations`.
    direction: "higher" or "lower", whichever is better; None where its author did not say.
    start: makes a tally for one evaluation.
    """

    name: str
    direction: Direction | None
    start: Callable[[Dataset], Tally] = field(compare=False)


def metrics_of(objective: Any, given: Iterable[Any] = ()) -> tuple[Metric, ...]:
    """The metrics of an objective, and those that are asked for beside them. Raises ScenarioError.

    objective: has `metrics`. given: names, tables with a `kind`, parts, functions or torchmetrics.

    >>> from simfl.learn.objective.losses import Mse
    >>> [(metric.name, metric.direction) for metric in metrics_of(Mse(), ["r2"])]
    [('mae', 'lower'), ('r2', 'higher')]
    """
    found: dict[str, Metric] = {}
    for one in (*objective.metrics, *given):
        metric = as_metric(one)
        if metric.name in BUILT_IN and metric.name != "accuracy":
            raise ScenarioError(
                f"a metric is called {metric.name!r}, which every evaluation has; rename it"
            )
        if metric.name != "accuracy":  # measured in any case
            found[metric.name] = metric
    return tuple(found.values())


def as_metric(given: Any) -> Metric:
    """Anything that stands for a metric as one. Raises ScenarioError."""
    if isinstance(given, Metric):
        return given
    if isinstance(given, str) or (isinstance(given, dict) and "kind" in given):
        given = _named(given)
    if hasattr(given, "name") and hasattr(given, "direction"):
        return Metric(given.name, given.direction, given)
    if not callable(getattr(given, "function", given)):
        raise ScenarioError(f"{given!r} is no metric: expected a name, or f(outputs, targets)")
    return _own(given)


def _named(given: Any) -> Any:
    """The metric of this name: "accuracy" is every evaluation's own."""
    kind, options = (given, {}) if isinstance(given, str) else (given["kind"], dict(given))
    options.pop("kind", None)
    if kind == "accuracy":
        return Metric("accuracy", "higher", _no_tally)
    part = METRICS.get(kind)
    return Dotted(part, options) if ":" in kind else part(**options)


@dataclass(frozen=True)
class Dotted:
    """A function or class by its dotted path, with the options of its table."""

    function: Any
    options: dict[str, Any]


def _own(given: Any) -> Metric:
    """A function, a class of torchmetrics, or an instance of one."""
    function = getattr(given, "function", given)
    options = dict(getattr(given, "options", {})) if function is not given else {}
    direction = options.pop("direction", None) or _direction(function)
    name = options.pop("name", None) or _name(function)
    if direction not in (None, "higher", "lower"):
        raise ScenarioError(f'{name}: direction = {direction!r}, expected "higher" or "lower"')
    return Metric(name, direction, _Start(function, options, name))


@dataclass(frozen=True)
class _Start:
    """Makes the tally of a metric given by the user."""

    function: Any
    options: dict[str, Any]
    name: str

    def __call__(self, dataset: Dataset) -> Tally:
        with plugin_errors(f"metric {self.name}"):
            if isinstance(self.function, type):
                return _tally(self.function(**self.options), self.name)
            if hasattr(self.function, "update"):
                return _tally(copy.deepcopy(self.function), self.name)
        return Whole(lambda outputs, targets: self.function(outputs, targets, **self.options))


def _tally(made: Any, name: str) -> Tally:
    if not (hasattr(made, "update") and hasattr(made, "compute")):
        raise PluginError(f"{name} has no `update` and `compute`, as a class of torchmetrics has")
    tally: Tally = made
    return tally


def _no_tally(dataset: Dataset) -> Tally:
    raise AssertionError("accuracy is measured with the loss")


def _direction(function: Any) -> Direction | None:
    higher = getattr(function, "higher_is_better", None)
    return None if higher is None else ("higher" if higher else "lower")


def _name(function: Any) -> str:
    named: str = getattr(function, "__name__", "") or type(function).__name__
    return named.strip("<>")


def number_of(tally: Tally, name: str) -> float:
    """What a tally has come to, as a number. Raises PluginError."""
    with plugin_errors(f"metric {name}"):
        value = tally.compute()
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError) as error:
            shape = tuple(getattr(value, "shape", ())) or type(value).__name__
            raise PluginError(f"gave {shape}, expected one number") from error
