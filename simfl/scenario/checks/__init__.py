"""Checks across sections: whether the parts of a scenario fit together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from simfl.errors import ScenarioError, did_you_mean
from simfl.scenario.checks import beside, edges, learning
from simfl.scenario.complain import KeyPath, Problem, all_of
from simfl.scenario.foreign import Foreign
from simfl.scenario.parts import FAMILIES
from simfl.scenario.sections import TimingOptions
from simfl.strategy.base import LocalRule
from simfl.strategy.common import AT_ONCE
from simfl.wire.chain import chain

if TYPE_CHECKING:
    from simfl.scenario import Scenario

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
    yield from learning.problems(scenario)
    yield from _wire(scenario)
    yield from _cells(scenario)
    yield from edges.problems(scenario)
    yield from beside.missing_traces(scenario)
    yield from beside.unknown_classes(scenario)


def _fleet(scenario: Scenario) -> Iterator[Problem]:
    if scenario.fleet.devices > MOST_DEVICES:
        text = f" has {scenario.fleet.devices:,} devices, expected at most {MOST_DEVICES:,}"
        yield Problem(("fleet",), text)


def _stop(scenario: Scenario) -> Iterator[Problem]:
    stop, evaluate = scenario.stop, scenario.evaluate
    names = [name for name in type(stop).model_fields if name != "on_divergence"]
    endless = not getattr(scenario.strategy, "ends", False)
    if endless and all(getattr(stop, name) is None for name in names):
        yield Problem(("stop",), f": the run would never end: give at least one of {all_of(names)}")
    if stop.target is None:
        return
    where = ("stop", "target")
    unknown = list(learning.metrics(scenario, *stop.target.wanted)) if endless else []
    yield from unknown
    if len(stop.target.wanted) != 1 and not unknown:
        yield Problem(where, ": give one metric and its value, as in { accuracy = 0.9 }")
    if not endless:
        return  # such a strategy evaluates by itself
    if isinstance(scenario.learning, TimingOptions):
        yield Problem(where, ': cannot be met, since dataset = "none" learns nothing')
    elif evaluate.every_s is None and evaluate.every_versions is None:
        yield Problem(where, ": is never looked at; give evaluate.every_s or every_versions")


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
    for name in AT_ONCE:
        asked = getattr(scenario.strategy, name, 0)
        if isinstance(asked, int) and asked > devices and not scenario.process:  # it may add some
            yield Problem(
                ("strategy", name),
                f" = {asked} is impossible concurrency: the fleet has {devices} devices, and each "
                f"has one task at a time; expected at most {devices}",
            )


def _wire(scenario: Scenario) -> Iterator[Problem]:
    for direction in ("down", "up"):
        codecs = getattr(scenario.wire, direction)
        try:
            chain(codec for codec in codecs if not isinstance(codec, Foreign))
        except ScenarioError as error:
            yield Problem(("wire", direction), f": {error}")


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
