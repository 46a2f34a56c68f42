"""Examples that are read when they are asked for, so that a data set may be larger than memory.

`Rows` has what simfl uses of a tensor: a length, a shape, a type, `take` and the indexing that is
written in its terms. Inputs and targets of one `Source` are read together.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from simfl.errors import DataError, SimflError, first_line, origin
from simfl.lazy import torch
from simfl.learn.datasets import intake

if TYPE_CHECKING:
    from torch import Tensor

_SAMPLE = 16  # items that stand for all of them in a digest
_PASS_BYTES = 64 * 2**20  # of inputs that are read at once


@dataclass(frozen=True, eq=False)
class Source:
    """A map-style data set: anything with `__len__` and `__getitem__` that gives examples.

    collate: a list of items -> (x, y), each a batch.
    sequence: what inputs and targets hold are tokens. Items that draw random numbers, of torch,
        numpy or Python, draw them from a seed.
    """

    name: str
    items: Any
    collate: Callable[[list[Any]], Any]
    sequence: bool = False
    _last: dict[bytes, tuple[Tensor, Tensor]] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.items)

    def read(self, rows: np.ndarray, seed: int = 0) -> tuple[Tensor, Tensor]:
        """The (b, ...) inputs and targets at these rows. Raises DataError, which names the data."""
        key = np.append(rows, seed).tobytes()
        if key not in self._last:  # x and y of a batch are asked for one after the other
            self._last.clear()
            self._last[key] = self._read(rows, seed)
        return self._last[key]

    def _read(self, rows: np.ndarray, seed: int) -> tuple[Tensor, Tensor]:
        try:
            with drawing(seed):
                x, y = self._pair(self.collate(self._fetch(rows.tolist())))
        except SimflError:
            raise
        except Exception as error:  # whatever a stranger's items raise
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise DataError(
                f"{self.name}: {type(self.items).__name__} could not give the items "
                f"{_numbered(rows)}{origin(error)} ({reason})"
            ) from error
        x = intake.features(self.name, "x", x, tokens=self.sequence)
        y = intake.as_tensor(self.name, "y", y)
        if len(x) != len(rows) or y.shape[:1] != x.shape[:1]:
            raise DataError(
                f"{self.name}: {len(rows)} items were collated to {len(x)} inputs and targets of "
                f"shape {tuple(y.shape)}, expected one of each for every item"
            )
        return x, y.to(torch.float32 if y.dtype.is_floating_point else torch.int64)

    def _fetch(self, rows: list[int]) -> list[Any]:
        at_once = getattr(self.items, "__getitems__", None)
        return list(at_once(rows)) if at_once else [self.items[row] for row in rows]

    def _pair(self, batch: Any) -> tuple[Any, Any]:
        if isinstance(batch, tuple | list) and len(batch) == 2:
            return batch[0], batch[1]
        keys = f" with the keys {', '.join(map(repr, batch))}" if isinstance(batch, dict) else ""
        raise DataError(
            f"{self.name}: items of {type(self.items).__name__} make a {type(batch).__name__}"
            f"{keys}, expected pairs (x, y); give torch.utils.data.DataLoader(data, collate_fn=f) "
            "with an f that makes (x, y) of a list of items"
        )

    # A copy for another process starts without what was read here.
    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_last": {}}


@dataclass(frozen=True, eq=False)
class Rows:
    """The inputs of a source, or its targets, without having read them.

    fixed: transforms that all inputs go through.
    """

    source: Source
    targets: bool = False
    fixed: tuple[Callable[[Tensor, np.random.Generator], Tensor], ...] = ()

    def take(self, indices: Sequence[int] | np.ndarray, seed: int = 0) -> Tensor:
        """(b, ...) the examples at these indices."""
        part: Tensor = self.source.read(np.asarray(indices, np.int64), seed)[self.targets]
        for transform in self.fixed:
            part = transform(part, np.random.default_rng(0))
        return part

    def __getitem__(self, key: Any) -> Tensor:
        key = key.numpy() if isinstance(key, torch.Tensor) else key
        return self.take(np.arange(len(self))[key])

    def __len__(self) -> int:
        return len(self.source)

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, ...), as the first example has it."""
        return (len(self), *self[:1].shape[1:])

    @property
    def dtype(self) -> Any:
        """The type of a batch."""
        return self[:1].dtype

    def is_floating_point(self) -> bool:
        """Whether these are numbers to compute with, and not tokens."""
        return bool(self.dtype.is_floating_point)

    def split(self, size: int) -> Iterator[Tensor]:
        """All examples in order, so many at a time."""
        return (self[at : at + size] for at in range(0, len(self), size))

    def sample(self) -> np.ndarray:
        """A few examples, evenly spread: what a digest can know of examples that are not read."""
        spread = np.linspace(0, len(self) - 1, min(_SAMPLE, len(self))).astype(np.int64)
        one = [self.take(spread[at : at + 1]).numpy().tobytes() for at in range(len(spread))]
        return np.frombuffer(b"".join(one), np.uint8)

    def __str__(self) -> str:
        kind = type(self.source.items)
        return f"{kind.__module__}.{kind.__qualname__} of {len(self)}"


def is_rows(part: Any) -> TypeGuard[Rows]:
    """Whether examples are read as they are needed."""
    return isinstance(part, Rows)


def per_pass(x: Tensor | Rows, most: int) -> int:
    """Examples that are computed with at once: `most` of those in memory, fewer large ones."""
    if not isinstance(x, Rows):
        return most
    one = x[:1]
    return max(1, min(most, _PASS_BYTES // max(1, one.nbytes)))


@contextmanager
def drawing(seed: int) -> Iterator[None]:
    """Random numbers inside follow from the seed; the global generators are as before after it."""
    ours, numpys = random.getstate(), np.random.get_state()  # noqa: NPY002  a stranger draws there
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(ours)
            np.random.set_state(numpys)  # noqa: NPY002


def _numbered(rows: np.ndarray) -> str:
    return ", ".join(map(str, rows[:3])) + (", ..." if len(rows) > 3 else "")
