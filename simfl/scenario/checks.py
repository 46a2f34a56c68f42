"""Checks across sections: whether the parts of a scenario fit together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simfl.directions import is_built_in
from simfl.errors import CatalogueError, ScenarioError, TraceError, did_you_mean
from simfl.fleet.catalogue import catalogue_dirs, class_files, load_device, load_network
from simfl.fleet.traces import FOLDER, find_trace
from simfl.learn.loops.base import directions_of
from simfl.learn.objective.base import has_right_answers
from simfl.learn.objective.losses import is_plain
from simfl.learn.optimizers import Sgd, name_of
from simfl.learn.schedules import by_of
from simfl.scenario import edges
from simfl.scenario.complain import KeyPath, Problem
from simfl.scenario.parts import FAMILIES, Foreign, kind_of
from simfl.scenario.sections import LearningOptions, TimingOptions
from simfl.strategy.base import LocalRule
from simfl.wire.chain import chain

if TYPE_CHECKING:
    from simfl.scenario import Scenario

# Options of strategies that say how many devices work at once.
_AT_ONCE = ("cohort", "concurrency")


#: Devices that a fleet may have; some thirty gigabytes of columns.
MOST_DEVICES = 100_000_000


def oversized(value: Any, path: KeyPath = ()) -> Iterator[Problem]:
    """Whole numbers of more than 64 bits, which nothing here computes with."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        yield Problem(path, f" has {value.bit_length()} bits, expected a number of at most 64 bits")
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from oversized(inner, (*path, key))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from oversized(inner, (*path, i))


def problems(scenario: Scenario) -> Iterator[Problem]:
    """Everything that is wrong between the sections."""
    yield from _fleet(scenario)
    yield from _stop(scenario)
    yield from _timing(scenario)
    yield from _strategy(scenario)
    yield from _learning(scenario)
    yield from _wire(scenario)
    yield from _cells(scenario)
    yield from edges.problems(scenario)
    yield from _traces(scenario)
    yield from _classes(scenario)


def _fleet(scenario: Scenario) -> Iterator[Problem]:
    if scenario.fleet.devices > MOST_DEVICES:
        text = f" has {scenario.fleet.devices:,} devices, expected at most {MOST_DEVICES:,}"
        yield Problem(("fleet",), text)


def _stop(scenario: Scenario) -> Iterator[Problem]:
    stop, evaluate = scenario.stop, scenario.evaluate
    names = [name for name in type(stop).model_fields if name != "on_divergence"]
    endless = not getattr(scenario.strategy, "ends", False)
    if endless and all(getattr(stop, name) is None for name in names):
        yield Problem(("stop",), f": the run would never end: give at least one of {_and(names)}")
    if stop.target is None:
        return
    where = ("stop", "target")
    unknown = list(_target(scenario, *stop.target.wanted)) if endless else []
    yield from unknown
    if len(stop.target.wanted) != 1 and not unknown:
        yield Problem(where, ": give one metric and its value, as in { accuracy = 0.9 }")
    if not endless:
        return  # such a strategy evaluates by itself
    if isinstance(scenario.learning, TimingOptions):
        yield Problem(where, ': cannot be met, since dataset = "none" learns nothing')
    elif evaluate.every_s is None and evaluate.every_versions is None:
        yield Problem(where, ": is never looked at; give evaluate.every_s or every_versions")


def _target(scenario: Scenario, *names: str) -> Iterator[Problem]:
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
            yield Problem(where, f"{text}; choose one of {_and(['loss', *measured])}")
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


def _timing(scenario: Scenario) -> Iterator[Problem]:
    learning, devices = scenario.learning, scenario.fleet.devices
    examples = learning.examples if isinstance(learning, TimingOptions) else 1
    if isinstance(examples, tuple) and len(examples) != devices:
        text = f" has {len(examples)} entries, expected one for each of {devices} devices"
        yield Problem(("learning", "examples"), text)


def _strategy(scenario: Scenario) -> Iterator[Problem]:
    if not isinstance(scenario.strategy, Foreign):
        try:
            FAMILIES[LocalRule].complete(scenario.strategy.local)
        except ScenarioError as error:
            yield Problem(("strategy", "local"), f": {error}")
    devices = scenario.fleet.devices
    for name in _AT_ONCE:
        asked = getattr(scenario.strategy, name, 0)
        if isinstance(asked, int) and asked > devices and not scenario.process:  # it may add some
            yield Problem(
                ("strategy", name),
                f" = {asked} is impossible concurrency: the fleet has {devices} devices, and each "
                f"has one task at a time; expected at most {devices}",
            )


def _learning(scenario: Scenario) -> Iterator[Problem]:
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
    at, strategy = edges.worked_for(scenario)
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


def _wire(scenario: Scenario) -> Iterator[Problem]:
    for direction in ("down", "up"):
        codecs = getattr(scenario.wire, direction)
        try:
            chain(codec for codec in codecs if not isinstance(codec, Foreign))
        except ScenarioError as error:
            yield Problem(("wire", direction), f": {error}")


def _classes(scenario: Scenario) -> Iterator[Problem]:
    dirs = catalogue_dirs(_folder(scenario))
    for i, group in enumerate(scenario.fleet.group):
        for key, load in (("device", load_device), ("network", load_network)):
            name = getattr(group, key)
            if isinstance(name, str) and (key, name) != ("network", "none"):
                try:
                    load(name, dirs)
                except CatalogueError as error:
                    yield Problem(("fleet", "group", i, key), f": {error}", CatalogueError)


def _cells(scenario: Scenario) -> Iterator[Problem]:
    """Cells that are unknown, that share a name, or whose rates are not looked at."""
    cells = scenario.network.cell
    names = [cell.name for cell in cells]
    for i, cell in enumerate(cells):
        where = ("network", "cell", i)
        if cell.name in names[:i]:
            yield Problem((*where, "name"), f" = {cell.name!r} is the name of another cell")
        if cell.shares and scenario.server.sharing == "none":
            text = ': its capacity needs server.sharing = "max-min", or it is not shared'
            yield Problem(where, text)
    for i, group in enumerate(scenario.fleet.group):
        if group.cell is not None and group.cell not in names:
            hint = did_you_mean(group.cell, names)
            text = f" = {group.cell!r} is not the name of a [[network.cell]] {hint}"
            yield Problem(("fleet", "group", i, "cell"), text)


def _traces(scenario: Scenario) -> Iterator[Problem]:
    """Traces that are not there."""
    for path, name in _trace_names(scenario):
        try:
            find_trace(name, trace_dirs(scenario))
        except TraceError as error:
            yield Problem(path, f": {error}", TraceError)


def traces(scenario: Scenario) -> list[Path]:
    """Files of the traces that the scenario uses."""
    dirs = trace_dirs(scenario)
    return list(dict.fromkeys(find_trace(name, dirs) for _, name in _trace_names(scenario)))


def trace_dirs(scenario: Scenario) -> list[Path]:
    """Where the scenario's traces are looked for."""
    return [(_folder(scenario) or Path()) / FOLDER]


def _trace_names(scenario: Scenario) -> Iterator[tuple[KeyPath, str]]:
    for i, group in enumerate(scenario.fleet.group):
        named: dict[str, Any] = {
            "capacity": group.capacity,
            "presence": getattr(group.presence, "trace", None),
            "network": getattr(group.network, "trace", None),
            "battery": group.battery and group.battery.charger,
        }
        for key, name in named.items():
            if name is not None:
                yield ("fleet", "group", i, key), name
    for i, cell in enumerate(scenario.network.cell):
        if cell.trace is not None:
            yield ("network", "cell", i, "trace"), cell.trace


def own_classes(scenario: Scenario) -> list[Path]:
    """Files of classes that the scenario uses and that lie in its own folder's `devices`."""
    folder = _folder(scenario)
    if folder is None:
        return []
    dirs, names = catalogue_dirs(folder), []
    for group in scenario.fleet.group:
        default = load_device(group.device, dirs).network if group.device else None
        names += [group.device, group.network or default]
    known = [name for name in names if isinstance(name, str) and name != "none"]
    files = [path for name in known for path in class_files(name, dirs)]
    return [path for path in dict.fromkeys(files) if path.parent == folder / "devices"]


def _folder(scenario: Scenario) -> Path | None:
    return scenario.path.parent if scenario.path else None


def _and(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"
