"""What the strategies of an app make of the replies: versions and evaluations of the run.

While an app runs, classes of strategies, in either API, are overheard: `aggregate_*` makes
versions, `evaluate` and functions called `evaluate_fn` evaluate them, wherever they are called
from: Flower's `start` and `fit`, an app's own, or a loop. An app can also say it with `record`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from functools import wraps
from inspect import signature
from types import FunctionType
from typing import Any

from simfl.errors import PluginError
from simfl.interop.flower.grid import VirtualGrid
from simfl.interop.flower.metrics import Columns
from simfl.interop.flower.protocol import Model

Method = Callable[..., Any]

_ABSTRACT = "__isabstractmethod__"
_WATCHES: list[Hooks] = []


def record(*, model: Any = None, **metrics: Any) -> None:
    """An app's word about its model as of now: `simfl.flower.record(accuracy=0.9, loss=0.3)`.

    For apps with a loop of their own. Does nothing where simfl is not playing the app.

    model: the app's model from now on, made of the replies that it has taken: a version. An
        ArrayRecord, the classic API's Parameters, a list of numpy arrays or a state dict. Needed
        for the last model, which no message carries. Raises PluginError for all else.
    metrics: an evaluation of the model: real scalars by name.
    """
    if not _WATCHES:
        return
    if model is not None:
        _WATCHES[-1].show(model)
    if metrics:
        _WATCHES[-1].observe(metrics)


class Hooks:
    """Overhears the strategies of one app.

    model_of: arrays of Flower's in any of its forms as a Model; None for what is none.
    answered: the name of the message that a reply is to; None for what is no reply.
    columns: numbers of an evaluation by column.
    model_from: as model_of, also for lists of numpy arrays and state dicts.
    """

    def __init__(
        self,
        grid: VirtualGrid,
        model_of: Callable[[Any], Model | None],
        answered: Callable[[Any], str | None],
        columns: Columns,
        model_from: Callable[[Any], Model | None],
    ) -> None:
        self.grid = grid
        self.central = False  #: the app evaluates its model on the server
        self.seen = 0  #: evaluations so far
        self._model_of, self._answered, self._columns = model_of, answered, columns
        self._model_from = model_from
        self._bases: tuple[type, ...] = ()  # of strategies that are overheard
        self._heard = {
            "start": self._started,
            "aggregate_train": self._aggregated,
            "aggregate_fit": self._aggregated,
            "aggregate_evaluate": self._reported,
            "evaluate": self._scored,
        }
        self._inside: set[tuple[int, str]] = set()  # calls under way: of which object, which method

    @contextmanager
    def listening(
        self, strategies: Iterable[type] = (), servers: Iterable[type] = ()
    ) -> Iterator[None]:
        """`record` is heard, and so are methods of these classes and of all that inherit them."""
        _WATCHES.append(self)
        self._bases = (*strategies, type(None))
        try:
            with ExitStack() as stack:
                for base in strategies:
                    stack.enter_context(self._family(base, self._heard))
                for base in servers:
                    stack.enter_context(self._family(base, {"fit": self._looped}))
                yield
        finally:
            _WATCHES.remove(self)

    def show(self, model: Any) -> None:
        """The app's model, in any form that an app has it. Raises PluginError."""
        found = self._model_from(model)
        if found is None:
            raise PluginError(
                f"simfl.flower.record: model is of type {type(model).__name__}; expected an "
                "ArrayRecord, Parameters, a list of numpy arrays or a state dict"
            )
        self.grid.show(found)

    def observe(self, metrics: Mapping[str, Any]) -> None:
        """Writes down an evaluation."""
        self.seen += 1
        self.grid.observe(self._columns(metrics))

    # Classes of strategies.

    @contextmanager
    def _family(self, base: type, heard: Mapping[str, Callable[..., Any]]) -> Iterator[None]:
        """Methods of a class and of its subclasses, those to come included, are overheard."""
        changed: list[tuple[type, str, Any]] = []

        def overhear(cls: type) -> None:
            for name, listener in heard.items():
                method = vars(cls).get(name)
                if isinstance(method, FunctionType) and not hasattr(method, _ABSTRACT):
                    changed.append((cls, name, method))
                    setattr(cls, name, self._outermost(method, name, listener))

        def init_subclass(cls: type, **options: Any) -> None:
            super(base, cls).__init_subclass__(**options)  # type: ignore[arg-type]
            overhear(cls)

        hook = "__init_subclass__"
        own = vars(base).get(hook)
        for cls in _lineage(base):
            overhear(cls)
        setattr(base, hook, classmethod(init_subclass))
        try:
            yield
        finally:
            if own is None:
                delattr(base, hook)
            else:
                setattr(base, hook, own)
            for cls, name, method in reversed(changed):
                setattr(cls, name, method)

    def _outermost(self, method: Method, name: str, listener: Callable[..., Any]) -> Method:
        """The method, listened to unless a call of it has called it, as `super()` does."""

        @wraps(method)
        def called(this: Any, *args: Any, **options: Any) -> Any:
            mark = id(this), name
            if mark in self._inside:
                return method(this, *args, **options)
            self._inside.add(mark)
            try:
                return listener(method, this, *args, **options)
            finally:
                self._inside.remove(mark)

        return called

    # What they do.

    def _started(self, method: Method, this: Any, *args: Any, **options: Any) -> Any:
        """`start`: what it is given to evaluate with is overheard, and so is its own."""
        call = signature(method).bind(this, *args, **options)
        initial = self._model_of(call.arguments.get("initial_arrays"))
        if initial is not None:
            self.grid.show(initial)
        own = vars(this)
        given = {name: value for name, value in own.items() if _evaluates(name, value)}
        rest = [p.name for p in signature(method).parameters.values() if p.kind is p.VAR_KEYWORD]
        for table in (call.arguments, *(call.arguments.get(name, {}) for name in rest), own):
            self._replace(table)
        try:
            with self.grid.announcing():
                return method(*call.args, **call.kwargs)
        finally:
            own.update(given)

    def _replace(self, table: dict[str, Any]) -> None:
        """Functions that evaluate are overheard."""
        found = {name: value for name, value in table.items() if _evaluates(name, value)}
        table.update({name: self._evaluated(value) for name, value in found.items()})

    def _looped(self, method: Method, this: Any, *args: Any, **options: Any) -> Any:
        """`Server.fit` of the classic API; its strategy may be of a class of its own."""
        kind = type(getattr(this, "strategy", None))
        known = any(issubclass(kind, base) for base in self._bases)
        with self.grid.announcing(), nullcontext() if known else self._family(kind, self._heard):
            return method(this, *args, **options)

    def _evaluated(self, evaluate: Method) -> Method:
        @wraps(evaluate)
        def evaluated(*args: Any, **options: Any) -> Any:
            if self._inside and any(name == "evaluate" for _, name in self._inside):
                return evaluate(*args, **options)  # by a strategy that is overheard itself
            for one in (*args, *options.values()):
                self.grid.suggest(self._model_of(one))
            found = evaluate(*args, **options)
            self._central(found)
            return found

        return evaluated

    def _aggregated(self, method: Method, this: Any, *args: Any, **options: Any) -> Any:
        """aggregate_train and aggregate_fit: (arrays or None, metrics) of the replies."""
        given, options = self._held(args, options)
        found = method(this, *given, **options)
        arrays = found[0] if isinstance(found, tuple) else found
        model = self._model_of(arrays)
        if arrays is None:
            self.grid.refuse()
        elif model is not None:
            self.grid.show(model, self._used([*given, *options.values()]))
        self.grid.heard(arrays is None or model is not None)
        return found

    def _held(self, args: Any, options: Any) -> tuple[list[Any], dict[str, Any]]:
        """Iterators as lists, which can be read twice."""
        given = [list(one) if isinstance(one, Iterator) else one for one in args]
        return given, {k: list(v) if isinstance(v, Iterator) else v for k, v in options.items()}

    def _used(self, arguments: list[Any]) -> set[str] | None:
        """The messages whose replies a strategy was given; None where it cannot be known."""
        given = [one for one in arguments if isinstance(one, list | tuple)]
        names = {self._answered(reply) for replies in given for reply in replies}
        return None if None in names or not names else {str(name) for name in names}

    def _reported(self, method: Method, this: Any, *args: Any, **options: Any) -> Any:
        """aggregate_evaluate: metrics, or in the classic API (loss, metrics)."""
        found = method(this, *args, **options)
        metrics = metrics_of(found)
        if metrics and not self.central:
            self.observe(metrics)
        return found

    def _scored(self, method: Method, this: Any, *args: Any, **options: Any) -> Any:
        """The classic `evaluate(server_round, parameters)` on the server."""
        found = method(this, *args, **options)
        for one in (*args, *options.values()):
            self.grid.suggest(self._model_of(one))
        self._central(found)
        return found

    def _central(self, found: Any) -> None:
        metrics = metrics_of(found)
        if metrics:
            self.central = True
            self.observe(metrics)


def metrics_of(found: Any) -> Mapping[str, Any] | None:
    """Metrics as an evaluation returns them: a mapping, or a loss and a mapping."""
    if isinstance(found, Mapping):
        return found
    if isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Mapping):
        loss, metrics = found
        return metrics if loss is None else {"loss": loss, **metrics}
    return None


def _evaluates(name: str, value: Any) -> bool:
    """True for functions that evaluate a model: `evaluate_fn`, not `evaluate_config_fn`."""
    return (
        callable(value)
        and name.startswith(("evaluate", "server_evaluate", "central_evaluate", "global_evaluate"))
        and "config" not in name
        and "aggr" not in name
    )


def _lineage(base: type) -> list[type]:
    """A class and all that inherit it, each once."""
    found = [base]
    for parent in found:  # grows on the way
        children: list[type] = parent.__subclasses__()
        found += [child for child in children if child not in found]
    return found
