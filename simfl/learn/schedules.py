"""Schedules: what the learning rate is multiplied by, and as what passes.

    by = "versions"   the server version that a task was sent (the default)
         "seconds"    the virtual time at which it was sent
         "steps"      mini-batches within a task, so that the rate changes while a device trains

Several schedules multiply. A function of your own takes that number and returns the factor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from simfl.errors import PluginError, plugin_errors
from simfl.registry import Registry
from simfl.units import Fraction, Positive, Share

By = Literal["versions", "seconds", "steps"]

#: Each entry is a frozen dataclass of options with `by`, called with a number -> factor.
SCHEDULES = Registry(
    "schedule",
    "simfl.schedules",
    {
        "constant": "simfl.learn.schedules:Constant",
        "cosine": "simfl.learn.schedules:Cosine",
        "step": "simfl.learn.schedules:Step",
        "warm-up": "simfl.learn.schedules:WarmUp",
    },
)


@dataclass(frozen=True)
class Constant:
    """The rate stays."""

    by: By = "versions"

    def __call__(self, at: float) -> float:
        return 1.0


@dataclass(frozen=True)
class Step:
    """Multiplied by `factor` after every so many.

    >>> [Step(every=10, factor=0.5)(at) for at in (0, 9, 10, 25)]
    [1.0, 1.0, 0.5, 0.25]
    """

    every: Positive = 100.0
    factor: Share = 0.1
    by: By = "versions"

    def __call__(self, at: float) -> float:
        return float(self.factor ** math.floor(at / self.every))


@dataclass(frozen=True)
class Cosine:
    """From 1 down to `final` along half a cosine, over so many, and then constant.

    >>> [round(Cosine(over=100, final=0.2)(at), 3) for at in (0, 50, 100, 200)]
    [1.0, 0.6, 0.2, 0.2]
    """

    over: Positive = 100.0
    final: Fraction = 0.0
    by: By = "versions"

    def __call__(self, at: float) -> float:
        down = 0.5 * (1.0 + math.cos(math.pi * min(1.0, at / self.over)))
        return self.final + (1.0 - self.final) * down


@dataclass(frozen=True)
class WarmUp:
    """Rises in a straight line from `first` to 1 over so many.

    >>> [WarmUp(over=10, first=0.5)(at) for at in (0, 5, 10, 20)]
    [0.5, 0.75, 1.0, 1.0]
    """

    over: Positive = 100.0
    first: Share = 0.1
    by: By = "versions"

    def __call__(self, at: float) -> float:
        return self.first + (1.0 - self.first) * min(1.0, at / self.over)


def factor(schedules: Sequence[Any], by: By, at: float) -> float:
    """Product of those schedules that go by this, at this number. Raises PluginError."""
    return math.prod(_checked(one, at) for one in schedules if by_of(one) == by)


def by_of(schedule: Any) -> str:
    """What a schedule goes by: a function of others' by versions, if its table does not say."""
    return str(getattr(schedule, "options", {}).get("by", getattr(schedule, "by", "versions")))


def _checked(schedule: Any, at: float) -> float:
    options = {k: v for k, v in getattr(schedule, "options", {}).items() if k != "by"}
    name = getattr(schedule, "kind", None) or type(schedule).__name__
    with plugin_errors(f"schedule {name}"):
        found = float((getattr(schedule, "function", None) or schedule)(at, **options))
        if not 0.0 <= found < math.inf:
            raise PluginError(f"gave {found} at {at:g}, expected a factor from 0")
        return found
