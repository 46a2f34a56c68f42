"""Errors of a model while it computes, with its name, the batch, and its place in the code."""

from __future__ import annotations

import inspect
import os
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simfl.errors import PluginError, SimflError, first_line, origin
from simfl.lazy import nn, torch

if TYPE_CHECKING:
    from torch import Tensor

_ORIGIN = "_simfl_origin"  # a model keeps it wherever it is copied to

_STANDARD = str(sysconfig.get_path("stdlib")) + os.sep
_INSTALLED = tuple(str(sysconfig.get_path(key)) + os.sep for key in ("purelib", "platlib"))


def keep_origin(model: nn.Module, factory: Callable[..., Any]) -> None:
    """The model remembers which factory made it, and where that is written."""
    function = getattr(factory, "function", None) or factory
    name = getattr(factory, "kind", None) or getattr(function, "__qualname__", None)
    source = function if inspect.isfunction(function) or inspect.isclass(function) else None
    origin_of = f"{name or type(function).__qualname__}{_written(source or type(function))}"
    if type(model).__setattr__ is nn.Module.__setattr__:
        setattr(model, _ORIGIN, origin_of)


def name_of(model: nn.Module) -> str:
    """As its scenario calls it, with file and line if it is a plug-in; else its class."""
    return getattr(model, _ORIGIN, "") or f"{type(model).__qualname__}{_written(type(model))}"


class computing:
    """What the model raises inside becomes a PluginError that says what it was doing.

    doing: as in "training on device 3". x: the batch at hand, to be set before each.
    named: the message begins with the model's name; it need not if others put that before it.
    """

    __slots__ = ("doing", "model", "named", "x")

    def __init__(self, model: nn.Module, doing: str, named: bool = True) -> None:
        self.model = model
        self.doing = doing
        self.named = named
        self.x: Tensor | None = None

    def __enter__(self) -> computing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if isinstance(error, SimflError) or not isinstance(error, Exception | SystemExit):
            return
        subject = f"model {name_of(self.model)} " if self.named else ""
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise PluginError(
            f"{subject}failed in {self.doing}{batch(self.x)}{origin(error)} ({reason})"
        ) from error


def batch(x: Tensor | None) -> str:
    """Shape and type of a batch, as a message tells them."""
    if x is None:
        return ""
    return f" with a batch of shape {tuple(x.shape)}, {str(x.dtype).removeprefix('torch.')},"


def is_foreign(filename: str) -> bool:
    """Whether a file is neither simfl's nor PyTorch's nor Python's own."""
    ours = (Path(__file__).parents[1], Path(torch.__file__).parent)
    if filename.startswith(("<", *(f"{folder}{os.sep}" for folder in ours))):
        return False
    return filename.startswith(_INSTALLED) or not filename.startswith(_STANDARD)


def _written(source: Any) -> str:
    """ " (FILE:LINE)" of a plug-in's function or class; empty for others."""
    try:
        filename = inspect.getsourcefile(source) or "<unknown>"
        line = inspect.getsourcelines(source)[1]
    except (OSError, TypeError):  # written nowhere, as in an interpreter
        return ""
    return f" ({filename}:{line})" if is_foreign(filename) else ""
