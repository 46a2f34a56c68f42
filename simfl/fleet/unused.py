"""Failure settings of a scenario that can never make a difference."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from simfl.fleet.cells import CellOptions
from simfl.fleet.columns import Fleet
from simfl.fleet.options import GroupOptions


def unused(groups: Sequence[GroupOptions], cells: Sequence[CellOptions], fleet: Fleet) -> list[str]:
    """One sentence for each setting that can never fire, with its key path."""
    failing = {cell.name for cell in cells if cell.outages is not None}
    found = [
        f"fleet.group.{g}.{text}"
        for g, options in enumerate(groups)
        for text in _of_group(options, fleet, g, failing)
    ]
    named = {options.cell for options in groups}
    return found + [
        f"network.cell.{i}: no group is behind {cell.name!r}"
        for i, cell in enumerate(cells)
        if cell.name not in named
    ]


def _of_group(options: GroupOptions, fleet: Fleet, g: int, failing: set[str]) -> Iterator[str]:
    faults = options.faults
    stays = options.presence.kind == "always" and options.cell not in failing
    if stays and "on_offline" in faults.model_fields_set:
        yield f'faults.on_offline = "{faults.on_offline}": its devices never go away'
    if faults.retry and not faults.drop_probability:
        yield "faults.retry: nothing is retried where drop_probability is 0"
    if faults.suspend and not faults.suspend.probability:
        yield "faults.suspend: its probability is 0"
    if options.battery is not None and not _draws(fleet, g):
        yield "battery: its devices draw no power; give them `power`, or a device class"


def _draws(fleet: Fleet, g: int) -> bool:
    first = int(np.searchsorted(fleet.group, g))
    return fleet.energy.train_w(first) > 0.0 or fleet.energy.radio_w(first) > 0.0
