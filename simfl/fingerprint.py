"""Digests of texts, files, arrays and code, quick enough for a data set at every start."""

from __future__ import annotations

import hashlib
import inspect
import marshal
import sys
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from simfl.files import regular

_SMALL_BYTES = 4 * 2**20  # up to which an array is hashed byte by byte
_ROW_BYTES = 2**15


def digest(*texts: str) -> str:
    """ "blake2b:" and 24 hexadecimal digits of the texts in this order."""
    whole = hashlib.blake2b(digest_size=12)
    for text in texts:
        whole.update(f"{len(text)}:{text}".encode())
    return f"blake2b:{whole.hexdigest()}"


def file_digest(path: Path) -> str:
    """Of a file's bytes."""
    with regular(path).open("rb") as file:
        whole = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=12))
    return f"blake2b:{whole.hexdigest()}"


def array_digest(*arrays: np.ndarray) -> str:
    """Of types, shapes and values, which must agree to the last bit.

    A large array is laid out in rows of 32 KiB, and the exclusive or down its columns and the sum
    along its rows are hashed: 2.8 GB/s instead of 0.95, 0.07 s for MNIST. A value that changes,
    rows that change places, and examples that change labels are seen. It is no defence against a
    forger.
    """
    whole = hashlib.blake2b(digest_size=12)
    for array in arrays:
        values = np.ascontiguousarray(array)
        whole.update(f"{values.dtype.str}{values.shape}".encode())
        _add(whole, values.reshape(-1).view(np.uint8))
    return f"blake2b:{whole.hexdigest()}"


def _add(whole: hashlib.blake2b, raw: np.ndarray) -> None:
    """raw: (n,) uint8."""
    if raw.nbytes > _SMALL_BYTES:
        rows, rest = np.split(raw, [raw.nbytes // _ROW_BYTES * _ROW_BYTES])
        words = rows.view("<u8").reshape(-1, _ROW_BYTES // 8)
        whole.update(np.bitwise_xor.reduce(words, axis=0).data)
        whole.update(words.sum(axis=1, dtype=np.uint64).data)
        raw = rest
    whole.update(raw.data)


def source_digest(origin: Any) -> str | None:
    """Of the module's file in which a function or class is written; None if that is nowhere.

    Of the main script and of notebooks, where other cells change, that of the function or class.
    """
    path = getattr(sys.modules.get(origin.__module__), "__file__", None)
    with suppress(OSError, TypeError):
        if path and origin.__module__ != "__main__":
            return file_digest(Path(path))
        return digest(inspect.getsource(origin))
    codes = [_compiled(part) for part in _functions(origin)]
    return digest(*codes) if codes else None


def value_digest(value: Any) -> str | None:
    """Of what an object holds: of a function its code and closure; None if it cannot be known."""
    from joblib import hash as hash_of

    try:
        if not isinstance(value, FunctionType):
            return digest(str(hash_of(value)))
        cells = [cell.cell_contents for cell in value.__closure__ or ()]
        held = [value_digest(part) for part in (*cells, value.__defaults__, value.__kwdefaults__)]
        parts = [source_digest(value), _compiled(value), *held]
    except Exception:  # whatever a stranger's attributes raise
        return None
    return None if None in parts else digest(*map(str, parts))


def _functions(origin: Any) -> list[Any]:
    own = [origin, *vars(origin).values()] if isinstance(origin, type) else [origin]
    return [part for part in own if hasattr(part, "__code__")]


def _compiled(function: Any) -> str:
    """Its code, wherever that stands."""
    return marshal.dumps(_placeless(function.__code__)).hex()


def _placeless(code: CodeType) -> CodeType:
    constants = tuple(
        _placeless(part) if isinstance(part, CodeType) else part for part in code.co_consts
    )
    return code.replace(
        co_filename="", co_firstlineno=1, co_linetable=b"", co_consts=constants, co_name="",
        co_qualname="",
    )  # fmt: skip
