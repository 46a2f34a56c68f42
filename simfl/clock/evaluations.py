"""When models are evaluated, and what follows: rows, targets that are met, divergence."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from math import isfinite, nan
from typing import TYPE_CHECKING, Any

from simfl.clock import watchdog
from simfl.clock.events import Kind
from simfl.clock.workload import BY_DEVICE
from simfl.directions import lower_is_better
from simfl.errors import Diverged, plugin_errors

if TYPE_CHECKING:
    from simfl.clock.kernel import Kernel


class Evaluations:
    """Evaluates the server's model at the start, on time, after versions, and at the end.

    accuracy, loss: of the last evaluation; nan before.
    diverged: what is not finite any more, and since when; empty if all is well.
    evaluated: called with every evaluation, if given.
    """

    __snapshot__ = ("accuracy", "loss", "diverged", "version")  #: kept by checkpoints

    def __init__(self, kernel: Kernel) -> None:
        self.accuracy = self.loss = nan
        self.diverged = ""
        self.version = -1  #: that was evaluated last
        self.evaluated: Callable[[dict[str, float]], None] | None = None
        self._kernel = kernel
        kernel.clock.handlers |= {
            "run.evaluate": self.evaluate,
            "run.evaluate_on_time": self._evaluate_on_time,
        }

    def begin(self) -> None:
        """At the start, and from then on."""
        if self._kernel.plan.evaluate_at_start:
            self.evaluate()
        self._evaluate_next()

    def after_versions(self, before: int, due_s: float) -> None:
        """A step has made versions, which are there at due_s."""
        every = self._kernel.plan.evaluate_every_versions
        if every and self._kernel.server.version // every > before // every:
            self._kernel.clock.at(due_s, Kind.EVALUATE, 0, "run.evaluate")

    def finish(self) -> None:
        """The last model is evaluated, unless it has been."""
        if self.version != self._kernel.server.published[1]:
            self.evaluate()

    def evaluate(self, _: Any = None) -> None:
        """Evaluates the server's model, or what the strategy shows in its place."""
        params, self.version = self._kernel.server.published
        metrics = self._metrics(params)
        if metrics:
            self.observe(metrics, self.version)

    def observe(self, metrics: Mapping[str, Any], version: int) -> None:
        """Writes down what is known of a version now, and stops the run if that was its target.

        metrics: numbers by name, and under BY_DEVICE columns by device, if there are any.
        """
        kernel, now_s = self._kernel, self._kernel.clock.now
        self.version = version
        by_device = metrics.get(BY_DEVICE)
        metrics = {n: value for n, value in metrics.items() if not isinstance(value, Mapping)}
        kernel.ledger.evaluation(now_s, version, metrics, kernel.server.moved_bytes())
        if by_device is not None:
            kernel.ledger.personal(now_s, version, by_device)
        self.accuracy = metrics.get("accuracy", self.accuracy)
        self.loss = metrics.get("loss", self.loss)
        if self.evaluated is not None:
            self.evaluated(self._row(metrics, version))
        limits = kernel.plan.limits
        for name, value in limits.target.items():
            found = metrics.get(name, nan)
            if found <= value if lower_is_better(name, limits.lower) else found >= value:
                kernel.stop("target")
        self._check(metrics)
        kernel.driver.report()

    def diverge(self, what: str) -> None:
        """Learning went wrong: the run ends, or warns once and goes on. Raises Diverged."""
        if self.diverged:
            return
        self.diverged = watchdog.gone_wrong(what, self._kernel.clock.now, self._kernel.server)
        if self._kernel.plan.stop_diverged:
            raise Diverged(self.diverged)
        warnings.warn(self.diverged, stacklevel=2)

    def _check(self, metrics: Mapping[str, float]) -> None:
        """Where a model is learnt, its loss and accuracy are finite."""
        info = self._kernel.workload.learning
        if info is None or info.model is None:
            return
        unsound = [n for n in ("loss", "accuracy") if not isfinite(metrics.get(n, 0.0))]
        if unsound:
            self.diverge(f"the {unsound[0]} of an evaluation is {metrics[unsound[0]]}")

    def _metrics(self, params: Any) -> dict[str, Any]:
        """Of the server's model, unless the strategy has other models to show."""
        strategy, evaluate = self._kernel.strategy, self._kernel.workload.evaluate
        own = getattr(strategy, "metrics", None)
        if own is None:
            return evaluate(params)
        with plugin_errors(f"{type(strategy).__name__}.metrics"):
            shown: dict[str, Any] = own(self._kernel.state, self._kernel.server, evaluate)
        return shown

    def _row(self, metrics: Mapping[str, float], version: int) -> dict[str, float]:
        """An evaluation as callbacks get it."""
        status = self._kernel.driver.status()
        return {
            "time_s": status.time_s,
            "version": version,
            "tasks_ended": status.tasks,
            "down_bytes": status.down_bytes,
            "up_bytes": status.up_bytes,
            **metrics,
            "staleness_p50": status.staleness_p50,
            "staleness_p95": status.staleness_p95,
        }

    def _evaluate_next(self) -> None:
        clock = self._kernel.clock
        due_s = watchdog.later(clock.now, self._kernel.plan.evaluate_every_s, "evaluate.every_s")
        clock.at(due_s, Kind.EVALUATE, 1, "run.evaluate_on_time")

    def _evaluate_on_time(self, _: Any) -> None:
        self.evaluate()
        self._evaluate_next()
