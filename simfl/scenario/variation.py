"""[sweep] and [tune]: what varies between the runs of a study, and what is tuned before it.

A value of a sweep may carry a name of its own, for tables and figures:

    [sweep]
    learning.lr = [0.05, 0.5]                                       # labelled by themselves
    "learning.partition.alpha" = [{ label = "skewed", value = 0.1 }, { label = "even", value = 9 }]

    [[sweep.variant]]                                               # any part of the scenario
    label = "FedBuff, 5 updates"
    strategy = { kind = "fedbuff", concurrency = 20, buffer = 5 }
    tune.space.strategy.server_lr = { log = [0.1, 3.0] }
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, Strict, StringConstraints, model_validator

from simfl.errors import did_you_mean
from simfl.fleet.table import Table
from simfl.units import Count, Index

#: The key of a sweep whose values are laid over the whole scenario.
VARIANT = "variant"

#: What one key of a sweep runs through.
Values = Annotated[list[Any], Field(min_length=1)]
Pair = Annotated[tuple[float, float], Strict(False)]
Counts = Annotated[tuple[int, int], Strict(False)]


def flat(sweep: Any) -> Any:
    """`strategy.buffer = [5, 20]` means the same with and without quotes around the key."""
    return _flat(sweep, lambda value: isinstance(value, dict))


def _flat(table: Any, inner: Any) -> Any:
    if not isinstance(table, dict):
        return table
    found: dict[str, Any] = {}
    for key, value in table.items():
        below = _flat(value, inner) if inner(value) else None
        found |= {key: value} if below is None else {f"{key}.{k}": v for k, v in below.items()}
    return found


@dataclass(frozen=True)
class Point:
    """One value of a sweep. label: the name that it was given; overrides: by key path."""

    label: str | None
    overrides: Mapping[str, Any]


def point(path: str, value: Any) -> Point:
    """The value of a sweep at this key path, taken apart. Raises ValueError."""
    label = None
    if isinstance(value, Mapping) and "label" in value:
        label = value["label"]
        if not isinstance(label, str) or not label:
            raise ValueError(f"label = {label!r}, expected a name")
        value = {key: inner for key, inner in value.items() if key != "label"}
        value = value["value"] if set(value) == {"value"} else value
    if path == VARIANT:
        if not isinstance(value, Mapping):
            raise ValueError("a variant is a table with a `label` and what it changes")
        if label is None:
            near = next(iter(get_close_matches("label", value, n=1)), "label")
            raise ValueError(f"{near} is not the name of a variant {did_you_mean(near, ['label'])}")
        return Point(label, laid_over(value))
    return Point(label, {path: value})


def laid_over(table: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides by key path: tables merge, down to those of another `kind` and to spaces."""
    return dict(_flat(dict(table), _merges))


def _merges(value: Any) -> bool:
    return (
        isinstance(value, dict) and bool(value) and not ({"kind", *Space.model_fields} & {*value})
    )


def _leads_on(value: Any) -> bool:
    """True for a table of tables: a part of a key path, and no space yet."""
    return isinstance(value, dict) and all(isinstance(inner, dict) for inner in value.values())


class Space(Table):
    """Where the value of an option is looked for; one of the four.

    log: between two numbers above 0, evenly by their logarithms.
    linear: between two numbers.
    whole: between two whole numbers, both included.
    choice: one of these.
    """

    log: Pair | None = None
    linear: Pair | None = None
    whole: Counts | None = None
    choice: Annotated[list[bool | int | float | str], Field(min_length=2)] | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> Space:
        given = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError("give one of `log`, `linear`, `whole` and `choice`")
        if self.choice is None:
            low, high = self.ends
            if not low < high:
                raise ValueError(f"{given[0]} = [{low:g}, {high:g}], expected the lower one first")
            if self.log is not None and low <= 0:
                raise ValueError(f"log = [{low:g}, {high:g}], expected numbers above 0")
        return self

    @property
    def ends(self) -> tuple[Any, Any]:
        """The two ends; of a choice, its first and its last."""
        if self.choice is not None:
            return self.choice[0], self.choice[-1]
        low, high = self.log or self.linear or self.whole or (0, 0)
        return low, high


class TuneOptions(Table):
    """[tune]: every variant of a study gets its own best options before it is compared.

    trials: points of its space that each variant may try.
    seeds: those that trials are played on; a study may not have them.
    objective: what should be small until the target of [stop] is met (seconds, bytes, down_bytes,
        up_bytes, device_s, energy_j or versions), or a metric, at its best until stop.after_s.
    space: where the options are looked for, by key path, those of all variants; a variant adds its
        own.
    extend: a space whose edge looks best grows there.
    sampler: how points are chosen.
    """

    trials: Count = 20
    seeds: Annotated[tuple[Index, ...], Strict(False), Field(min_length=1)] = (1000, 1001)
    objective: Annotated[str, StringConstraints(min_length=1)] = "seconds"
    extend: bool = True
    sampler: Literal["tpe", "random"] = "tpe"
    space: Annotated[dict[str, Space], BeforeValidator(lambda table: _flat(table, _leads_on))] = (
        Field(default_factory=dict)
    )
