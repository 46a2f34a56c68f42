"""A training function or an evaluation, by name from a file or as a Python object."""

from __future__ import annotations

from typing import Any

from simfl.errors import ScenarioError
from simfl.learn.given import called, digest_of, kind_of
from simfl.registry import OBJECT

_OURS = ("directions",)  # options of a table that simfl reads itself


class GivenFunction:
    """Calls a function with the options of its table, which are known by name."""

    def __init__(self, thing: Any, **options: Any) -> None:
        self.thing = thing
        self.options = options
        self._digest = digest_of(thing) if kind_of(thing).startswith(OBJECT) else ""

    @property
    def kind(self) -> str:
        """How messages call it."""
        return called(self.thing)

    @property
    def function(self) -> Any:
        """What it is written in."""
        return self.thing if hasattr(self.thing, "__qualname__") else type(self.thing)

    def __call__(self, *given: Any) -> Any:
        passed = {name: value for name, value in self.options.items() if name not in _OURS}
        return self.thing(*given, **passed)

    def described(self) -> dict[str, Any]:
        """What a scenario's file says of it."""
        table = {"kind": kind_of(self.thing), **self.options}
        return {**table, "digest": self._digest} if self._digest else table


def as_part(thing: Any, **options: Any) -> Any:
    """What is called for each task or evaluation. Raises ScenarioError for what cannot be."""
    if isinstance(thing, type) or not callable(thing):
        raise ScenarioError(
            f"is {thing!r}, expected a function, or its name as in 'package.module:function'"
        )
    return thing if hasattr(thing, "described") else GivenFunction(thing, **options)
