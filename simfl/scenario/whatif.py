"""[[fleet.change]]: what if a share of the devices were different?

    extends = "phones.toml"
    [[fleet.change]]              # 30 % of each group: three times slower, on 3G, dropping out
    share = 0.3
    slowdown = 3.0
    network = "3g"
    faults = { drop_probability = 0.1 }

A change splits every group that it means into the devices that stay as they are and, behind them,
those that it changes; the scenario that a run leaves behind has the groups and no change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from simfl.errors import did_you_mean
from simfl.fleet.options import GroupOptions
from simfl.scenario.complain import Problem
from simfl.scenario.reading import merged

#: Keys of a change beside those of a group. of: the group's name, or its device class.
_OWN = ("share", "of")
_NOT = ("count",)


def apply_changes(table: Mapping[str, Any]) -> dict[str, Any]:
    """The scenario's table with its changes made. Raises Mistake."""
    fleet = table.get("fleet")
    if not isinstance(fleet, Mapping) or "change" not in fleet:
        return dict(table)
    changes, groups = fleet["change"], fleet.get("group")
    rest = {key: value for key, value in fleet.items() if key != "change"}
    if not isinstance(groups, list):
        return {**table, "fleet": rest}  # there is something else that is wrong
    if not isinstance(changes, list):
        raise Mistake(Problem(("fleet", "change"), ": expected tables, as [[fleet.change]]"))
    for number, change in enumerate(changes):
        wrong = _wrong(change)
        if wrong:
            raise Mistake(wrong.below("fleet", "change", number))
        groups = _changed(groups, change, number)
    return {**table, "fleet": {**rest, "group": groups}}


class Mistake(Exception):
    """A change that cannot be made. problem: what is wrong with it."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def _wrong(change: Any) -> Problem | None:
    if not isinstance(change, Mapping):
        return Problem((), ": expected a table with `share` and what changes")
    known = [*_OWN, *(name for name in GroupOptions.model_fields if name not in _NOT)]
    for key in change:
        if key not in known:
            hint = did_you_mean(str(key), known)
            return Problem((str(key),), f" is not an option of a change {hint}")
    share = change.get("share", 1.0)
    number = isinstance(share, int | float) and not isinstance(share, bool)
    if not number or not 0.0 < share <= 1.0:
        return Problem(("share",), f" = {share!r}, expected a number above 0 and not above 1")
    if len(set(change) - set(_OWN)) == 0:
        return Problem((), ": changes nothing")
    return None


def _changed(groups: list[Any], change: Mapping[str, Any], number: int) -> list[Any]:
    """The groups with those that are meant split. Raises Mistake if no device is."""
    found = list(_split(groups, change))
    if len(found) == len(groups) and found == groups:
        names = [_called(group) for group in groups if isinstance(group, Mapping)]
        wanted = change.get("of")
        hint = did_you_mean(str(wanted), names) if wanted else "(no group has so many devices)"
        what = f".of = {wanted!r} is no group" if wanted else ": its share is less than one device"
        raise Mistake(Problem(("fleet", "change", number), f"{what} {hint}"))
    return found


def _split(groups: list[Any], change: Mapping[str, Any]) -> Iterator[Any]:
    own = {key: value for key, value in change.items() if key not in _OWN}
    for group in groups:
        count = group.get("count") if isinstance(group, Mapping) else None
        means = "of" not in change or change["of"] == _called(group)
        count = count if isinstance(count, int) and means else 0
        some = round(change.get("share", 1.0) * count)
        if not some:
            yield group
            continue
        if some < count:
            yield {**group, "count": count - some}
        named = {} if some == count else {"name": f"{_called(group)}, changed"}
        yield {**named, **merged({**group, **named}, own), "count": some}


def _called(group: Any) -> str:
    """What a group is called before its classes are looked up."""
    if not isinstance(group, Mapping):
        return ""
    compute = group.get("compute")
    kind = compute.get("kind", "compute") if isinstance(compute, Mapping) else "devices"
    return str(group.get("name") or group.get("device") or group.get("capacity") or kind)
