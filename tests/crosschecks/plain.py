"""What the re-implementations share: two networks by their formulas, and a way to spoil them."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

SHAPES = [(8, 64), (8,), (10, 8), (10,)]  #: of `mlp`, in the order of the flat vector


def digits(batch_size: int, **options: Any) -> dict[str, Any]:
    """The section [learning]: `mlp` learns scikit-learn's digits, of which devices know few."""
    return {
        "dataset": "digits",
        "partition": {"kind": "dirichlet", "alpha": 0.3},
        "model": {"kind": "mlp", "hidden": [8]},
        "batch_size": batch_size,
        **options,
    }


def parts(flat: Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """The tensors of a flat vector."""
    sizes = [torch.Size(shape).numel() for shape in shapes]
    return [part.view(shape) for part, shape in zip(flat.split(sizes), shapes, strict=True)]


def mlp(flat: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy of 64 - 8 - 10 with ReLU."""
    w1, b1, w2, b2 = parts(flat, SHAPES)
    return cross_entropy((x.flatten(1) @ w1.T + b1).relu() @ w2.T + b2, y)


def gradient(loss: Callable[..., Tensor], at: Tensor, *data: Tensor) -> Tensor:
    """Of the loss at a flat vector."""
    point = at.clone().requires_grad_()
    return torch.autograd.grad(loss(point, *data), point)[0]


def furthest(run: Sequence[Tensor], again: Sequence[Tensor]) -> float:
    """The largest difference between two histories of the same length."""
    assert len(run) == len(again) > 1
    return max(
        float((a - b).abs().max()) if a.shape == b.shape else float("inf")
        for a, b in zip(run, again, strict=True)
    )


def spoilt(functions: Sequence[Callable[..., Any]], right: str, wrong: str) -> Callable[..., Any]:
    """The last function, with one piece of text replaced in it or in those that it calls."""
    text = "\n".join(textwrap.dedent(inspect.getsource(function)) for function in functions)
    assert text.count(right) == 1, f"{right!r} is there {text.count(right)} times"
    scope = dict(functions[-1].__globals__)
    exec("from __future__ import annotations\n" + text.replace(right, wrong), scope)
    return scope[functions[-1].__name__]
