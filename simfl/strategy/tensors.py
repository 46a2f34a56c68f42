"""Elementwise arithmetic beyond `+`, `-`, `*`, for strategies that need it.

Running statistics (the elements behind `layout.trainable`) are no directions: whatever a strategy
computes, they pass through from the first argument. Without learning, `NOTHING` stays nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simfl.messages import Nothing


def of_trained(function: Callable[..., Any], first: Any, *rest: Any) -> Any:
    """function of the trained tensors of several `Params` in one layout."""
    if isinstance(first, Nothing):
        return first
    flat = first.flat.clone()
    flat[: first.layout.trainable] = function(first.trained, *(other.trained for other in rest))
    return first.like(flat)


def filled(params: Any, value: float) -> Any:
    """Params of one value in this layout."""
    if isinstance(params, Nothing):
        return params
    return params.like(params.flat.new_full(params.flat.shape, value))


def trained(params: Any) -> Any:
    """The trained elements as one (T,) tensor, or what stands for it without learning."""
    return params.trained


def cosine(a: Any, b: Any) -> float:
    """Cosine of the angle between two Params over the trained elements; 1 if one is zero."""
    if isinstance(a, Nothing):
        return 1.0
    lengths = a.norm() * b.norm()
    return a.dot(b) / lengths if lengths else 1.0
