"""Params: named tensors over one contiguous flat float32 buffer.

Folding is one vector operation on `flat`; a partial upload selects by name; K devices stack
to a (K, P) matrix. The layout says which name lies where; trainable parameters come first,
float buffers (running statistics) after them, so that `flat[:layout.trainable]` is what
optimisers, norms and control variates may touch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from simfl.lazy import torch

#: Elements that a processor adds up without going back to memory for their sum.
_STRETCH = 2**15


@dataclass(frozen=True)
class Layout:
    """Names and shapes in buffer order. trainable: how many leading elements are trained."""

    shapes: tuple[tuple[str, tuple[int, ...]], ...]
    trainable: int

    @cached_property
    def slices(self) -> dict[str, slice]:
        """Where each name lies in the flat buffer."""
        where, start = {}, 0
        for name, shape in self.shapes:
            stop = start + math.prod(shape)
            where[name] = slice(start, stop)
            start = stop
        return where

    @cached_property
    def size(self) -> int:
        """P, the number of elements."""
        return sum(math.prod(shape) for _, shape in self.shapes)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for name, _ in self.shapes)

    def select(self, names: Iterable[str]) -> Layout:
        """The layout of a part, in this layout's order."""
        wanted = set(names)
        unknown = wanted - set(self.names)
        if unknown:
            raise KeyError(f"no such parameter: {', '.join(sorted(unknown))}")
        kept = tuple((name, shape) for name, shape in self.shapes if name in wanted)
        trained = sum(math.prod(s) for n, s in kept if self.slices[n].stop <= self.trainable)
        return Layout(kept, trained)


@dataclass(frozen=True, eq=False)
class Groups:
    """Elements that are sent together or not at all.

    keys: (k, P) int64.

    Each element is in the k groups of its column, and is sent if all of these are. Groups are
    numbered from 0 to count - 1; what is in the group `count` is always sent.
    """

    layout: Layout
    keys: torch.Tensor
    count: int

    def held(self, chosen: torch.Tensor) -> torch.Tensor:
        """(P,) bool: the elements that are sent with these groups, chosen being (count,) bool."""
        return torch.cat([chosen, chosen.new_ones(1)])[self.keys].all(0)


@dataclass(frozen=True, eq=False)
class Params:
    """flat: (P,) float32 tensor; layout: what its elements are. Treated as immutable."""

    flat: torch.Tensor
    layout: Layout

    @classmethod
    def from_named(cls, named: Mapping[str, torch.Tensor], buffers: Iterable[str] = ()) -> Params:
        """Copies named tensors into one buffer, `buffers` (names that are not trained) last."""
        later = set(buffers)
        order = [n for n in named if n not in later] + [n for n in named if n in later]
        trainable = sum(named[n].numel() for n in order if n not in later)
        shapes = tuple((name, tuple(named[name].shape)) for name in order)
        parts = [named[name].detach().reshape(-1).to(torch.float32) for name in order]
        flat = torch.cat(parts) if parts else torch.zeros(0)
        return cls(flat, Layout(shapes, trainable))

    def like(self, flat: torch.Tensor) -> Params:
        """The same layout over another buffer."""
        return Params(flat, self.layout)

    def select(self, names: Iterable[str]) -> Params:
        """A part, copied, in this layout's order."""
        layout = self.layout.select(names)
        parts = [self.flat[self.layout.slices[name]] for name in layout.names]
        return Params(torch.cat(parts) if parts else self.flat[:0].clone(), layout)

    def norm(self) -> float:
        """L2 norm over the trainable elements, accumulated in float64."""
        return float(torch.linalg.vector_norm(self.trained, dtype=torch.float64))

    def dot(self, other: Params) -> float:
        """Inner product over the trainable elements, accumulated in float64."""
        return float(torch.dot(self.trained.double(), other.trained.double()))

    @property
    def trained(self) -> torch.Tensor:
        layout = self.layout
        return self.flat if layout.trainable == layout.size else self.flat[: layout.trainable]

    @property
    def nbytes(self) -> int:
        """Bytes of the dense float32 encoding."""
        return 4 * self.layout.size

    def __getitem__(self, name: str) -> torch.Tensor:
        return self.flat[self.layout.slices[name]].view(dict(self.layout.shapes)[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self.layout.names)

    def __len__(self) -> int:
        return self.layout.size

    def __add__(self, other: Params) -> Params:
        return self.like(self.flat + self._same(other).flat)

    def __sub__(self, other: Params) -> Params:
        return self.like(self.flat - self._same(other).flat)

    def _same(self, other: Params) -> Params:
        """The other, which must have this layout: tensors of another shape would broadcast."""
        if other.layout is not self.layout and other.layout != self.layout:
            raise ValueError(f"{other!r} does not have the layout of {self!r}")
        return other

    def __mul__(self, factor: float) -> Params:
        return self.like(self.flat * factor)

    __rmul__ = __mul__

    def __repr__(self) -> str:
        return f"Params({len(self.layout.shapes)} tensors, {self.layout.size} elements)"


def weighted_sum(terms: Sequence[tuple[Params, float]]) -> Params:
    """Σ wᵢxᵢ in the order of the terms, one or more of one layout: the bits of `x * w + y * v`.

    A stretch of the sum stays in the processor's cache until all terms are in it.

    >>> x, y = (Params.from_named({"w": torch.tensor(w)}) for w in ([1.0, 2.0], [10.0, 20.0]))
    >>> weighted_sum([(x, 0.5), (y, 2.0)]).flat
    tensor([20.5000, 41.0000])
    """
    (first, weight), *rest = terms
    parts = [(first._same(term).flat, factor) for term, factor in rest]
    total = first.flat * weight
    for start in range(0, len(total), _STRETCH):
        stretch = total[start : start + _STRETCH]
        scaled = torch.empty_like(stretch)
        for flat, factor in parts:
            stretch += torch.mul(flat[start : start + _STRETCH], factor, out=scaled)
    return first.like(total)


def zeros_like(params: Params) -> Params:
    """The neutral element of `+` in this layout."""
    return params.like(torch.zeros_like(params.flat))


@dataclass(frozen=True, eq=False)
class Part(Params):
    """Some elements of a model: those of the groups that were chosen, in the model's order.

    layout: the names with as many rows as are held, which is what codecs see.
    """

    groups: Groups
    chosen: torch.Tensor  #: (count,) bool, groups that are here
    held: torch.Tensor  #: (P,) bool, elements that are here

    @classmethod
    def of(cls, flat: torch.Tensor, groups: Groups, chosen: torch.Tensor) -> Part:
        """What is chosen of a (P,) buffer."""
        held = groups.held(chosen)
        return cls(flat[held], ragged(groups.layout, held), groups, chosen, held)

    @property
    def whole(self) -> Params:
        """The model's layout, zero where nothing is held."""
        flat = self.flat.new_zeros(self.groups.layout.size)
        flat[self.held] = self.flat
        return Params(flat, self.groups.layout)

    def like(self, flat: torch.Tensor) -> Part:
        return replace(self, flat=flat)

    def of_same(self, params: Params) -> Part:
        """The elements of another model of the same layout that are held here."""
        return self.like(params.flat[self.held])


def ragged(layout: Layout, held: torch.Tensor) -> Layout:
    """The layout of the held elements: fewer rows where whole rows are missing, else flat."""
    shapes, trainable = [], 0
    for name, shape in layout.shapes:
        where = layout.slices[name]
        count = int(held[where].sum())
        row = math.prod(shape[1:])
        rows = held[where].view(-1, row)
        whole = bool((rows.all(1) | ~rows.any(1)).all())
        shapes.append((name, (count // row, *shape[1:]) if whole and shape else (count,)))
        trainable += count if where.stop <= layout.trainable else 0
    return Layout(tuple(shapes), trainable)
