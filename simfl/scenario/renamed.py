"""Options under the names that they had in earlier versions of simfl, which are still read."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

Table = dict[str, Any]

#: New names by the path of the table and the old name.
_OPTIONS = {("learning", "drift"): "shift"}
#: The same by the kind of the strategy.
_OF_STRATEGIES = {("gradientinversion", "cells"): "bins"}


def current(table: Table) -> Table:
    """A scenario's table with today's names; warns of each older one.

    >>> import warnings
    >>> with warnings.catch_warnings(action="ignore"):
    ...     current({"learning": {"drift": {"last": 9}}})
    {'learning': {'shift': {'last': 9}}}
    """
    for (section, old), new in _OPTIONS.items():
        table = _renamed(table, section, old, new)
        for place in ("sweep", "tune"):
            table = _swept(table, place, f"{section}.{old}", f"{section}.{new}")
    strategy = table.get("strategy")
    kind = strategy.get("kind") if isinstance(strategy, Mapping) else None
    for (name, old), new in _OF_STRATEGIES.items():
        if kind == name:
            table = _renamed(table, "strategy", old, new)
    return table


def _renamed(table: Table, section: str, old: str, new: str) -> Table:
    options = table.get(section)
    if not isinstance(options, Mapping) or old not in options:
        return table
    _warn(f"{section}.{old}", f"{section}.{new}")
    rest = {key: value for key, value in options.items() if key != old}
    return {**table, section: {new: options[old], **rest}}


def _swept(table: Table, place: str, old: str, new: str) -> Table:
    """The same for key paths that a study varies."""
    varied = table.get(place)
    if not isinstance(varied, Mapping):
        return table
    if place == "tune" and isinstance(varied.get("space"), Mapping):
        return {**table, place: _swept(dict(varied), "space", old, new)}
    keys = {key: new + key[len(old) :] for key in varied if f"{key}.".startswith(f"{old}.")}
    for key, today in keys.items():
        _warn(key, today)
    return {**table, place: {keys.get(key, key): value for key, value in varied.items()}}


def _warn(old: str, new: str) -> None:
    warnings.warn(f"{old} is called {new} now", FutureWarning, stacklevel=2)
