"""The command line as click has it, with the help that its options were given.

typer escapes brackets for a markup that is not used here, and with newer versions of click it loses
the help of arguments, or lists them twice: all is put right on the finished commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

import typer
from typer.main import get_command
from typer.models import ArgumentInfo


def command(app: typer.Typer) -> Any:
    """The command of an app. Its parameters say what they were given as help, and no more."""
    whole = get_command(app)
    callbacks = {name: callback for name, callback in _callbacks(app, "")}
    for name, leaf in _leaves(whole, ""):
        leaf.format_arguments = _nothing  # click's own list; typer has them among the options
        known = _arguments(callbacks[name]) if name in callbacks else {}
        for parameter in leaf.params:
            if parameter.name in known:
                parameter.help = known[parameter.name]
            parameter.get_help_record = _plain(parameter.get_help_record)
    return whole


def _nothing(context: Any, formatter: Any) -> None: ...


def _callbacks(app: typer.Typer, above: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    for info in app.registered_commands:
        if info.callback is not None:
            yield f"{above} {info.name or info.callback.__name__.replace('_', '-')}", info.callback
    for group in app.registered_groups:
        if group.typer_instance is not None:
            yield from _callbacks(group.typer_instance, f"{above} {group.name}")


def _leaves(made: Any, above: str) -> Iterator[tuple[str, Any]]:
    yield above, made
    for name, below in getattr(made, "commands", {}).items():
        yield from _leaves(below, f"{above} {name}")


def _arguments(callback: Callable[..., Any]) -> dict[str, str]:
    """The help of a command's arguments, as its annotations have it."""
    hints = get_type_hints(callback, include_extras=True)
    found = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    return {
        name: info.help
        for name, extras in found.items()
        for info in extras
        if isinstance(info, ArgumentInfo) and info.help
    }


def _plain(record: Callable[..., Any]) -> Callable[..., Any]:
    """The help record of a parameter without escapes, and without what its brackets say already."""

    def plain(*args: Any, **options: Any) -> Any:
        found = record(*args, **options)
        if found is None:
            return None
        name, words = found
        return name, words.replace("\\[required]", "").replace("\\[", "[").rstrip()

    return plain
