"""How uploads of unlike filters become one change, entry by entry.

    index_mean   mean over those who sent the entry
    damped       the others count as "no change"
    zero_fill    the others count as zero, which shrinks what is rarely sent

An entry that no device sent does not change. With all entries from all the three are FedAvg.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from simfl.lazy import torch
from simfl.messages import Nothing, Update
from simfl.params import Params, Part
from simfl.strategy.base import Change

if TYPE_CHECKING:
    from torch import Tensor

Divisor = Literal["index_mean", "damped", "zero_fill"]


def by_index(
    updates: Sequence[Update],
    weights: Sequence[float],
    divisor: Divisor,
    discounts: Sequence[float] | None = None,
) -> Change:
    """Σ sᵢwᵢdᵢ, each entry over those who sent it.

    discounts: sᵢ, which no divisor contains.
    """
    factors = [1.0] * len(updates) if discounts is None else discounts
    trios = sorted(zip(updates, weights, factors, strict=True), key=lambda t: _order(t[0]))
    effective = {update.task: weight * factor for update, weight, factor in trios}
    base = updates[0].base
    if isinstance(base, Nothing):
        return Change(base, effective)
    total, mass = torch.zeros_like(base.flat), base.flat.new_zeros(len(base), dtype=torch.float64)
    for update, weight, factor in trios:
        delta, held = opened(update)
        if divisor == "zero_fill":
            delta = torch.where(held, delta, -update.base.flat)
        total += delta * (weight * factor)
        mass += held.double() * weight
    total_weight = sum(weight for _, weight, _ in trios)
    if divisor == "index_mean":
        total *= (total_weight / mass).nan_to_num(0.0, 0.0, 0.0).to(total.dtype)
    return Change(base.like(torch.where(mass > 0.0, total, 0.0)), effective)


def opened(update: Update) -> tuple[Tensor, Tensor]:
    """(P,) delta, zero where nothing was sent, and (P,) bool where something was."""
    delta: Params = update.delta
    if isinstance(delta, Part):
        return delta.whole.flat, delta.held
    return delta.flat, torch.ones_like(delta.flat, dtype=torch.bool)


def absorbed(c: Any, updates: Sequence[Update], sent: dict[int, Any], devices: int) -> Any:
    """The server's variate with what these updates' devices have learnt: c + (1/N) Σ (cᵢ⁺ - cᵢ).

    sent: the variate that went down with a task, for updates that say the length of their path
    instead of cᵢ⁺ - cᵢ; then it is -c - d / (aη).
    """
    c = c.clone()
    for update in sorted(updates, key=_order):
        _, held = opened(update)
        held = held[: len(c)]
        if "c" in update.extras:
            c[held] += update.extras["c"] * (1.0 / devices)
        elif "path" in update.extras:
            path = update.delta.trained / update.extras["path"]
            c[held] -= (sent[update.task][held] + path) * (1.0 / devices)
    return c


def _order(update: Update) -> tuple[int, int]:
    return update.device, update.task
