"""What processes may hand to a world's methods; anything else is refused in one paragraph."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from numbers import Real
from operator import index
from typing import Any

import numpy as np

from simfl.errors import PluginError, did_you_mean, shorten

#: Factors and rates beyond this are mistakes, and would overflow on the way.
MOST = 1e12


def number_of(method: str, what: str, given: Any, count: int) -> int:
    """One of 0 to count - 1.

    what: the noun.
    Raises PluginError.
    """
    try:
        number = index(given)
    except TypeError:
        raise PluginError(
            f"{method} was given {shorten(repr(given))}, expected a {what}'s number"
        ) from None
    if not 0 <= number < count:
        there = f"there are {what}s 0 to {count - 1}" if count else f"there is no {what}"
        raise PluginError(f"{method} was given {what} {number}, but {there}")
    return number


def named(method: str, what: str, given: Any, names: Sequence[str]) -> int:
    """The number of a thing that is given by number or by name. Raises PluginError."""
    if not isinstance(given, str):
        return number_of(method, what, given, len(names))
    if given not in names:
        hint = did_you_mean(given, names)
        raise PluginError(f"{method} was given {what} {shorten(given)!r} {hint}")
    return names.index(given)


def whole(method: str, what: str, given: Any, most: int) -> int:
    """A whole number of 0 to `most`. Raises PluginError."""
    try:
        number = index(given)
    except TypeError:
        number = -1
    if not 0 <= number <= most:
        raise PluginError(
            f"{method} was given {what} = {shorten(repr(given))}, expected a whole number of 0 to "
            f"{most}"
        )
    return number


def above_zero(method: str, what: str, given: Any) -> float:
    """A finite number above 0. Raises PluginError."""
    if not _is_number(given) or not 0.0 < given <= MOST:
        raise PluginError(
            f"{method} was given {what} = {shorten(repr(given))}, expected a number above 0 and "
            f"up to {MOST:g}"
        )
    return float(given)


def finite(method: str, what: str, given: Any) -> float:
    """A number, which may be NaN where there is nothing to say. Raises PluginError."""
    if not _is_number(given) or not (isfinite(given) or given != given):
        raise PluginError(
            f"{method} was given {what} = {shorten(repr(given))}, expected a finite number"
        )
    return float(given)


def _is_number(given: Any) -> bool:
    return isinstance(given, Real) and not isinstance(given, bool | np.bool_)


def word(method: str, what: str, given: Any) -> str:
    """A text that says something. Raises PluginError."""
    if not isinstance(given, str) or not given.strip():
        raise PluginError(f"{method} was given {what} = {shorten(repr(given))}, expected some text")
    return given
