"""Torch's map-style data sets: what has `__len__` and `__getitem__` and gives pairs (x, y)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from simfl.errors import DataError
from simfl.lazy import torch
from simfl.learn.datasets import intake
from simfl.learn.datasets.hugging import Columns, is_hugging
from simfl.learn.datasets.rows import Rows, Source, per_pass

if TYPE_CHECKING:
    from torch import Tensor

_KEPT_BYTES = 256 * 2**20  # of targets that are kept in memory
_CHECKED = 8  # items that must agree with a list of targets


def is_mapped(thing: Any) -> bool:
    """Whether this is a map-style data set, or a loader of one, and no array or container."""
    if (hasattr(thing, "dataset") and hasattr(thing, "collate_fn")) or is_hugging(thing):
        return True
    indexed = hasattr(thing, "__getitem__") and hasattr(thing, "__len__")
    plain = isinstance(thing, str | bytes | list | tuple | dict)
    return indexed and not plain and not hasattr(thing, "shape")


def half(name: str, given: Any) -> tuple[Any, Any] | None:
    """Inputs and targets of a map-style data set; None if it is none. Raises DataError.

    Inputs of a TensorDataset are tensors; others are Rows. Targets are read once and kept, unless
    they are large.
    """
    if not is_mapped(given):
        return None
    if is_hugging(given):
        given = Columns.of(name, given)
    if hasattr(given, "collate_fn"):
        return _lazily(name, given.dataset, given.collate_fn)
    tensors = getattr(given, "tensors", None)
    if isinstance(tensors, tuple) and len(tensors) == 2:
        return tensors
    return _lazily(name, given, torch.utils.data.default_collate)


def chained(name: str, parts: Sequence[Rows]) -> Rows:
    """Several data sets, one after the other."""
    items: Any = torch.utils.data.ConcatDataset([part.source.items for part in parts])
    return Rows(replace(parts[0].source, name=name, items=items))


def _lazily(name: str, items: Any, collate: Callable[[list[Any]], Any]) -> tuple[Rows, Any]:
    if not len(items):
        raise DataError(f"{name}: the {type(items).__name__} is empty, expected examples")
    source = _as_tokens(Source(name, items, collate))
    y = source.read(np.arange(1))[1]
    if source.sequence or y.nbytes * len(source) > _KEPT_BYTES:
        return Rows(source), Rows(source, targets=True)
    known = _known_targets(items)
    if known is not None and _agree(source, known):
        return Rows(source), known
    step = per_pass(Rows(source), 256)
    pieces = [source.read(np.arange(at, min(at + step, len(source))))[1]
              for at in range(0, len(source), step)]  # fmt: skip
    return Rows(source), torch.cat(pieces)


def _as_tokens(source: Source) -> Source:
    """The source as one of sequences, where inputs and targets are tokens of the same shape."""
    tokens = replace(source, sequence=True)
    try:
        x, y = tokens.read(np.arange(1))
    except DataError:
        return source
    return tokens if x.ndim > 1 and x.shape == y.shape and y.dtype == x.dtype else source


def _known_targets(items: Any) -> Tensor | None:
    """(n,) what a data set says of all its targets, as torchvision's do."""
    if isinstance(items, torch.utils.data.Subset):
        whole = _known_targets(items.dataset)
        return None if whole is None else whole[torch.as_tensor(items.indices)]
    for key in ("targets", "labels"):
        found = getattr(items, key, None)
        if found is not None and hasattr(found, "__len__") and len(found) == len(items):
            try:
                return intake.as_tensor("", key, found)
            except DataError:
                return None
    return None


def _agree(source: Source, known: Tensor) -> bool:
    """Whether items have the targets that their data set lists: a transform may alter them."""
    rows = np.unique(np.linspace(0, len(source) - 1, _CHECKED).astype(np.int64))
    listed = known[torch.from_numpy(rows)]
    return bool(torch.equal(listed.to(torch.float64), source.read(rows)[1].to(torch.float64)))
