"""Which parts of a scenario a file can name, and which it cannot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from datetime import date, time
from typing import Any

from pydantic import BaseModel

from simfl.registry import OBJECT, reached, target_of
from simfl.scenario.complain import KeyPath, dotted
from simfl.scenario.parts import Foreign, option_fields


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
    told = is_dataclass(part) or not getattr(part, "__dict__", None)  # all of it, by its options
    return told and reached(target_of(type(part))) is type(part)


def _name(part: Any) -> str:
    if hasattr(part, "described"):
        return str(part.described()["kind"])
    return part.kind if isinstance(part, Foreign) else target_of(type(part))
