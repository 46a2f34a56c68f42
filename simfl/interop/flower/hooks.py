"""What the strategies of an app make of the replies: versions and evaluations of the run.

A strategy of Flower says when it aggregates and what it finds out, to its caller; here its
answers are overheard while it runs. An app with a loop of its own can say it with `record`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from inspect import signature
from math import nan
from typing import Any

from simfl.interop.flower.grid import VirtualGrid
from simfl.interop.flower.protocol import Model

Method = Callable[..., Any]

#: Columns of an evaluation that are the run's own.
_OWN = ("time_s", "version", "tasks_ended", "down_bytes", "up_bytes")

_WATCHES: list[Watch] = []


def record(**metrics: float) -> None:
    """An app's word about its model as of now: `simfl.flower.record(accuracy=0.9, loss=0.3)`.

    For apps with a loop of their own. Does nothing where simfl is not playing the app.
    """
    if _WATCHES:
        _WATCHES[-1].observe(metrics)


class Watch:
    """Overhears the strategies of one app.

    model_of: arrays of Flower's, in any of its forms. answered: the name of the message that a
    reply is to; None for what is no reply.
    """

    def __init__(
        self,
        grid: VirtualGrid,
        model_of: Callable[[Any], Model | None],
        answered: Callable[[Any], str | None],
    ) -> None:
        self.grid = grid
        self.central = False  #: the app evaluates its model on the server
        self._model_of = model_of
        self._answered = answered

    @contextmanager
    def listening(self) -> Iterator[None]:
        """`record` is heard."""
        _WATCHES.append(self)
        try:
            yield
        finally:
            _WATCHES.remove(self)

    def observe(self, metrics: Mapping[str, Any]) -> None:
        """Writes down an evaluation."""
        self.grid.observe(columns(metrics))

    # The Message API.

    def start(self, original: Method) -> Method:
        """`Strategy.start`, overheard."""

        def start(*args: Any, **options: Any) -> Any:
            call = signature(original).bind(*args, **options)
            call.apply_defaults()
            strategy, evaluate = call.args[0], call.arguments["evaluate_fn"]
            self._show(call.arguments["initial_arrays"])
            if evaluate is not None:
                self.central = True
                call.arguments["evaluate_fn"] = self._evaluated(evaluate)
            heard = {"aggregate_train": self._aggregated, "aggregate_evaluate": self._reported}
            with self.grid.told(), wrapped(strategy, **heard):
                return original(*call.args, **call.kwargs)

        return start

    def _evaluated(self, evaluate: Method) -> Method:
        def evaluated(server_round: int, arrays: Any) -> Any:
            metrics = evaluate(server_round, arrays)
            if metrics is not None:
                self.observe(metrics)
            return metrics

        return evaluated

    def _aggregated(self, aggregate: Method) -> Method:
        """aggregate_train and aggregate_fit: (arrays or None, metrics) of the replies."""

        def aggregated(*args: Any, **options: Any) -> Any:
            found = aggregate(*args, **options)
            if found[0] is None:
                self.grid.refuse()
            else:
                self.grid.show(self._model_of(found[0]), self._used([*args, *options.values()]))
            return found

        return aggregated

    def _used(self, arguments: list[Any]) -> set[str] | None:
        """The messages whose replies a strategy was given; None where it cannot be told."""
        given = [one for one in arguments if isinstance(one, list | tuple)]
        names = {self._answered(reply) for replies in given for reply in replies}
        return None if None in names or not names else {str(name) for name in names}

    def _reported(self, aggregate: Method) -> Method:
        """aggregate_evaluate of the Message API."""

        def reported(*args: Any, **options: Any) -> Any:
            metrics = aggregate(*args, **options)
            if metrics is not None and not self.central:
                self.observe(metrics)
            return metrics

        return reported

    # The classic API.

    def fit(self, original: Method) -> Method:
        """`run_fl(server, config)`, its strategy overheard."""

        def fit(server: Any, config: Any) -> Any:
            strategy = getattr(server, "strategy", None)
            if strategy is None:
                return original(server=server, config=config)
            heard = {
                "evaluate": self._scored,
                "aggregate_fit": self._aggregated,
                "aggregate_evaluate": self._scored_by_devices,
            }
            with self.grid.told(), wrapped(strategy, **heard):
                return original(server=server, config=config)

        return fit

    def _scored(self, evaluate: Method) -> Method:
        def scored(server_round: int, parameters: Any) -> Any:
            found = evaluate(server_round, parameters)
            self._show(parameters)
            if found is not None:
                self.central = True
                self.observe({"loss": found[0], **found[1]})
            return found

        return scored

    def _scored_by_devices(self, aggregate: Method) -> Method:
        def scored(*args: Any, **options: Any) -> Any:
            loss, metrics = found = aggregate(*args, **options)
            if loss is not None and not self.central:
                self.observe({"loss": loss, **metrics})
            return found

        return scored

    def _show(self, arrays: Any) -> None:
        self.grid.show(self._model_of(arrays))


@contextmanager
def wrapped(target: Any, **wrappers: Callable[[Method], Method]) -> Iterator[None]:
    """Methods of one object, wrapped for a while."""
    own = {name: vars(target)[name] for name in wrappers if name in vars(target)}
    for name, wrap in wrappers.items():
        setattr(target, name, wrap(getattr(target, name)))
    try:
        yield
    finally:
        for name in wrappers:
            delattr(target, name)
        vars(target).update(own)


def columns(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of an evaluation by column.

    `accuracy` and `loss` are those of that name, else the only one whose name has "acc" or "loss"
    in it. What is no number is left out.
    """
    numbers = {str(name): float(v) for name, v in metrics.items() if isinstance(v, int | float)}
    found = {f"app_{name}" if name in _OWN else name: value for name, value in numbers.items()}
    for column, part in (("accuracy", "acc"), ("loss", "loss")):
        alike = [name for name in numbers if part in name.lower()]
        if column not in found:
            found[column] = numbers[alike[0]] if len(alike) == 1 else nan
    return found
