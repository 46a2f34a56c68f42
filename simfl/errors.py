"""What can go wrong, drawn.

SimflError                    exit 3
├── InputError                exit 2   what the user wrote is wrong; says where, and what would do
│   ├── ScenarioError                  a key of a scenario or a command-line override
│   ├── CatalogueError                 a device or network class
│   ├── DataError                      a data set, its files or its partition
│   └── TraceError                     a trace file
├── Stalled                   exit 4   nothing can ever happen again, or time stands still
├── WireError                 exit 3   a message is truncated or corrupt
│   └── OutOfStep                      it follows a history that its receiver does not have
├── PluginError               exit 3   a strategy, codec or local rule raised or returned nonsense
└── InvariantError            exit 3   simfl broke one of its own laws: a bug
"""

from __future__ import annotations

import difflib
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path


class SimflError(Exception):
    """Root of everything that simfl raises on purpose."""

    exit_code = 3


class InputError(SimflError):
    """Something the user wrote is wrong; nothing was run."""

    exit_code = 2


class ScenarioError(InputError):
    """A key of a scenario, or an override of it, is wrong."""


class CatalogueError(InputError):
    """A device or network class is unknown or malformed."""


class DataError(InputError):
    """A data set is missing, damaged, or cannot be partitioned as asked."""


class TraceError(InputError):
    """A trace file is malformed or holds something that it must not."""


class Stalled(SimflError):
    """The simulation can make no further progress."""

    exit_code = 4


class WireError(SimflError):
    """A message cannot be decoded: truncated, corrupt, or out of step with the receiver."""


class OutOfStep(WireError):
    """A message follows a history that its receiver does not have: the sender must restart."""


class PluginError(SimflError):
    """A plug-in raised, or returned what no plug-in may return."""


class InvariantError(SimflError):
    """A law that simfl guarantees does not hold."""


class blaming:
    """Whatever a plug-in raises inside becomes a PluginError that names it.

    plugin: what it is and which of its methods is called. Mistakes of a user's stay what they are,
    and so does a message that is out of step. A class, for it stands around every message: a
    generator would take five times as long.
    """

    __slots__ = ("plugin",)

    def __init__(self, plugin: str) -> None:
        self.plugin = plugin

    def __enter__(self) -> None:
        """Nothing has to be done before."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if error is None or isinstance(error, InputError | OutOfStep):
            return
        if isinstance(error, PluginError):
            raise PluginError(f"{self.plugin}: {error}") from error
        if isinstance(error, Exception | SystemExit):
            what = f"{type(error).__name__}: {first_line(error)}"
            raise PluginError(f"{self.plugin} failed ({what}){origin(error)}") from error


def origin(error: BaseException) -> str:
    """` at file.py:12`, the last line of a plug-in that an exception came through; "" if none did.

    Lines of simfl, of Python's own library and of installed packages are not where a mistake is,
    unless there are no others.
    """
    lines = [
        (frame.f_code.co_filename, number)
        for frame, number in traceback.walk_tb(error.__traceback__)
    ]
    ours = str(Path(__file__).parent)
    foreign = [line for line in lines if not line[0].startswith((ours, "<"))]
    libraries = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
    written = [line for line in foreign if not line[0].startswith(libraries)] or foreign[:1]
    return f" at {Path(written[-1][0]).name}:{written[-1][1]}" if written else ""


def first_line(error: BaseException) -> str:
    """What an exception of a library says, without the paragraphs that some add."""
    return str(error).strip().partition("\n")[0]


#: So many options are still listed beside the nearest.
_MANY = 40


def did_you_mean(given: str, options: Iterable[str]) -> str:
    """Ends an error message: the nearest option, then all of them in alphabetical order.

    Where there is a near one among many, the three nearest alone: a page of names hides it.
    """
    known = sorted(options)
    near = difflib.get_close_matches(given, known, n=3, cutoff=0.5)
    if near and len(known) > _MANY:
        return f"(did you mean {' or '.join(map(repr, near))}? {len(known)} options in all)"
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"({hint}options: {', '.join(known) or 'none'})"
