"""A scenario: one TOML file, validated to the last key, that says everything about a run.

`load` reads a file (or a shipped scenario by name), lays it over the file that it `extends`,
applies overrides and gives a frozen Scenario whose parts are ready to use. Every mistake is a
ScenarioError of one paragraph with the key path and what would do.
"""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import tomli_w
from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    ValidationError,
    WithJsonSchema,
)

from simfl.errors import InputError
from simfl.fleet.edges import EdgeOptions
from simfl.fleet.table import Table
from simfl.scenario import checks, naming, parts, reading
from simfl.scenario.complain import KeyPath, Problem, dotted, problems_of
from simfl.scenario.renamed import current
from simfl.scenario.sections import (
    CheckpointOptions,
    EvaluateOptions,
    FleetOptions,
    Learning,
    LearningOptions,
    Name,
    NetworkSection,
    ServerOptions,
    StopOptions,
    TimingOptions,
    WireOptions,
)
from simfl.scenario.variation import TuneOptions, Values, flat, point
from simfl.scenario.whatif import Mistake, apply_changes
from simfl.units import Index

__all__ = ["LearningOptions", "Scenario", "TimingOptions", "load", "parse"]


class Scenario(Table):
    """Everything that a run depends on. `strategy` and the other parts are ready to use.

    path: the file it came from, if any. foreign: dotted paths of code that it names.
    """

    name: Name = "scenario"
    seed: Index = 0
    fleet: FleetOptions
    network: NetworkSection = NetworkSection()
    edge: list[EdgeOptions] = Field(default_factory=list)
    server: ServerOptions = ServerOptions()
    learning: Learning
    strategy: Annotated[Any, parts.STRATEGY]
    wire: WireOptions = WireOptions()
    evaluate: EvaluateOptions = EvaluateOptions()
    stop: StopOptions = StopOptions()
    process: Annotated[list[Annotated[Any, parts.PROCESS]], Field(default_factory=list)]
    checkpoint: CheckpointOptions = CheckpointOptions()
    sweep: Annotated[dict[str, Values], BeforeValidator(flat)] = Field(default_factory=dict)
    tune: TuneOptions | None = None
    callbacks: Annotated[list[Annotated[Any, parts.CALLBACK]], Field(default_factory=list)]
    extends: Annotated[None, WithJsonSchema({"type": "string"})] = None  #: gone once it is read

    _path: Path | None = PrivateAttr(default=None)
    _foreign: tuple[str, ...] = PrivateAttr(default=())

    @property
    def path(self) -> Path | None:
        """The file that it was read from, if any."""
        return self._path

    @property
    def foreign(self) -> tuple[str, ...]:
        """Dotted paths of code that is not simfl's and that was named by the scenario."""
        return self._foreign

    def class_files(self) -> list[Path]:
        """Files of its device and network classes that lie beside it, not in the catalogue.

        Copied to `devices/` beside another copy of the scenario, they make that one complete.
        """
        return checks.beside.own_classes(self)

    def trace_files(self) -> list[Path]:
        """Files of its traces; they go to `traces/` beside a copy of the scenario."""
        return checks.beside.traces(self)

    def resolved(self) -> dict[str, Any]:
        """Every option as plain tables, defaults included; `parse` turns it back."""
        table: dict[str, Any] = parts.plain(self)
        return {key: value for key, value in table.items() if not _is_empty(value)}

    def table(self) -> dict[str, Any]:
        """As `resolved`, with the objects that no file can name in their places."""
        table: dict[str, Any] = parts.plain(self, keep=lambda part: not naming.named(part))
        return {key: value for key, value in table.items() if not _is_empty(value)}

    def to_toml(self) -> str:
        """The resolved scenario as a file that reproduces the run."""
        return tomli_w.dumps(self.resolved())

    def settled(self, choices: Mapping[str, Any]) -> Scenario:
        """The scenario with what this machine chose in the place of [learning]'s "auto"."""
        learning = self.learning.model_copy(update=choices)
        return self.model_copy(update={"learning": learning})

    @property
    def hash(self) -> str:
        """Sixteen hexadecimal digits, equal for options that give equal results."""
        table = self.resolved()
        table["learning"].pop("data_dir", None)
        table.pop("checkpoint", None)
        table.pop("callbacks", None)
        text = json.dumps(table, sort_keys=True, default=str)
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def _repr_html_(self) -> str:
        kind = parts.kind_of(type(self.strategy))
        head = f"<b>{self.name}</b>: {kind} on {self.fleet.devices} devices, seed {self.seed}"
        body = html.escape(self.to_toml())
        return f"<details><summary>{head}</summary><pre>{body}</pre></details>"


def _is_empty(value: Any) -> bool:
    return isinstance(value, dict | list) and not value


def load(
    path_or_name: str | Path,
    overrides: Mapping[str, Any] | Iterable[str] = (),
    seed: int | None = None,
    *,
    trusted: bool = True,
) -> Scenario:
    """The scenario of a file, or a shipped one by name, validated. Raises ScenarioError.

    overrides: values by key path, as a mapping or as texts like "strategy.buffer=20".
    trusted: False does not import code named by dotted path (see `Scenario.foreign`), so that
    its options stay unchecked.

    >>> load("quickstart", {"strategy.buffer": 20}, seed=3).strategy.buffer
    20
    """
    path = reading.find(path_or_name)
    table = {"name": path.stem, **reading.read(path)}
    where = str(path_or_name)
    return parse(table, overrides, seed, where=where, path=path, trusted=trusted)


def parse(
    table: Mapping[str, Any],
    overrides: Mapping[str, Any] | Iterable[str] = (),
    seed: int | None = None,
    *,
    where: str = "scenario",
    path: Path | None = None,
    trusted: bool = True,
) -> Scenario:
    """The scenario that a table describes, validated. Raises ScenarioError.

    where: what errors call it.
    path: the file beside which device classes are looked for. The rest is as for `load`.
    """
    changes = reading.overrides_of(overrides)
    if seed is not None:
        changes[("seed",)] = seed
    whole = dict(table)
    for key, value in changes.items():
        whole = reading.override(whole, key, value)
    try:
        whole = apply_changes(current(whole))
    except Mistake as mistake:
        raise _error_of([mistake.problem], where, changes) from mistake
    large = list(checks.oversized(whole))
    if large:
        raise _error_of(large, where, changes)
    context = parts.Reading(trusted)
    try:
        scenario = Scenario.model_validate(whole, context=context)
    except ValidationError as error:
        found = naming.sent_home(problems_of(error, Scenario, whole), Scenario, whole)
        raise _error_of(found, where, changes) from error
    scenario._path, scenario._foreign = path, tuple(dict.fromkeys(context.foreign))
    found = (
        list(checks.problems(scenario))
        or list(_sweep(scenario, whole, trusted))
        or list(_spaces(scenario, whole, trusted))
    )
    if found:
        raise _error_of(found, where, changes)
    return scenario


def _sweep(scenario: Scenario, table: dict[str, Any], trusted: bool) -> Iterable[Problem]:
    """Mistakes in the values of a sweep, each taken by itself."""
    base = {key: value for key, value in table.items() if key != "sweep"}
    for key, values in scenario.sweep.items():
        for value in values:
            try:
                parse(base, point(key, value).overrides, path=scenario.path, trusted=trusted)
            except ValueError as error:
                yield Problem(("sweep", key), f": {error}")
            except InputError as error:
                yield Problem(("sweep",), f": {error}", type(error))


def _spaces(scenario: Scenario, table: dict[str, Any], trusted: bool) -> Iterable[Problem]:
    """Spaces whose ends no scenario can have. A study looks at each variant by itself."""
    if scenario.tune is None or scenario.sweep:
        return
    base = {key: value for key, value in table.items() if key != "tune"}
    for key, space in scenario.tune.space.items():
        for end in space.ends:
            try:
                parse(base, {key: end}, path=scenario.path, trusted=trusted)
            except InputError as error:
                yield Problem(("tune", "space", key), f": {error}", type(error))


def _error_of(problems: list[Problem], where: str, changes: Mapping[KeyPath, Any]) -> InputError:
    """The first problem as one paragraph, and how many more there are."""
    first, others = problems[0], len(problems) - 1
    guilty = [key for key in changes if key == first.path[: len(key)]]
    at = f"{where} with {dotted(guilty[0])} overridden" if guilty else where
    more = f" (and {others} more mistake{'s' * (others > 1)})" if others else ""
    return first.error(f"{at}: {first}{more}")
