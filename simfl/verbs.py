"""Verbs that are also files: `simfl.run` is the module run.py, and it can be called.

Importing a submodule binds its name in the package, so a function `simfl.run` would be
replaced by the module as soon as anybody imports `simfl.run`. Instead the module itself is
made callable, and it does not matter who imports what first. In run.py:

    make_verb(__name__)          # from now on simfl.run(...) is simfl.run.run(...)
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class Verb(ModuleType):
    """A module whose call is a call of the function that bears its name."""

    def __call__(self, *args: Any, **options: Any) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **options)


def make_verb(module: str) -> None:
    """The module of this name can be called from now on."""
    sys.modules[module].__class__ = Verb
