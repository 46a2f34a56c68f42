"""Whose code it is: the app's own modules, Flower's, or a library's.

An app's own code is every module of its packages and every file below its folders, except for
what is installed there (a virtual environment inside the folder, the standard library).
"""

from __future__ import annotations

import os
import sys
import sysconfig
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

FLOWER, OURS = "flwr", "simfl"
_INSTALLED = ("site-packages", "dist-packages")
_LIBRARIES = tuple(
    Path(sysconfig.get_path(name)).resolve()
    for name in ("stdlib", "platstdlib", "purelib", "platlib")
)


@dataclass(frozen=True)
class Code:
    """The code of one app.

    roots: folders of its files.
    packages: top-level names of its modules, wherever they are installed.
    """

    roots: Collection[Path] = ()
    packages: Collection[str] = ()

    def owns(self, namespace: Mapping[str, Any]) -> bool:
        """True for the globals of a module of the app."""
        top = str(namespace.get("__name__", "")).partition(".")[0]
        if top in (OURS, FLOWER):
            return False
        return top in self.packages or self._below_a_root(namespace.get("__file__"))

    def runs_on_the_clock(self, namespace: Mapping[str, Any]) -> bool:
        """True for the app's modules and for Flower's."""
        top = str(namespace.get("__name__", "")).partition(".")[0]
        return top == FLOWER or self.owns(namespace)

    def modules(self) -> Iterator[ModuleType]:
        """Modules on the virtual clock that are imported by now."""
        for module in list(sys.modules.values()):
            if isinstance(module, ModuleType) and self.runs_on_the_clock(vars(module)):
                yield module

    def _below_a_root(self, file: Any) -> bool:
        return isinstance(file, str) and _place(file).startswith(self._prefixes)

    @cached_property
    def _prefixes(self) -> tuple[str, ...]:
        return tuple(os.path.join(root, "") for root in self.roots)


@cache
def _place(file: str) -> str:
    """Where a file of an app lies; empty for what is installed."""
    if any(part in _INSTALLED for part in Path(file).parts):
        return ""
    path = Path(file).resolve()
    return "" if any(path.is_relative_to(library) for library in _LIBRARIES) else str(path)


def code_of(modules: Iterable[ModuleType], packages: Iterable[str] = ()) -> Code:
    """The code of an app that was imported already: these modules and all that lies beside them."""
    roots: list[Path] = []
    names = list(packages)
    for module in modules:
        top = module.__name__.partition(".")[0]
        names.append(top)
        file = getattr(sys.modules.get(top), "__file__", None) or getattr(module, "__file__", None)
        roots.append((Path(file).parent if file else Path.cwd()).resolve())
    return Code(tuple(dict.fromkeys(roots)), tuple(dict.fromkeys(names)))
