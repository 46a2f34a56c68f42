"""What the energy of tasks costs: grams of CO2 and money, at intensities that change with time.

An intensity is a step function of time. What a phase draws is a steady power while its device
works on it, so its cost is the sum, over the steps, of power, seconds worked and intensity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

from simfl.clock.ledger import Append

#: Joules in a kilowatt-hour.
KWH_J = 3.6e6

#: What is metered: further columns of `tasks`, and totals of the summary.
QUANTITIES = ("co2_g", "cost")


class Meter:
    """The intensities of one run and what each task in flight has cost so far.

    steps: of each quantity that was ever set, [(since_s, per kWh), ...].
    """

    __snapshot__ = ("steps", "totals", "spent")  #: kept by checkpoints

    def __init__(self, append: Append) -> None:
        self._append = append
        self.steps: dict[str, list[tuple[float, float]]] = {}
        self.spent: dict[int, dict[str, float]] = {}  #: by task serial
        self.totals: dict[str, float] = {}

    def set(self, quantity: str, t: float, per_kwh: float) -> None:
        """From t on a kilowatt-hour costs so much."""
        self.steps.setdefault(quantity, [(0.0, 0.0)]).append((t, per_kwh))
        self.totals.setdefault(quantity, 0.0)

    def draw(
        self, serial: int, watts: float, span: tuple[float, float], worked: Callable[..., float]
    ) -> None:
        """A task has drawn so much in a span; worked(a, b): seconds of [a, b] at work."""
        if not self.steps or not watts:
            return
        spent = self.spent.setdefault(serial, {})
        for quantity, steps in self.steps.items():
            cost = watts / KWH_J * _integral(steps, *span, worked)
            spent[quantity] = spent.get(quantity, 0.0) + cost
            self.totals[quantity] += cost

    def append(self, table: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Hands rows on; those of tasks with a column for each quantity that was ever set."""
        if table != "tasks" or not self.steps:
            self._append(table, columns)
            return
        rows = [self.spent.pop(serial, {}) for serial in columns["task"]]
        further = {name: [row.get(name, 0.0) for row in rows] for name in self.steps}
        self._append(table, {**columns, **further})


def _integral(
    steps: Sequence[tuple[float, float]], start_s: float, end_s: float, worked: Callable[..., float]
) -> float:
    """Of a step function over the seconds at work in [start_s, end_s]."""
    ends = [*(since_s for since_s, _ in steps[1:]), inf]
    whole = 0.0
    for (since_s, value), until_s in zip(reversed(steps), reversed(ends), strict=True):
        if until_s <= start_s:
            break
        low, high = max(since_s, start_s), min(until_s, end_s)
        if value and low < high:
            whole += value * worked(low, high)
    return whole
