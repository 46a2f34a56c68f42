"""Parts of a learning problem that were given as Python objects, from a notebook or a script.

A file cannot name them, so a run's folder says what they were (see `described`), and the run goes
on or is played again when they are given again.
"""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any

from simfl.errors import PluginError
from simfl.fingerprint import digest, source_digest, value_digest
from simfl.registry import OBJECT, reached, target_of


def kind_of(thing: Any) -> str:
    """ "package.module:Name" where a file can name a function or a class, else "object:Name"."""
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    if named is thing and reached(target_of(thing)) is thing:
        return target_of(thing)
    return f"{OBJECT}{name_of(thing)}"


def name_of(thing: Any) -> str:
    """The object's own short name, or that of its class."""
    thing = thing.func if isinstance(thing, partial) else thing
    return str(getattr(thing, "__name__", type(thing).__name__))


def called(thing: Any) -> str:
    """How messages call it: as a file does, or by its own name."""
    return kind_of(thing).removeprefix(OBJECT)


def is_factory(thing: Any) -> bool:
    """Whether this is a function, or a class that no file can name."""
    if inspect.isroutine(thing) or isinstance(thing, partial):
        return True
    return isinstance(thing, type) and kind_of(thing).startswith(OBJECT)


def digest_of(thing: Any) -> str:
    """Digest of a function, a class or another object: one like no other if it cannot be known."""
    if isinstance(thing, type):
        return source_digest(thing) or _unique()
    return value_digest(thing) or _unique()


def _unique() -> str:
    return digest(uuid.uuid4().hex)


def make(
    noun: str, thing: Callable[..., Any], options: dict[str, Any], offered: dict[str, Any]
) -> Any:
    """Calls a factory with what it asks for.

    noun: what it makes, as error messages call it.
    options: those of its table, by name.
    offered: what simfl has to give: by name where a parameter is called so, else in this order to
        the parameters that must be given.
    Raises PluginError, in one sentence that says what to write.
    """
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):  # written in C
        return thing(*offered.values(), **options)
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    free = [p for p in parameters if p.kind in kinds and p.name not in options]
    named = {p.name: offered[p.name] for p in free if p.name in offered}
    if named and free[0].kind is not kinds[0]:
        needed = [p.name for p in free if p.default is p.empty and p.name not in named]
        _all_given(noun, thing, needed, offered)
        return thing(**named, **options)
    needed = [p.name for p in free if p.default is p.empty]
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return thing(*offered.values(), **options)
    if isinstance(thing, type) or len(needed) not in (0, len(offered)):
        _all_given(noun, thing, needed, offered)
    return thing(*list(offered.values())[: len(needed)], **options)


def _all_given(noun: str, thing: Any, missing: list[str], offered: dict[str, Any]) -> None:
    if missing:
        given = ", ".join(offered)
        call = f"{name_of(thing)}({', '.join(f'{name}=...' for name in missing)})"
        raise PluginError(
            f"needs {', '.join(missing)}, which only you know: write {noun}={call}, or "
            f"{noun}=lambda {given}: {call}"
        )
