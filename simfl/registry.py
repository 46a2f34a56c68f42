"""Parts by name: a short name, an installed plug-in's name, or "package.module:Attribute"."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from functools import cache
from importlib import metadata
from operator import attrgetter
from typing import Any

from simfl.errors import InputError, ScenarioError, did_you_mean


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
        raise ScenarioError(f"{name!r} is not a {self.noun} {did_you_mean(name, self.names())}")

    def name_of(self, target: str) -> str:
        """The short name of a "module:Attribute", or the target itself if it has none."""
        installed = {entry.value: entry.name for entry in self._installed()}
        shipped = {where: name for name, where in self.shipped.items()}
        return (installed | shipped).get(target, target)

    def get(self, name: str) -> Any:
        """The part itself. Raises ScenarioError when it is unknown or cannot be imported."""
        target = self.target(name)
        module, _, attribute = target.partition(":")
        try:
            return attrgetter(attribute)(importlib.import_module(module))
        except InputError:
            raise
        except Exception as error:  # a third party's module may fail in any way
            raise ScenarioError(
                f"{self.noun} {name!r}: cannot import {target} ({error})"
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


@cache
def _entry_points(group: str) -> metadata.EntryPoints:
    return metadata.entry_points(group=group)  # reads the files of every installed package
