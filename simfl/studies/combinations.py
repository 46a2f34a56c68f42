"""Which runs make up a study: every combination of what varies, each a scenario of its own.

Seeds vary last and are the same everywhere, so that runs of one seed share their chance: they
differ by what was varied and by nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from simfl.errors import InputError, ScenarioError
from simfl.results.study import NUMBERS
from simfl.scenario import Scenario, parse
from simfl.scenario.naming import named
from simfl.scenario.parts import plain
from simfl.scenario.variation import VARIANT, Point, laid_over, point
from simfl.units import several

#: Seeds of a study that names none.
SEEDS = range(5)


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study. keys: what distinguishes it, by column; the seed last."""

    keys: Mapping[str, Any]
    scenario: Scenario

    @property
    def hash(self) -> str:
        return self.scenario.hash

    @property
    def variant(self) -> str:
        """What distinguishes it beside the seed; the strategy needs no name."""
        return ", ".join(
            str(label) if column == "strategy" else f"{column}={label}"
            for column, label in self.keys.items()
            if column != "seed"
        )

    def __str__(self) -> str:
        return ", ".join(f"{column} {label}" for column, label in self.keys.items())


@dataclass(frozen=True)
class Axis:
    """One thing that varies. points: pairs of a label and overrides by key path."""

    path: str
    points: list[tuple[Any, dict[str, Any]]]


def runs_of(
    base: Scenario,
    strategies: Iterable[Any] | Mapping[str, Any] | None,
    seeds: Iterable[int] | None,
    sweep: Mapping[str, Any],
) -> list[PlannedRun]:
    """All runs, the seed varying fastest. Raises ScenarioError, naming the run that is wrong."""
    varied: dict[str, Any] = {**base.sweep, **sweep}
    own = _own_variants(varied, base)
    chosen = varied.pop("seed", SEEDS)
    axes = [
        axis_of("strategy", strategies) if strategies is not None else own,
        *(axis_of(path, values) for path, values in varied.items()),
        axis_of("seed", chosen if seeds is None else seeds),
    ]
    columns = column_names([axis.path for axis in axes])
    table = {key: value for key, value in base.table().items() if key != "sweep"}
    return [
        _run(dict(zip(columns, labels_, strict=True)), table, overrides, base)
        for labels_, overrides in map(_together, product(*(axis.points for axis in axes)))
    ]


def _own_variants(varied: dict[str, Any], base: Scenario) -> Axis:
    """The axis of strategies or of whole variants, taken from what varies; else the scenario."""
    if VARIANT in varied and "strategy" in varied:
        raise InputError("sweep: has both `variant` and `strategy`; write strategies as variants")
    if VARIANT in varied:
        return replace(axis_of(VARIANT, varied.pop(VARIANT)), path="strategy")
    return axis_of("strategy", varied.pop("strategy", [base.strategy]))


def axis_of(path: str, values: Iterable[Any] | Mapping[str, Any]) -> Axis:
    """An axis from its values, labelled as they say or by themselves, or from values by label."""
    if isinstance(values, Mapping):
        points = [(label, _point(path, value)) for label, value in values.items()]
    else:
        listed = [plain(value, keep=_is_object) for value in several(path, values)]
        taken = [_point(path, value) for value in listed]
        own = labels([point.overrides.get(path) for point in taken])
        points = [(point.label or name, point) for name, point in zip(own, taken, strict=True)]
    if len({str(label) for label, _ in points}) < len(points):
        raise InputError(f"{path}: a value or a label appears twice; expected distinct ones")
    if not points:
        raise InputError(f"{path}: no value is given; expected at least one")
    return Axis(path, [(label, dict(point.overrides)) for label, point in points])


def _is_object(part: Any) -> bool:
    return not named(part)


def _point(path: str, value: Any) -> Point:
    """A table in place of a strategy that names no kind holds overrides by key path."""
    if path == "strategy" and isinstance(value, Mapping) and "kind" not in value:
        return Point(None, laid_over(value))
    try:
        return point(path, value)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from error


def labels(values: Sequence[Any]) -> list[Any]:
    """Values as a table shows them: scalars as they are, tables by kind and what differs."""
    if not any(isinstance(value, dict | list) for value in values):
        return list(values)
    tables = [{"kind": value} if isinstance(value, str) else value for value in values]
    return [words(_differing(table, tables)) for table in tables]


def _differing(value: Any, among: Sequence[Any]) -> Any:
    """A part without the options that all of its kind have in common."""
    if not isinstance(value, dict) or "kind" not in value:
        return value
    kind = value["kind"]
    alike = [other for other in among if isinstance(other, dict) and other.get("kind") == kind]
    return {
        key: option
        for key, option in value.items()
        if key == "kind" or any(other.get(key) != option for other in alike)
    }


def words(value: Any) -> str:
    """A value of a scenario in few words: `topk keep=0.1 + quantize bits=8`."""
    if isinstance(value, list):
        return " + ".join(map(words, value)) or "none"
    if not isinstance(value, dict):
        return str(value)
    options = [f"{key}={words(option)}" for key, option in value.items() if key != "kind"]
    return " ".join([value["kind"], *options] if "kind" in value else options) or "none"


def column_names(paths: Sequence[str]) -> list[str]:
    """The last word of each key path, or all of it where that is taken or means something else."""
    last = [path.rpartition(".")[2] for path in paths]
    return [
        path if last.count(word) > 1 or word in NUMBERS else word
        for path, word in zip(paths, last, strict=True)
    ]


def _together(points: Sequence[tuple[Any, dict[str, Any]]]) -> tuple[list[Any], dict[str, Any]]:
    """Labels and overrides of one combination."""
    overrides: dict[str, Any] = {}
    for _, changes in points:
        overrides |= changes
    return [label for label, _ in points], overrides


def _run(
    keys: dict[str, Any], table: dict[str, Any], overrides: dict[str, Any], base: Scenario
) -> PlannedRun:
    try:
        return PlannedRun(keys, parse(table, overrides, path=base.path, where=base.name))
    except InputError as error:
        labels = ", ".join(f"{column} {label}" for column, label in keys.items())
        raise ScenarioError(f"study run ({labels}): {error}") from error
