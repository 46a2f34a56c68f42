"""Single elements of columns, quickly."""

from __future__ import annotations

from typing import Any

import numpy as np


def view(column: np.ndarray) -> Any:
    """The column's own memory, whose elements are read and written as Python numbers.

    Twice as fast as indexing the array, and the clock's arithmetic stays out of numpy scalars.
    """
    buffer: Any = column
    return memoryview(buffer)
