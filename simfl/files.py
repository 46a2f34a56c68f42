"""Files at the border: a user's are read within bounds, simfl's own are whole or not there.

What a user names may be a pipe, a device without end or a file that says less than it holds, so
that every such file is read by `read_file`, or first shown to `regular`. What a run folder holds
may have been changed since: nothing is written or deleted through a link in it, see `own_folder`,
`draft_of` and `remove`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import tomllib
from pathlib import Path
from typing import Any

from simfl.errors import InputError, first_line

#: Bytes that a file may have where its reader knows no better.
MOST_BYTES = 2 * 2**30


def read_file(path: Path, most: int = MOST_BYTES, error: type[InputError] = InputError) -> bytes:
    """What a regular file holds. Raises the error where it is none, or has more than `most` bytes.

    The size that a file states is not trusted: files of the system state none.
    """
    try:
        with os.fdopen(os.open(path, _READ), "rb") as file:
            _check_kind(path, os.fstat(file.fileno()), error)
            size, data = os.fstat(file.fileno()).st_size, b""
            if size <= most:
                data = file.read(most + 1)
    except (OSError, ValueError) as found:  # ValueError: a name with a NUL
        raise error(f"{path}: cannot be read ({_reason(found)})") from found
    if max(size, len(data)) > most:
        raise error(f"{path}: {max(size, len(data)):,} bytes, expected at most {most:,}")
    return data


def read_object(path: Path, most: int = 16 * 2**20) -> dict[str, Any]:
    """The JSON object in a file. Raises InputError where there is none."""
    try:
        found = json.loads(read_file(path, most))
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not sound JSON ({first_line(error)})") from error
    if not isinstance(found, dict):
        raise InputError(f"{path}: holds no JSON object")
    return found


def regular(path: Path, error: type[InputError] = InputError) -> Path:
    """The path, for a library to open. Raises the error where it is no regular file."""
    try:
        _check_kind(path, path.stat(), error)
    except (OSError, ValueError) as found:
        raise error(f"{path}: cannot be read ({_reason(found)})") from found
    return path


#: Opening a pipe must not wait for its writer. Flags of other systems are left out.
_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def _check_kind(path: Path, found: os.stat_result, error: type[InputError]) -> None:
    if stat.S_ISREG(found.st_mode):
        return
    kinds = {"a folder": stat.S_ISDIR, "a pipe": stat.S_ISFIFO, "a device": stat.S_ISCHR}
    kind = next((name for name, holds in kinds.items() if holds(found.st_mode)), "something else")
    raise error(f"{path}: {kind}, expected a regular file")


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or first_line(error)


def put(path: Path, data: bytes) -> None:
    """The file holds these bytes, durably; until then it is as it was. A link is replaced."""
    draft = draft_of(path)
    draft.write_bytes(data)
    settle(draft)
    os.replace(draft, path)
    settle_folder(path.parent)


def draft_of(path: Path) -> Path:
    """Where the file is written before it gets its name; nothing is there yet."""
    draft = path.with_name(path.name + ".tmp")
    remove(draft)
    return draft


def own_folder(path: Path) -> Path:
    """A folder of simfl's own, made if need be. Raises InputError where a link stands there."""
    if path.is_symlink():
        raise InputError(
            f"{path}: is a link, and simfl writes and deletes through none; remove it, or choose "
            "another folder"
        )
    path.mkdir(parents=True, exist_ok=True)
    return path


def remove(path: Path) -> None:
    """Nothing stands at this path any more; of a link, the link goes and its target stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def settle(path: Path) -> None:
    """What was written into the file survives a loss of power."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def settle_folder(folder: Path) -> None:
    """So do the names in a folder, where folders can be opened (not on Windows)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


#: Bytes that a file may have: more than a list with a number of 17 digits for each of 131,072
#: devices has. Reading the worst of so many takes some two seconds of a free processor.
TOML_BYTES = 3 * 2**20

#: A key of many parts, quoted or not, costs tomllib the square of their number.
_PART = r"""(?:[\w-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_LONG_KEY = re.compile(rf"(?:^|[\[{{,])[ \t]*(?:{_PART}[ \t]*\.[ \t]*){{16}}", re.MULTILINE)


def read_toml(path: Path, error: type[InputError] = InputError) -> dict[str, Any]:
    """The tables of a file. Raises InputError, or the kind of it that is given."""
    data = read_file(path, TOML_BYTES, error)
    try:
        return parse_toml(data.decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError as found:
        raise error(f"{path}: not UTF-8 (byte {found.start})") from found
    except tomllib.TOMLDecodeError as found:
        raise error(f"{path}: not valid TOML: {found}") from found


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a text. Raises TOMLDecodeError, also where tomllib has other words for it."""
    if _LONG_KEY.search(text):
        raise tomllib.TOMLDecodeError("a key of 16 parts or more")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:  # a whole number of more digits than Python reads
        raise tomllib.TOMLDecodeError("a number has too many digits") from error
    except RecursionError as error:
        raise tomllib.TOMLDecodeError("tables or lists are nested too deeply") from error
