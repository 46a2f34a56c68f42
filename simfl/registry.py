"""Parts by name: a short name, an installed plug-in's name, or "package.module:Attribute"."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from operator import attrgetter
from typing import Any

from simfl.errors import InputError, ScenarioError, did_you_mean, first_line, shorten

_SAFE = "PYTHONSAFEPATH"

#: Begins the `kind` of a part that was given as a Python object, which no file can name.
OBJECT = "object:"


class Registry:
    """What can stand behind one `kind` key. Nothing is imported before it is asked for."""

    def __init__(self, noun: str, group: str, shipped: Mapping[str, str]) -> None:
        self.noun = noun  #: as error messages call it: "strategy", "codec", ...
        self.group = group  #: entry-point group in which third parties register
        self.shipped = dict(shipped)  #: short name -> "module:Attribute"

    def names(self) -> list[str]:
        """Short names, shipped and installed, in alphabetical order."""
        return sorted({*self.shipped, *(e.name for e in self._installed())})

    def target(self, name: str) -> str:
        """The "module:Attribute" behind a name; imports nothing. Raises ScenarioError."""
        if ":" in name:
            return self._moved(name)
        if name in self.shipped:
            return self.shipped[name]
        for entry in self._installed():
            if entry.name == name:
                return entry.value
        hint = did_you_mean(name, self.names())
        raise ScenarioError(f"{shorten(name)!r} is not a {self.noun} {hint}")

    def name_of(self, target: str) -> str:
        """The short name of a "module:Attribute", or the target itself if it has none."""
        installed = {entry.value: entry.name for entry in self._installed()}
        shipped = {where: name for name, where in self.shipped.items()}
        return (installed | shipped).get(target, target)

    def get(self, name: str) -> Any:
        """The part itself. Raises ScenarioError when it is unknown or cannot be imported."""
        target = self.target(name)
        if ":" in name:
            _reach_here()
        module, _, attribute = target.partition(":")
        try:
            return attrgetter(attribute)(importlib.import_module(module))
        except InputError:
            raise
        except (Exception, SystemExit) as error:  # a third party's module may fail in any way
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise ScenarioError(
                f"{self.noun} {shorten(name)!r}: cannot import {shorten(target)} ({reason})"
            ) from error

    def _moved(self, target: str) -> str:
        """Where a shipped part lives now: run folders keep dotted names that were true once."""
        module, _, attribute = target.partition(":")
        if not module.startswith("simfl.") or target in self.shipped.values():
            return target
        homes = [home for home in self.shipped.values() if home.endswith(f":{attribute}")]
        return homes[0] if homes else target

    def _installed(self) -> metadata.EntryPoints:
        return _entry_points(self.group)


def target_of(part: Any) -> str:
    """The "module:qualname" of a class or function."""
    return f"{part.__module__}:{part.__qualname__}"


def reached(target: str) -> Any:
    """What a "module:attribute" of an imported module is; None if there is no such thing.

    The main script is none: it has another name wherever a file is read.
    """
    module, _, attribute = target.partition(":")
    try:
        return None if module == "__main__" else attrgetter(attribute)(sys.modules[module])
    except (KeyError, AttributeError):
        return None


def _reach_here() -> None:
    """Dotted names reach modules of the current folder, behind everything that is installed.

    In front, a file `random.py` that happens to lie there would stand in for the library's.
    """
    if "" not in sys.path:
        sys.path.append("")


@contextmanager
def safe_path() -> Iterator[None]:
    """Python processes started meanwhile do not look into the current folder first, either."""
    before = os.environ.get(_SAFE)
    os.environ[_SAFE] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE]
        else:
            os.environ[_SAFE] = before


@cache
def _entry_points(group: str) -> metadata.EntryPoints:
    return metadata.entry_points(group=group)  # reads the files of every installed package
