"""Names: of parts that a file can or cannot hold, and of options that stand in another section."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import is_dataclass, replace
from datetime import date, time
from typing import Any

from pydantic import BaseModel

from simfl.registry import OBJECT, reached, target_of
from simfl.scenario.complain import KeyPath, Problem, dotted, tables_in
from simfl.scenario.foreign import Foreign
from simfl.scenario.parts import STRATEGY, option_fields


def parts_of(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every part below a value of a scenario, with its key path, in the order of the options."""
    if value is None or isinstance(value, str | int | float | date | time):
        return
    if not isinstance(value, BaseModel | Mapping | list | tuple):
        yield path, value
    for key, inner in _inside(value):
        yield from parts_of(inner, (*path, key))


def unnamed(scenario: Any) -> list[str]:
    """What of a scenario, or of values for one, no file can name; empty if all can be named.

    As in "learning.dataset (m:made.<locals>.load)". A file names a function or a dataclass of
    options that stands at the top of a module. The main script is none: it has another name
    wherever the file is read.
    """
    return [
        f"{dotted(path)} ({_name(part)})" for path, part in parts_of(scenario) if not named(part)
    ]


def _inside(value: Any) -> Iterator[tuple[str | int, Any]]:
    if isinstance(value, BaseModel):
        yield from ((name, getattr(value, name)) for name in type(value).model_fields)
    elif isinstance(value, Foreign):
        yield from value.options.items()
    elif isinstance(value, Mapping):
        yield from value.items()
    elif isinstance(value, list | tuple):
        yield from enumerate(value)
    else:
        yield from ((option.name, getattr(value, option.name)) for option in option_fields(value))


def named(part: Any) -> bool:
    """Whether a file can name a part."""
    if hasattr(part, "described"):
        return not part.described()["kind"].startswith(OBJECT)
    if isinstance(part, Foreign):
        installed = ":" not in part.kind
        return part.function is None or installed or reached(part.kind) is part.function
    whole = is_dataclass(part) or not getattr(part, "__dict__", None)  # all of it, by its options
    return whole and reached(target_of(type(part))) is type(part)


def _name(part: Any) -> str:
    if hasattr(part, "described"):
        return str(part.described()["kind"])
    return part.kind if isinstance(part, Foreign) else target_of(type(part))


def sent_home(
    problems: Iterable[Problem], model: type[BaseModel], table: Mapping[str, Any]
) -> list[Problem]:
    """The problems, unknown keys with the sections of the scenario that have such an option."""
    sections = list(_options(model, table))
    return [
        replace(one, homes=tuple(f"[{name}]" for name, options in sections if one.given in options))
        if one.unknown
        else one
        for one in problems
    ]


def _options(
    model: type[BaseModel], table: Mapping[str, Any]
) -> Iterator[tuple[str, Collection[str]]]:
    """Each section with the names of its options; the strategy's are those of the kind given."""
    for name, section in model.model_fields.items():
        yield name, {key for inner in tables_in(section.annotation) for key in inner.model_fields}
    strategy = table.get("strategy")
    kind = strategy.get("kind") if isinstance(strategy, Mapping) else strategy
    if isinstance(kind, str) and kind in STRATEGY.registry.names():
        yield "strategy", {option.name for option in option_fields(STRATEGY.registry.get(kind))}
