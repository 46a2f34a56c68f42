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
from simfl.params import Params, weighted_sum
from simfl.strategy.base import Change, Server

Weights = Literal["examples", "uniform", "steps"]
Normalise = Literal["count", "weights", "none"]
Pairs = list[tuple[Update, float]]

_ROUNDING = 1e-6  #: of a sum of weights that is meant to be one


def weighted(updates: Sequence[Update], weights: Sequence[float]) -> Change:
    """Σ wᵢdᵢ over one or more updates, whatever the weights add up to. ValueError for none.

    updates: in any order. weights: one for each.

    >>> from types import SimpleNamespace as Update
    >>> a, b = Update(task=0, device=0, delta=1.0), Update(task=1, device=1, delta=4.0)
    >>> weighted([a, b], [0.5, 0.25]).delta
    1.5

    Where devices sent different parts of the model, each name's sum counts those who sent it and
    is scaled as if all had; a name that no device sent does not change.
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
    """Σ pᵢdᵢ with p proportional to the weights and Σ pᵢ = 1.

    updates: one or more. weights: "examples", "uniform", "steps", or a function of an update.

    >>> from types import SimpleNamespace as Update
    >>> a = Update(task=0, device=0, delta=1.0, examples=30)
    >>> b = Update(task=1, device=1, delta=5.0, examples=10)
    >>> mean([a, b]).delta, mean([a, b], "uniform").delta
    (2.0, 3.0)
    """
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

    updates: one or more.
    by: the discount of an update, of its `staleness` say.
    normalise: "weights" divides by Σ sᵢ instead, which forgets how stale all of them are together;
        "none" leaves the sum.

    >>> from types import SimpleNamespace as Update
    >>> late = Update(task=0, device=0, delta=1.0, staleness=3)
    >>> half = lambda update: (1 + update.staleness) ** -0.5
    >>> discounted([late], half).delta, discounted([late], half, "weights").delta
    (0.5, 1.0)
    """
    discounts = [by(update) for update in updates]
    divisor = {"count": float(len(updates)), "weights": sum(discounts), "none": 1.0}[normalise]
    return weighted(updates, [s / divisor if divisor else 0.0 for s in discounts])


def mixed(update: Update, server: Server, alpha: float) -> Change:
    """The change that makes the model (1 - α)w + αy, y being the device's own model.

    update: its delta is d.
    server: its model is w.
    alpha: in [0, 1]. In delta form: α(d + (w_base - w)); a fresh update gives αd exactly.
    """
    delta = update.delta
    partial = getattr(delta, "layout", None) is not None and _is_partial(update)
    if update.version != server.version and update.base is not server.params:
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
    shares = change.weights if change.shares is None else change.shares
    delta, weights = change.delta, (change * lr).weights
    layout = _layout(delta)
    if layout is None or layout.trainable == layout.size:
        return Change(delta * lr, weights, shares)
    flat = delta.flat.clone()
    flat[: layout.trainable] *= lr
    return Change(delta.like(flat), weights, shares)


def applied(params: Any, change: Change, updates: Sequence[Update]) -> Any:
    """The model w after a change, of which these updates are the part that devices sent.

    What is trained moves by the change. What is not, running statistics above all, is a value and
    no direction: it becomes (1 - Σ pᵢ)w + Σ pᵢyᵢ, yᵢ being what the device has, pᵢ the share of
    its update (by default its weight), and all pᵢ divided by their sum where that is more than
    one. So it stays between what the server has and what devices report, however stale they are
    and whatever weights a strategy gives: a variance cannot become negative. An element that a
    device did not send is left to those who did. A change without updates is added as it is.
    """
    after, layout = params + change.delta, _layout(params)
    if layout is None or layout.trainable == layout.size or not updates:
        return after
    shares = change.weights if change.shares is None else change.shares
    pairs = [(update, shares.get(update.task, 0.0)) for update in updates]
    flat = after.flat.clone()
    flat[layout.trainable :] = _settled(params, pairs, layout.trainable)
    return after.like(flat)


def _settled(params: Any, pairs: Pairs, start: int) -> Any:
    """Elements from `start` on, folded by these shares."""
    now = params.flat[start:]
    total, sent = now * 0.0, now * 0.0
    for update, share in pairs:
        delta, held = _opened(update)
        moved = delta[start:]
        if update.staleness:
            moved = moved + (update.base.flat[start:] - now)
        total = total + moved * held[start:] * share
        sent = sent + held[start:] * share
    total_share = sum(share for _, share in pairs)
    complete = sent >= total_share * (1.0 - _ROUNDING)
    scale = (total_share / sent).nan_to_num(0.0, 0.0, 0.0).masked_fill(complete, 1.0)
    return now + total * scale * (1.0 / total_share if total_share > 1.0 + _ROUNDING else 1.0)


def _opened(update: Update) -> tuple[Any, Any]:
    """(P,) delta, zero where nothing was sent, and (P,) 1 where something was, else 0."""
    delta, base = update.delta, update.base
    if hasattr(delta, "held"):  # a `Part`
        return delta.whole.flat, delta.held.to(base.flat.dtype)
    held = base.flat * 0.0
    for name in delta.layout.names:
        held[base.layout.slices[name]] = 1.0
    return whole(delta, base).flat, held


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
    if all(type(update.delta) is Params for update, _ in pairs):
        return weighted_sum([(update.delta, weight) for update, weight in pairs])
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
