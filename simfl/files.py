"""Files that are whole or not there, also after the machine itself has died."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

from simfl.errors import InputError


def put(path: Path, data: bytes) -> None:
    """The file holds these bytes, durably; until then it is as it was."""
    draft = path.with_name(path.name + ".tmp")
    draft.write_bytes(data)
    settle(draft)
    os.replace(draft, path)
    settle_folder(path.parent)


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


#: Bytes that a file may have: ten times what a list with a number for each of 131,072 devices has.
MOST_BYTES = 16 * 2**20

#: `a.a.a...` costs tomllib the square of its length.
_LONG_KEY = re.compile(r"""(?<![\w"'-])(?:[\w"'-]+\s*\.\s*){100}""")


def read_toml(path: Path, error: type[InputError] = InputError) -> dict[str, Any]:
    """The tables of a file. Raises InputError, or the kind of it that is given."""
    try:
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise error(f"{path}: {size:,} bytes, expected at most {MOST_BYTES:,}")
        return parse_toml(path.read_text(encoding="utf-8-sig"))
    except OSError as found:
        raise error(f"{path}: cannot be read ({found.strerror})") from found
    except UnicodeDecodeError as found:
        raise error(f"{path}: not UTF-8 (byte {found.start})") from found
    except tomllib.TOMLDecodeError as found:
        raise error(f"{path}: not valid TOML: {found}") from found


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a text. Raises TOMLDecodeError, also where tomllib has other words for it."""
    if _LONG_KEY.search(text):
        raise tomllib.TOMLDecodeError("a key of a hundred parts or more")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except ValueError as error:  # a whole number of more digits than Python reads
        raise tomllib.TOMLDecodeError("a number has too many digits") from error
    except RecursionError as error:
        raise tomllib.TOMLDecodeError("tables or lists are nested too deeply") from error
