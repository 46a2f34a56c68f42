"""torch, loaded when the first of its names is used: it takes more CPU time than a small run.

A module that commands read only for its options says `from simfl.lazy import torch`; a module that
needs torch to be defined at all (a subclass, a decorator) imports torch itself.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any


class Lazy:
    """Stands for a module that is imported when an attribute of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(import_module(self._name), attribute)
        setattr(self, attribute, found)  # from now on as quick as the module's own
        return found


if TYPE_CHECKING:
    import torch as torch
    from torch import nn as nn
    from torch.nn import functional as functional
else:
    torch = Lazy("torch")
    nn = Lazy("torch.nn")
    functional = Lazy("torch.nn.functional")
