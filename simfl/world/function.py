"""A generator function as a process, by name from a file or as a Python object.

def strike(env, world, minutes=6):
    yield env.timeout(60 * minutes)
    ...

simfl.run(..., processes=[strike])

[[process]]
kind = "mypackage.world:strike"
minutes = 10
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable
from typing import Any

from simfl.errors import ScenarioError, did_you_mean
from simfl.fingerprint import digest, value_digest
from simfl.registry import OBJECT, reached, target_of


class FunctionProcess:
    """Runs a function of (env, world), which is given the options of its table by name."""

    def __init__(self, function: Callable[..., Any], options: dict[str, Any]) -> None:
        self.function = function
        self.options = options
        named = reached(target_of(function)) is function
        self._kind = target_of(function) if named else f"{OBJECT}{function.__name__}"
        self._digest = "" if named else value_digest(function) or digest(uuid.uuid4().hex)

    def run(self, env: Any, world: Any) -> Any:
        """What the function returns: a generator, or None if it has acted once."""
        return self.function(env, world, **self.options)

    def described(self) -> dict[str, Any]:
        """What a scenario's file holds of it."""
        table = {"kind": self._kind, **self.options}
        return {**table, "digest": self._digest} if self._digest else table


def as_part(thing: Any, **options: Any) -> Any:
    """A function as a process; anything else as it is. Raises ScenarioError."""
    if not inspect.isroutine(thing):
        return thing
    _check_options(thing, options)
    return FunctionProcess(thing, options)


def _check_options(function: Callable[..., Any], options: dict[str, Any]) -> None:
    """Raises ScenarioError for a function that cannot be called with env, world and these."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # written in C
        return
    try:
        signature.bind(None, None, **options)
    except TypeError as error:
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        known = [name for name, one in signature.parameters.items() if one.kind in kinds]
        strange = [name for name in options if name not in known[2:]]
        hint = f" {did_you_mean(strange[0], known[2:])}" if strange else ""
        raise ScenarioError(
            f"{function.__name__}{signature} cannot be called with (env, world"
            f"{''.join(f', {name}=...' for name in options)}): {error}{hint}"
        ) from None
