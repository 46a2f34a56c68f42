"""What a scenario holds that simfl did not make: code by dotted path, and Python objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, time
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

from simfl.errors import ScenarioError
from simfl.registry import target_of


@dataclass(frozen=True)
class Foreign:
    """A function named by dotted path with its options, or any part that was not imported."""

    kind: str
    options: Mapping[str, Any]
    function: Callable[..., Any] | None = field(default=None, compare=False, repr=False)

    def __call__(self, *args: Any) -> Any:
        """Calls the function as a shipped part is called, its options last."""
        if self.function is None:
            raise ScenarioError(f"{self.kind} was not imported, so it cannot be used")
        return self.function(*args, **self.options)


def is_table(given: Any) -> bool:
    """Whether this is what a file can hold, and no dictionary of arrays."""
    if not isinstance(given, dict) or "kind" in given:
        return isinstance(given, dict)
    halves = {"train", "test"} <= set(given)
    return not halves and all(isinstance(value, _PLAIN) for value in given.values())


_PLAIN = (str, int, float, list, dict, date, time)


def given_before(kind: str, noun: str) -> str:
    """What to do about a part that was a Python object when its scenario was written."""
    key = {"data set": "dataset"}.get(noun, noun)
    return (
        f"{kind} was a Python object, which no file can hold: give it again, as in "
        f'simfl.run("scenario.toml", {key}=...)'
    )


def recorded(given: Any) -> Any:
    """A part made in Python; a function or a plain class goes by its name."""
    function = isinstance(given, type | FunctionType | BuiltinFunctionType | MethodType)
    return Foreign(target_of(given), {}, given) if function else given
