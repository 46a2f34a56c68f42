"""What targets are: classes, values, or the tokens that come next.

Whole numbers and texts in one column are classes; a whole-number table of zeros and ones is flags
of several labels; tokens in the shape of their inputs are sequences; all others are values.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simfl.errors import DataError
from simfl.learn.datasets import intake
from simfl.learn.datasets.rows import Rows


@dataclass(frozen=True, eq=False)
class Targets:
    """Training and test targets of one kind.

    classes: None where they are values.
    """

    y: Any
    y_test: Any
    classes: int | None
    sequence: bool = False


def of(name: str, x: Any, y: Any, x_test: Any, y_test: Any) -> Targets:
    """The targets of these inputs. Raises DataError where the two parts are of two kinds."""
    if isinstance(y, Rows) or isinstance(y_test, Rows):
        return _read_later(name, y, y_test)
    if _kind(y) in "OUST":
        return _named(name, y, y_test)
    made, test = (intake.as_tensor(name, f, v) for f, v in (("y", y), ("y_test", y_test)))
    whole = not (made.dtype.is_floating_point or test.dtype.is_floating_point)
    if not whole or (made.dtype.is_complex or test.dtype.is_complex):
        return Targets(made, test, None)
    if made.ndim == 1 or tuple(made.shape[1:]) == (1,):
        return Targets(made, test, _count(name, made, test))
    tokens = None if isinstance(x, Rows) else intake.as_tensor(name, "x", x)
    if tokens is not None and tokens.shape == made.shape and not tokens.dtype.is_floating_point:
        parts = (tokens, made, intake.as_tensor(name, "x_test", x_test), test)
        most = max(int(part.max()) if part.numel() else 0 for part in parts)
        return Targets(made, test, most + 1, sequence=True)
    return Targets(made, test, None)


def _kind(given: Any) -> str:
    """numpy's letter for the type; "T" where pandas has one of its own for texts."""
    kind = getattr(getattr(given, "dtype", None), "kind", None)
    return str(kind or ("?" if hasattr(given, "detach") else np.asarray(given).dtype.kind))


def _named(name: str, y: Any, y_test: Any) -> Targets:
    """Classes that are texts, numbered in alphabetical order."""
    known, test = (np.asarray(part).astype(str).reshape(len(part)) for part in (y, y_test))
    names, codes = np.unique(known, return_inverse=True)
    strange = np.setdiff1d(test, names)
    if len(strange):
        raise DataError(
            f"{name}: y_test has the class {str(strange[0])!r}, which no training example has"
        )
    return Targets(codes, np.searchsorted(names, test), len(names))


def _count(name: str, y: Any, y_test: Any) -> int:
    """How many classes there are. Raises DataError where the numbers look like values."""
    classes = max(int(y.max()), int(y_test.max())) + 1 if len(y) and len(y_test) else 1
    found = len(y.unique())
    if classes > max(100, 2 * found):
        raise DataError(
            f"{name}: y holds whole numbers from {int(y.min())} to {classes - 1}, of which only "
            f'{found} occur: if they are values, write y.astype("float32"); classes are numbered '
            "from 0, and simfl.Dataset(..., classes=K) says how many there are"
        )
    return max(1, classes)


def _read_later(name: str, y: Any, y_test: Any) -> Targets:
    """Targets too large to be kept, as those of language models: one pass finds the last token."""
    if not (isinstance(y, Rows) and isinstance(y_test, Rows)):
        raise DataError(
            f"{name}: targets have one shape in the training and another in the test part: y is "
            f"{_shape(y)} and y_test {_shape(y_test)}"
        )
    if y.dtype.is_floating_point:
        return Targets(y, y_test, None)
    return Targets(y, y_test, max(_last(y), _last(y_test)) + 1, sequence=True)


def _last(y: Rows) -> int:
    size = getattr(y.source.items, "vocab_size", None)
    if isinstance(size, int):
        return size - 1
    return max(int(part.max()) for part in y.split(256))


def _shape(y: Any) -> tuple[int, ...]:
    return tuple(y.shape)
