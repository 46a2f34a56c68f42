"""Numbers of an evaluation, whatever kind of number an app has, as columns of a table."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from decimal import Decimal
from math import isfinite, nan
from numbers import Real
from typing import Any

LOG = logging.getLogger("simfl.flower")

#: Columns of an evaluation that are the run's own.
_OWN = ("time_s", "version", "tasks_ended", "down_bytes", "up_bytes")


def number(value: Any) -> float | None:
    """A real scalar of Python, numpy or torch as a float; None for all else, truth values too.

    >>> import numpy as np
    >>> number(np.float32(0.5)), number(np.array(3)), number("0.5"), number(True)
    (0.5, 3.0, None, None)
    """
    item = getattr(value, "item", None)
    if callable(item):
        try:
            value = item()  # of numpy and torch: raises for more than one element
        except (TypeError, ValueError, RuntimeError):
            return None
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        return None
    return float(value)


class Columns:
    """Makes columns of metrics.

    percent: accuracies are percentages; None: they are from the first one above 1 on.
    """

    def __init__(self, percent: bool | None = None) -> None:
        self._percent = percent
        self._seen = 0  # accuracies that were taken for fractions

    def __call__(self, metrics: Mapping[str, Any]) -> dict[str, float]:
        found = columns(metrics)
        accuracy = found["accuracy"]
        if isfinite(accuracy):
            found["accuracy"] = self._fraction(accuracy)
        return found

    def _fraction(self, accuracy: float) -> float:
        if self._percent is None and accuracy > 1.0:
            self._percent = True
            before = (
                f" {self._seen} earlier value(s) were taken for fractions." if self._seen else ""
            )
            LOG.warning(
                "an accuracy of %g is above 1: it is taken for a percentage from now on.%s Set "
                'strategy.accuracy to "percent" or "fraction" to say what the app reports',
                accuracy,
                before,
            )
        self._seen += 1
        return accuracy / 100.0 if self._percent else accuracy


def columns(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Numbers of an evaluation by column.

    `accuracy` and `loss` are those of that name, else the only one whose name has "acc" or "loss"
    in it; NaN if there is none. What is no number is left out.
    """
    pairs = [(str(name), number(value)) for name, value in metrics.items()]
    numbers = {name: value for name, value in pairs if value is not None}
    found = {f"app_{name}" if name in _OWN else name: value for name, value in numbers.items()}
    for column, part in (("accuracy", "acc"), ("loss", "loss")):
        alike = [name for name in numbers if part in name.lower()]
        if column not in found:
            found[column] = numbers[alike[0]] if len(alike) == 1 else nan
    return found
