"""The Flower that is installed, or a clear word that it is not; the rest never imports it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import AbstractContextManager
from importlib import metadata
from types import ModuleType
from typing import Any, Protocol

from simfl.errors import InputError
from simfl.interop.flower.grid import VirtualGrid
from simfl.interop.flower.hooks import Hooks
from simfl.interop.flower.protocol import FlowerProtocol, Model

#: The oldest release that has what the bridge needs, and the newest that it was tested with.
OLDEST, NEWEST = (1, 22), (1, 42)


class Installed(Protocol):
    """What a run asks of the Flower that plays in it; `compat` gives the real one."""

    protocol: FlowerProtocol
    version: str
    dates: Iterable[ModuleType]  #: modules whose `now()` dates messages

    def model_of(self, arrays: Any) -> Model | None:
        """The model in arrays of any of Flower's forms."""

    def model_from(self, given: Any) -> Model | None:
        """As `model_of`, also of a list of numpy arrays or a state dict."""

    def answered(self, reply: Any) -> str | None:
        """The name of the message that this is a reply to; None for what is no reply."""

    def on_the_grid(self, grid: VirtualGrid, hooks: Hooks) -> AbstractContextManager[Any]:
        """Flower sends through this grid meanwhile; gives the Grid that server apps know."""

    def modules_of(self, server_app: Any) -> Iterable[ModuleType]:
        """Where the app's own code is."""

    def quiet(self, verbose: bool) -> AbstractContextManager[None]:
        """Flower's log is shown from WARNING on; if verbose, from INFO."""

    def arrays(self, model: Model) -> Any:
        """An ArrayRecord."""

    def params_of(self, model: Model) -> Any:
        """simfl's Params, or None if the arrays are not numpy's."""


def installed() -> Installed:
    """Flower. Raises InputError where it is absent, too old, or not as it is expected to be."""
    wanted = "pip install 'simfl[flower]'"
    tested = f"{_dotted(OLDEST)} to {_dotted(NEWEST)} are tested"
    try:
        version = metadata.version("flwr")
    except metadata.PackageNotFoundError:
        raise InputError(f"Flower is not installed ({wanted}; {tested})") from None
    if _numbers(version) < OLDEST:
        raise InputError(
            f"Flower {version} is too old, simfl needs {_dotted(OLDEST)} ({wanted}; {tested})"
        )
    try:
        from simfl.interop.flower.bridge.patches import flower
    except ImportError as error:
        raise InputError(
            f"Flower {version} is not one that simfl knows ({tested}): {error}"
        ) from error
    return flower(version)


def _numbers(version: str) -> tuple[int, int]:
    major, minor = re.findall(r"\d+", version + ".0")[:2]
    return int(major), int(minor)


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))
