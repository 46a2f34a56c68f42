"""How a run's parts reach another process: code by value where it must, tensors in shared memory.

Functions and classes of a notebook or of the main script cannot be imported elsewhere: cloudpickle
sends their code along. Tensors stay outside its bytes, for torch's own way to share them.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import cloudpickle
from torch import Tensor

from simfl.errors import ScenarioError, first_line


class Packed:
    """A value on its way to another process, in which `value` is its copy. Raises ScenarioError."""

    def __init__(self, value: Any) -> None:
        self.value = value
        file = io.BytesIO()
        pickler = _Pickler(file)
        try:
            pickler.dump(value)
        except Exception as error:  # whatever an object's own pickling raises
            raise ScenarioError(
                "the model, the data set or a part of the strategy cannot be sent to other "
                f"processes ({type(error).__name__}: {first_line(error)}): use workers = 1, or "
                "give a function that makes it"
            ) from error
        self._bytes, self._tensors = file.getvalue(), pickler.tensors

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, (self._bytes, self._tensors)


@contextmanager
def without_main() -> Iterator[None]:
    """Processes started meanwhile do not run the main script again, with or without a guard.

    What they need of it travels by value.
    """
    before = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = before


class _Pickler(cloudpickle.Pickler):
    """Puts tensors aside and leaves their numbers."""

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.tensors: list[Tensor] = []
        self._numbers: dict[int, int] = {}

    def persistent_id(self, value: Any) -> int | None:
        if type(value) is not Tensor or value.requires_grad:
            return None
        if id(value) not in self._numbers:
            self._numbers[id(value)] = len(self.tensors)
            self.tensors.append(value)
        return self._numbers[id(value)]


class _Unpickler(pickle.Unpickler):
    def __init__(self, packed: bytes, tensors: list[Tensor]) -> None:
        super().__init__(io.BytesIO(packed))
        self._tensors = tensors

    def persistent_load(self, number: Any) -> Tensor:
        return self._tensors[number]


def _unpacked(packed: bytes, tensors: list[Tensor]) -> Packed:
    made = Packed.__new__(Packed)
    made.value = _Unpickler(packed, tensors).load()
    return made
