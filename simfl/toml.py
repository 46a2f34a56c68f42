"""TOML files, whatever is in them: a table, or one sentence that says why not."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from simfl.errors import InputError
from simfl.files import read_file

#: Bytes that a file may have: three times what a list with a number for each of 131,072 devices
#: has. Reading the worst of so many takes some five seconds.
MOST_BYTES = 4 * 2**20

#: A key of many parts, quoted or not, costs tomllib the square of their number.
_PART = r"""(?:[\w-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_LONG_KEY = re.compile(rf"(?:^|[\[{{,])[ \t]*(?:{_PART}[ \t]*\.[ \t]*){{16}}", re.MULTILINE)


def read_toml(path: Path, error: type[InputError] = InputError) -> dict[str, Any]:
    """The tables of a file. Raises InputError, or the kind of it that is given."""
    data = read_file(path, MOST_BYTES, error)
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
