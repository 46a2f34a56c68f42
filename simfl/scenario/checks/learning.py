"""Checks of the section [learning] against the strategy, the evaluations and the target."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from simfl.directions import is_built_in
from simfl.errors import ScenarioError, did_you_mean
from simfl.learn.loops.base import directions_of
from simfl.learn.objective.base import has_right_answers
from simfl.learn.objective.losses import is_plain
from simfl.learn.optimizers import Sgd, name_of
from simfl.learn.schedules import by_of
from simfl.scenario.checks.edges import worked_for
from simfl.scenario.complain import Problem, all_of
from simfl.scenario.foreign import Foreign
from simfl.scenario.parts import kind_of
from simfl.scenario.sections import LearningOptions, TimingOptions

if TYPE_CHECKING:
    from simfl.scenario import Scenario


def problems(scenario: Scenario) -> Iterator[Problem]:
    """What a strategy says of how devices learn."""
    learning = scenario.learning
    if isinstance(learning, TimingOptions):
        return
    yield from _evaluation(scenario, learning)
    yield from _optimizer(learning)
    yield from _assumed(scenario, learning)
    check = getattr(scenario.strategy, "check_learning", None)
    if check is None:
        return
    try:
        check(scenario.learning)
    except ScenarioError as error:
        yield Problem(("strategy",), f": {error}")


def _evaluation(scenario: Scenario, learning: LearningOptions) -> Iterator[Problem]:
    """What only simfl's own evaluation looks at."""
    if learning.evaluate is None:
        return
    for name, way in directions_of(learning.evaluate).items():
        if way not in ("lower", "higher"):
            text = f' = {way!r}, expected "lower" or "higher"'
            yield Problem(("learning", "evaluate", "directions", name), text)
    if learning.metrics:
        text = ": learning.evaluate gives all values by itself; keep one of the two"
        yield Problem(("learning", "metrics"), text)
    if learning.shift is not None:
        text = ": what comes later is evaluated by the objective; leave learning.evaluate out"
        yield Problem(("learning", "shift"), text)
    for key in ("personal", "by_class"):
        if getattr(scenario.evaluate, key):
            text = " looks at the class of each example, which learning.evaluate does not tell"
            yield Problem(("evaluate", key), f"{text}; leave it out")


def _optimizer(learning: LearningOptions) -> Iterator[Problem]:
    """A momentum that is given twice, or to an optimizer that has others."""
    optimizer = learning.optimizer
    if not learning.momentum:
        return
    if not isinstance(optimizer, Sgd):
        name = name_of(optimizer)
        text = f" is a setting of sgd, but learning.optimizer is {name}; leave it out"
        yield Problem(("learning", "momentum"), text)
    elif optimizer.momentum:
        yield Problem(("learning", "momentum"), " is given in learning.optimizer, too; keep one")


def _assumed(scenario: Scenario, learning: LearningOptions) -> Iterator[Problem]:
    """Local training that the strategy's or the local rule's equations do not fit."""
    at, strategy = worked_for(scenario)
    parts = ((at, strategy), ((*at, "local"), getattr(strategy, "local", None)))
    picky = [(path, part) for path, part in parts if _is_picky(type(part))]
    for path, part in picky:
        training = learning.training  # which loads torch: only where a part looks at it
        name = type(part).__name__
        reason = training.special
        if reason is None and any(by_of(one) == "seconds" for one in training.schedule):
            reason = "its learning rate goes by seconds"
        if getattr(type(part), "needs_sgd", False) and reason is not None:
            text = f": {name} computes with steps of plain SGD at the rate of the task's version, "
            yield Problem(path, f"{text}but {reason}; leave learning.optimizer and schedule out")
        if getattr(type(part), "needs_cross_entropy", False) and not is_plain(training.objective):
            text = f": {name} computes with plain cross-entropy; leave learning.objective out"
            yield Problem(path, text)


def _is_picky(kind: type) -> bool:
    return getattr(kind, "needs_sgd", False) or getattr(kind, "needs_cross_entropy", False)


def metrics(scenario: Scenario, *names: str) -> Iterator[Problem]:
    """Metrics that are never evaluated, or of which nothing says which way is better."""
    learning = scenario.learning
    if isinstance(learning, TimingOptions) or hasattr(scenario.strategy, "metrics"):
        return
    if any(isinstance(part, Foreign) and part.function is None for part in _judges(learning)):
        return  # code that was not imported
    measured = _measured(learning)
    for name in names:
        where = ("stop", "target", name)
        own = learning.evaluate is not None
        if name == "accuracy" and not own and not has_right_answers(learning.objective):
            kind = kind_of(type(learning.objective))
            text = f": learning.objective = {kind!r} has no right answers to be accurate about"
            yield Problem(where, f"{text}; choose one of {all_of(['loss', *measured])}")
        elif own and name not in measured and not is_built_in(name):
            text = f": which way {name} is better is not known; give the evaluation's table"
            yield Problem(where, f'{text} directions = {{ {name} = "lower" }} or "higher"')
        elif name in measured and measured[name] is None:
            text = f': {name} does not say which way is better; give its table direction = "lower"'
            yield Problem(where, f'{text} or "higher"')
        elif name not in measured and not is_built_in(name):
            hint = did_you_mean(name, ["accuracy", "loss", *measured])
            text = f" is not an option {hint}: no such metric is evaluated, but learning.metrics"
            text += " adds others"
            yield Problem(where, text)


def _measured(learning: LearningOptions) -> dict[str, str | None]:
    """The values of evaluations by name, and which way each is better."""
    if learning.evaluate is not None:
        return dict(directions_of(learning.evaluate))
    return {metric.name: metric.direction for metric in learning.measured}


def _judges(learning: LearningOptions) -> tuple[Any, ...]:
    return (learning.objective, *learning.metrics)
