"""The scenario of a run, from what `simfl.run` and its like were given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from simfl.errors import ScenarioError
from simfl.scenario import Scenario, load, parse, reading
from simfl.units import several


def single(scenario: Scenario) -> Scenario:
    """The scenario. Raises ScenarioError if it is a study."""
    if scenario.sweep or scenario.tune:
        section = "sweep" if scenario.sweep else "tune"
        raise ScenarioError(
            f"{scenario.name}: has a [{section}], which is a study: use simfl.study"
        )
    return scenario


def resolve(
    scenario: Scenario | Mapping[str, Any] | str | Path,
    overrides: Mapping[str, Any],
    seed: int | None,
) -> Scenario:
    """The scenario with its overrides. Raises ScenarioError.

    scenario: its file, the name of a shipped one, a table, or a scenario.
    overrides: values by key path.
    seed: in the place of the scenario's.
    """
    if isinstance(scenario, str | Path):
        return load(scenario, overrides, seed)
    _may_be_scenario(scenario)
    if isinstance(scenario, Scenario):
        if not overrides and seed is None:
            return scenario
        return parse(scenario.table(), overrides, seed, path=scenario.path)
    return parse(scenario, overrides, seed)


def _may_be_scenario(given: object) -> None:
    if not isinstance(given, Scenario | Mapping):
        kind = type(given).__name__
        raise ScenarioError(f"scenario: a {kind} is none; expected a file, a name, or a table")


def with_objects(
    overrides: Mapping[str, Any], model: Any, dataset: Any, train: Any = None, evaluate: Any = None
) -> dict[str, Any]:
    """The overrides with the parts of [learning] that were given beside them."""
    section = isinstance(evaluate, Mapping) and "kind" not in evaluate
    given = {
        "learning.model": model,
        "learning.dataset": dataset,
        "learning.train": train,
        "evaluate" if section else "learning.evaluate": evaluate,
    }
    return {**overrides, **{key: value for key, value in given.items() if value is not None}}


def with_processes(
    overrides: Mapping[str, Any], scenario: Any, processes: Iterable[Any]
) -> dict[str, Any]:
    """The overrides with processes behind those that the scenario, whatever it is, has."""
    given = list(several("processes", processes))
    if not given:
        return dict(overrides)
    if isinstance(scenario, str | Path):
        scenario = reading.read(reading.find(scenario))
    own = scenario.process if isinstance(scenario, Scenario) else scenario.get("process", [])
    return {"process": [*own, *given], **overrides}
