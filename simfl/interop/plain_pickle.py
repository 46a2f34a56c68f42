"""Pickles of plain containers and numbers, and of nothing else.

A pickle is a program. Before it is run, its instructions are read one by one: those that name,
make or call anything are refused, and so are sizes and memo entries that the file cannot fill
(they would take the memory of the machine). What is left can only build lists, dicts, text and
numbers. Tuples are refused as well: nested, as keys, they would take hours to hash.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any, NoReturn

from simfl.errors import TraceError
from simfl.files import read_file

#: Larger files are refused. FedScale's hold some 25 MB.
MOST_BYTES = 512 * 2**20

# fmt: off
_PLAIN = frozenset((
    "PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE",
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS",
    "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET",
))
# fmt: on
_PUTS = ("PUT", "BINPUT", "LONG_BINPUT")


def load_plain(path: Path) -> Any:
    """What the pickle holds. Raises TraceError before anything of it is run."""
    data = read_file(path, MOST_BYTES, TraceError)
    try:
        _inspect(data)
        return _Unpickler(io.BytesIO(data), encoding="latin-1").load()
    except TraceError as error:
        raise TraceError(f"{path}: {error}") from error
    except Exception as error:  # a damaged pickle fails in many ways
        raise TraceError(f"{path}: not a sound pickle ({error or type(error).__name__})") from error


def _inspect(data: bytes) -> None:
    """Refuses whatever is more than data."""
    for count, (opcode, argument, at) in enumerate(pickletools.genops(data)):
        if opcode.name not in _PLAIN:
            raise TraceError(
                f"refused, for byte {at} of the pickle is the instruction {opcode.name}: only "
                "lists, tables, text and numbers are read"
            )
        if opcode.name in _PUTS and int(argument or 0) > count:
            raise TraceError(f"refused, for byte {at} of the pickle asks for memory without need")


class _Unpickler(pickle.Unpickler):
    """The second lock on the same door."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise TraceError(f"refused, for the pickle asks for {module}.{name}")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise TraceError("refused, for the pickle asks for something outside of it")
