"""When recovered updates have become worse than late ones, and how to go back to these.

As training converges the model moves less, so that a late update is nearly a fresh one, while what
is lost in recovering data stays lost. The true update of a version shows which was better then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simfl.messages import Update
from simfl.strategy.methods.gradientinversion.sketch import distance, sketched

if TYPE_CHECKING:
    from torch import Tensor

#: device -> [(version, sketch of û, sketch of u)], oldest first
Guesses = dict[int, "list[tuple[int, Tensor, Tensor]]"]


@dataclass(slots=True)
class Switch:
    """at: version of the switch back to late updates. worse: comparisons in a row with E1 > E2."""

    at: int | None = None
    worse: int = 0


def remember(guesses: Guesses, update: Update, version: int, made: Tensor, bins: int) -> None:
    """Keeps what was made of an update in this version, until the true one comes."""
    pair = sketched(made, bins), sketched(update.delta.trained, bins)
    guesses.setdefault(update.device, []).append((version, *pair))


def compare(guesses: Guesses, updates: Iterable[Update], bins: int) -> list[tuple[float, float]]:
    """(E1, E2) of each update that was guessed; what can no longer be compared is forgotten.

    A guess is compared with the device's update of its version, or with that of the next.
    """
    errors = []
    for update in updates:
        mine = guesses.get(update.device, [])
        known = [guess for guess in mine if 0 <= update.version - guess[0] <= 1]
        if known:
            true, (_, made, stale) = sketched(update.delta.trained, bins), known[-1]
            errors.append((distance(made, true), distance(stale, true)))
        if mine:
            guesses[update.device] = [guess for guess in mine if guess[0] > update.version]
    return errors


def look(switch: Switch, errors: list[tuple[float, float]], version: int, patience: int) -> None:
    """Sets `switch.at` to this version once E1 > E2 on average for `patience` times in a row.

    Rounds in which nothing could be compared do not count.
    """
    if switch.at is not None or not errors:
        return
    worse = sum(e1 for e1, _ in errors) > sum(e2 for _, e2 in errors)
    switch.worse = switch.worse + 1 if worse else 0
    if switch.worse >= patience:
        switch.at = version


def gamma(at: int | None, version: int, window: float) -> float:
    """Share of û in what is used: 1 before the switch, 0 once the window is over.

    window: share of the versions before the switch.
    """
    if at is None:
        return 1.0
    return max(0.0, 1.0 - (version - at) / max(1.0, window * at))
