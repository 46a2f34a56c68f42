"""The exceptions of simfl, drawn as a tree.

SimflError                    exit 3
├── InputError                exit 2   what the user wrote is wrong; says where, and what would do
│   ├── HeldError                      another process is writing into a run folder
│   ├── ScenarioError                  a key of a scenario or a command-line override
│   ├── CatalogueError                 a device or network class
│   ├── DataError                      a data set, its files or its partition
│   └── TraceError                     a trace file
├── Stalled                   exit 4   nothing can ever happen again, or time stands still
├── Diverged                  exit 4   the model, a loss or a score is not finite any more
├── WireError                 exit 3   a message is truncated or corrupt
│   └── OutOfStep                      it follows a history that its receiver does not have
├── PluginError               exit 3   a strategy, codec or local rule raised or returned nonsense
└── InvariantError            exit 3   simfl broke one of its own laws: a bug
"""

from __future__ import annotations

import difflib
import errno
import os
import sys
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path

#: Characters of a message; a longer one loses its middle.
MOST_CHARACTERS = 1000


class SimflError(Exception):
    """Root of everything that simfl raises on purpose; its message is one paragraph of print.

    What a message quotes from a user's file may hold line breaks, escapes or megabytes.
    """

    exit_code = 3

    def __init__(self, message: object = "") -> None:
        super().__init__(shorten(str(message), MOST_CHARACTERS))


class InputError(SimflError):
    """Something the user wrote is wrong; nothing was run."""

    exit_code = 2


class HeldError(InputError):
    """Another process is writing into a run folder."""


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


class Diverged(SimflError):
    """Learning went wrong: what it has come to is not finite, and so is no result."""

    exit_code = 4


class WireError(SimflError):
    """A message cannot be decoded: truncated, corrupt, or out of step with the receiver."""


class OutOfStep(WireError):
    """A message follows a history that its receiver does not have: the sender must restart."""


class PluginError(SimflError):
    """A plug-in raised, or returned what no plug-in may return."""


class InvariantError(SimflError):
    """A law that simfl guarantees does not hold."""


class plugin_errors:
    """Turns exceptions of a plug-in into a PluginError with the plug-in's name and line.

    plugin: its name and the method that is called. InputError and OutOfStep pass unchanged. A
    class rather than a generator, which would take five times as long around every message.
    """

    __slots__ = ("plugin",)

    def __init__(self, plugin: str) -> None:
        self.plugin = plugin

    def __enter__(self) -> None:
        """Nothing has to be done before."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: object
    ) -> None:
        if error is None or isinstance(error, InputError | OutOfStep) or is_full(error):
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
    written = [line for line in foreign if not _is_installed(line[0])] or foreign[:1]
    return f" at {_name(written[-1][0])}:{written[-1][1]}" if written else ""


def _is_installed(file: str) -> bool:
    """Whether a file of code is part of Python or of an installed package."""
    libraries = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})
    return file.startswith(libraries) or not {"site-packages", "dist-packages"}.isdisjoint(
        Path(file).parts
    )


def _name(file: str) -> str:
    """Of a file of code: with its folder where another loaded file has the same name."""
    name = Path(file).name
    loaded = [getattr(one, "__dict__", {}).get("__file__") for one in [*sys.modules.values()]]
    others = {one for one in loaded if one and one != file and Path(one).name == name}
    return file if others else name


def shorten(text: str, most: int = 60) -> str:
    """The text on one line, without its middle where it has more than `most` characters.

    Line breaks become spaces, and characters that do not print their escapes.

    >>> shorten("a\\nb"), shorten("a" * 100, 9)
    ('a b', 'aaaa...aa')
    """
    if len(text) > 2 * most:  # before the rest looks at each character
        text = text[:most] + text[-most:]
    line = text
    if not text.isprintable():
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in " ".join(text.split("\n")))
    if len(line) <= most:
        return line
    tail = (most - 3) // 3
    return f"{line[: most - 3 - tail]}...{line[-tail:]}"


def is_full(error: BaseException) -> bool:
    """True if a disk had no room, or a limit on files was met, whichever library says so."""
    codes = (errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC))
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in codes
    return any(os.strerror(code) in str(error) for code in codes)


def first_line(error: BaseException) -> str:
    """What an exception of a library says, without the paragraphs that some add."""
    return shorten(str(error).strip().partition("\n")[0], 300)


#: So many options are still listed beside the nearest.
_MANY = 40

#: Of longer words the nearest is not looked for: the search takes the square of their length.
_LONG_WORD = 100

#: Of more options only the first are looked at.
_MOST_WORDS = 1000


def did_you_mean(given: str, options: Iterable[str]) -> str:
    """Ends an error message: the nearest option, then all of them in alphabetical order.

    Where there is a near one among many, the three nearest alone: a page of names hides it.
    """
    known = sorted(options)
    words = [word for word in known[:_MOST_WORDS] if len(word) <= _LONG_WORD]
    near = difflib.get_close_matches(given[:_LONG_WORD], words, n=3, cutoff=0.5)
    if near and len(known) > _MANY:
        return f"(did you mean {' or '.join(map(repr, near))}? {len(known)} options in all)"
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"({hint}options: {', '.join(map(shorten, known[:_MOST_WORDS])) or 'none'})"
