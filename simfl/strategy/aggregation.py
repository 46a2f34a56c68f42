"""How updates become one change of the model. Everything that folds goes through `weighted`.

The delta form w + Σ pᵢdᵢ is the only one used, and updates are summed in the order (device,
task): strategies that agree on paper then agree bit for bit. Only `+`, `-` and `*` are asked of
the deltas, so floats, numpy arrays, `Params` and `NOTHING` all fold.

`mean` divides by the sum of its weights and `discounted` does not, and the names keep them apart:
normalising a staleness weight in a buffer of one would silently cancel it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

from simfl.messages import Update
from simfl.strategy.base import Change, Server

Weights = Literal["examples", "uniform", "steps"]
Normalise = Literal["count", "weights", "none"]
Pairs = list[tuple[Update, float]]


def weighted(updates: Sequence[Update], weights: Sequence[float]) -> Change:
    """Σ wᵢdᵢ over one or more updates, whatever the weights add up to. Else ValueError.

    Where devices sent different parts of the model, each name's sum counts those who sent it and
    is scaled as if all had; a name that nobody sent does not change.
    """
    if not updates:
        raise ValueError("there are no updates to fold")
    pairs = sorted(zip(updates, weights, strict=True), key=lambda p: (p[0].device, p[0].task))
    partial = any(_is_partial(update) for update, _ in pairs)
    total = _sum_by_name(pairs) if partial else _sum(pairs)
    return Change(total, {update.task: weight for update, weight in pairs})


def mean(
    updates: Sequence[Update], weights: Weights | Callable[[Update], float] = "examples"
) -> Change:
    """Σ pᵢdᵢ with p proportional to the weights and Σ pᵢ = 1."""
    of = weights if callable(weights) else mass(weights)
    masses = [of(update) for update in updates]
    total = sum(masses)
    return weighted(updates, [mass / total if total else 0.0 for mass in masses])


def mass(weights: Weights) -> Callable[[Update], float]:
    """What each update weighs before normalisation."""
    return _OF[weights]


def discounted(
    updates: Sequence[Update], by: Callable[[Update], float], normalise: Normalise = "count"
) -> Change:
    """(1/B) Σ sᵢdᵢ with sᵢ = by(update) over B updates.

    normalise: "weights" divides by Σ sᵢ instead, which forgets how stale all of them are
    together; "none" leaves the sum.
    """
    discounts = [by(update) for update in updates]
    divisor = {"count": float(len(updates)), "weights": sum(discounts), "none": 1.0}[normalise]
    return weighted(updates, [s / divisor if divisor else 0.0 for s in discounts])


def mixed(update: Update, server: Server, alpha: float) -> Change:
    """The change that makes the model (1 - α)w + αy, y being the device's own model.

    In delta form: α(d + (w_base - w)); a fresh update gives αd exactly.
    """
    delta, partial = update.delta, _is_partial(update)
    if update.version != server.version:
        moved = update.base - server.params
        delta = delta + (moved.select(delta.layout.names) if partial else moved)
    if partial:
        delta = whole(delta, update.base)
    return Change(delta * alpha, {update.task: alpha})


def whole(delta: Any, base: Any) -> Any:
    """The delta in the layout of base: zero where a device sent nothing."""
    layout = _layout(delta)
    if layout is None or layout == base.layout:
        return delta
    flat = base.flat * 0.0
    for name in layout.names:
        flat[base.layout.slices[name]] = delta.flat[layout.slices[name]]
    return base.like(flat)


def scaled(change: Change, lr: float) -> Change:
    """The change with what is trained scaled by a server learning rate.

    Running statistics keep their plain average: they are no direction to go further in.
    """
    if lr == 1.0:
        return change
    delta = change.delta
    layout = _layout(delta)
    if layout is None or layout.trainable == layout.size:
        return change * lr
    flat = delta.flat.clone()
    flat[: layout.trainable] *= lr
    return Change(delta.like(flat), (change * lr).weights)


_OF: dict[str, Callable[[Update], float]] = {
    "examples": lambda update: float(update.examples),
    "uniform": lambda update: 1.0,
    "steps": lambda update: float(update.steps),
}


def _layout(delta: Any) -> Any:
    """The layout of Params; None for the rest (a bare tensor's `layout` is about memory)."""
    layout = getattr(delta, "layout", None)
    return layout if layout is not None and hasattr(layout, "slices") else None


def _is_partial(update: Update) -> bool:
    layout = _layout(update.delta)
    return layout is not None and layout != update.base.layout


def _sum(pairs: Pairs) -> Any:
    (first, weight), *rest = pairs
    total = first.delta * weight
    for update, weight in rest:
        total = total + update.delta * weight
    return total


def _sum_by_name(pairs: Pairs) -> Any:
    base = pairs[0][0].base
    flat = base.flat * 0.0
    mass = sum(weight for _, weight in pairs)
    for name, where in base.layout.slices.items():
        sent = [(u.delta, weight) for u, weight in pairs if name in u.delta.layout.slices]
        part = sum(weight for _, weight in sent)
        for delta, weight in sent:
            flat[where] += delta.flat[delta.layout.slices[name]] * weight
        if part:
            flat[where] *= mass / part
    return base.like(flat)
