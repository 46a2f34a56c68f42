"""What a strategy hands to a server, checked: devices to draw, work, changes, weights, charges."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import repeat
from math import inf
from typing import Any

import numpy as np

from simfl.errors import PluginError

NUMBERS = (int, float, np.number)  # a union made anew at each call takes 0.2 microseconds

#: Epochs or steps that a task may have at most: more is a mistake, and would overflow on the way.
MOST_WORK = 1_000_000_000


def whole(n: Any) -> int:
    """How many devices: a count, or a number that is one, as 2.0. Raises PluginError for others."""
    if isinstance(n, NUMBERS) and float(n).is_integer():
        return int(n)
    raise PluginError(f"sample was asked for {n!r} devices, expected a whole number")


def each(values: Any, n: int, least: float, whole: bool = False) -> Iterable[Any]:
    """One value for each of n devices: a scalar is repeated, a sequence is taken as it is."""
    if values is None:
        return repeat(None, n)
    if isinstance(values, NUMBERS):
        if _is_known_work(values, least, whole):
            return repeat(values, n)
        raise PluginError(_no_work(values, whole))
    given = np.asarray(values).tolist()
    if len(given) != n:
        raise PluginError(
            f"dispatch of {n} devices was given {len(given)} values of epochs or steps"
        )
    if not all(_is_work(value, least, whole) for value in given):
        raise PluginError(_no_work(values, whole))
    return list(given)


def _is_work(value: Any, least: float, whole: bool) -> bool:
    return bool(least <= value <= MOST_WORK) and not (whole and value % 1)


_is_known_work = lru_cache(maxsize=256)(_is_work)  # strategies ask for the same again and again


def _no_work(values: Any, whole: bool) -> str:
    what = f"1 to {MOST_WORK} whole steps" if whole else f"0 to {MOST_WORK} epochs"
    return f"dispatch was given {values} epochs or steps, expected some work: {what}"


def no_change(given: object) -> PluginError:
    """What to raise where a Change is expected."""
    return PluginError(f"server.apply takes a Change, as simfl.mean(updates) makes, not {given!r}")


def no_weight(serial: int, weight: float) -> PluginError:
    """What to raise where a weight is expected."""
    return PluginError(f"the update of task {serial} was given the weight {weight}")


def a_charge(flops: float, seconds: float, flops_per_s: float) -> float:
    """Seconds of a server's work. Raises PluginError."""
    if not (0.0 <= flops < inf and 0.0 <= seconds < inf):
        raise PluginError(f"server.charge was given {flops} FLOP and {seconds} s")
    return seconds + flops / flops_per_s
