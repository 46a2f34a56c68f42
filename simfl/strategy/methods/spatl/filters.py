"""From a keep ratio per layer to the filters that are sent, and what they cost. Pure functions.

A channel group is a filter with its bias, norm and running statistics: kept, sent and masked as
one. Of a layer with n filters and ratio p, n - round((1 - p) n) are kept, at least one: those of
the largest L2 norm, the first of equals.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from simfl.errors import ScenarioError
from simfl.lazy import torch
from simfl.params import Groups, Layout
from simfl.structure import Conv, ModelStructure

if TYPE_CHECKING:
    from torch import Tensor

FLOOR = 0.1  #: no layer keeps a smaller share


@cache
def groups_of(structure: ModelStructure, part: Layout, columns: bool = False) -> Groups:
    """The channel groups of the convolutions, over a part of the model's tensors.

    columns: an element also belongs to the filter whose output it reads. Raises ScenarioError
    where a convolution reads more than one other.
    """
    starts = _starts(structure)
    count = starts[-1]
    keys = torch.full((2 if columns else 1, part.size), count)
    for at, conv in enumerate(structure.convs):
        for name in conv.names:
            if name in part.slices:
                where = part.slices[name]
                each = (where.stop - where.start) // conv.outputs
                rows = torch.arange(conv.outputs).repeat_interleave(each)
                keys[0, where] = starts[at] + rows
        if columns and at and conv.weight in part.slices:
            keys[1, part.slices[conv.weight]] = _read(structure, at, starts)
    return Groups(part, keys, count)


def _read(structure: ModelStructure, at: int, starts: Sequence[int]) -> Tensor:
    conv = structure.convs[at]
    if conv.reads is None or conv.groups > 1:
        raise ScenarioError(
            'upload = "rows+cols" needs a model whose convolutions each read the one before '
            f'(here {conv.weight!r} does not); use upload = "rows"'
        )
    inputs = starts[conv.reads] + torch.arange(conv.inputs)
    return inputs.repeat_interleave(conv.area).repeat(conv.outputs)


def _starts(structure: ModelStructure) -> list[int]:
    """Number of the first group of each convolution, and how many there are altogether."""
    return [0, *np.cumsum([conv.outputs for conv in structure.convs]).tolist()]


def kept(ratio: float, filters: int) -> int:
    """How many filters a ratio keeps."""
    return max(1, filters - round((1.0 - ratio) * filters))


def salient(weight: Tensor, ratio: float) -> Tensor:
    """(outputs,) bool: the filters of the largest L2 norm."""
    norms = torch.linalg.vector_norm(weight.flatten(1), dim=1)
    first = torch.argsort(norms, descending=True, stable=True)[: kept(ratio, len(norms))]
    mask = torch.zeros(len(norms), dtype=torch.bool)
    mask[first.cpu()] = True
    return mask


def choose(point: Tensor, structure: ModelStructure, ratios: np.ndarray) -> Tensor:
    """(groups,) bool: the channel groups of a (P,) model that these ratios keep."""
    shapes, slices = dict(structure.layout.shapes), structure.layout.slices
    return torch.cat([
        salient(point[slices[conv.weight]].view(shapes[conv.weight]), float(ratio))
        for conv, ratio in zip(structure.convs, ratios, strict=True)
    ])  # fmt: skip


def masked(point: Tensor, structure: ModelStructure, chosen: Tensor) -> Tensor:
    """A (P,) model without the channel groups that were not chosen."""
    held = groups_of(structure, structure.layout).held(chosen)
    return point * held.to(point.device)


def shares(structure: ModelStructure, chosen: Tensor) -> np.ndarray:
    """(L,) share of each convolution's filters that was chosen."""
    parts = chosen.split([conv.outputs for conv in structure.convs])
    return np.array([float(part.double().mean()) for part in parts])


def removed(convs: Sequence[Conv], ratios: np.ndarray) -> float:
    """Share of the convolutions' FLOP that these ratios save: layer l costs F pₗ pₗ₋₁."""
    flops = np.array([conv.flops for conv in convs])
    before = np.concatenate(([1.0], ratios[:-1]))
    return 1.0 - float((flops * ratios * before).sum() / flops.sum())


def scaled(convs: Sequence[Conv], ratios: np.ndarray, cut: float) -> np.ndarray:
    """The ratios times the factor that removes `cut` of the FLOP, or as near as bounds allow."""
    low, high = 0.0, 1.0 / float(ratios.min())
    for _ in range(50):
        middle = (low + high) / 2.0
        if removed(convs, _clipped(middle * ratios)) >= cut:
            low = middle
        else:
            high = middle
    return _clipped(low * ratios)


def _clipped(ratios: np.ndarray) -> np.ndarray:
    return np.clip(ratios, FLOOR, 1.0)
