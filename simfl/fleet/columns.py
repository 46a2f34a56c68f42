"""Fleet: all devices as columns. Made once by `build`, never changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from html import escape
from typing import Any

import numpy as np

from simfl.fleet.energy import Energy
from simfl.fleet.faults import Faults
from simfl.fleet.laws import Compute
from simfl.fleet.network.cells import Cells
from simfl.fleet.network.link import Link
from simfl.fleet.presence.base import Presence
from simfl.units import MBPS


@dataclass(frozen=True)
class Group:
    """What the devices of one group have in common."""

    count: int
    device_class: str
    network: str
    presence: str
    memory_bytes: int  #: 0 where unknown


@dataclass(frozen=True, eq=False)
class Fleet:
    """N devices, numbered group after group.

    group: (N,) int32, index into `groups`. Each part answers the clock's questions about one
    device in Python numbers, and gives its own (N,) columns.
    """

    groups: tuple[Group, ...]
    group: np.ndarray
    compute: Compute
    link: Link
    presence: Presence
    faults: Faults
    energy: Energy
    cells: Cells
    #: (group, device) -> a newcomer, as a fleet of one; None: none can join.
    arrivals: Callable[[int, int], Fleet] | None = None

    def __len__(self) -> int:
        return len(self.group)

    def __getitem__(self, device: int) -> dict[str, Any]:
        """One device's row, for people."""
        return {name: column[[device]].tolist()[0] for name, column in self.columns().items()}

    @cached_property
    def device_classes(self) -> tuple[str, ...]:
        """The names of the device classes, in order of appearance."""
        return tuple(dict.fromkeys(group.device_class for group in self.groups))

    @cached_property
    def class_id(self) -> np.ndarray:
        """(N,) int16, index into `device_classes`."""
        where = [self.device_classes.index(group.device_class) for group in self.groups]
        return np.array(where, dtype=np.int16)[self.group]

    def columns(self) -> dict[str, np.ndarray]:
        """(N,) arrays by name; made anew at each call."""
        return {
            "device": np.arange(len(self), dtype=np.int64),
            "device_class": self._of_group("device_class"),
            "network": self._of_group("network"),
            "presence": self._of_group("presence"),
            "group": self.group.copy(),
            "memory_bytes": self._of_group("memory_bytes", np.int64),
            **self.compute.columns(),
            **self.link.columns(),
            **self.faults.columns(),
            **self.energy.columns(),
            **self.cells.columns(),
        }

    @property
    def nbytes(self) -> int:
        """Memory that grows with the number of devices."""
        parts = (self.compute, self.link, self.presence, self.energy, self.cells)
        return self.group.nbytes + self.class_id.nbytes + sum(part.nbytes for part in parts)

    def _of_group(self, name: str, dtype: Any = object) -> np.ndarray:
        return np.array([getattr(group, name) for group in self.groups], dtype=dtype)[self.group]

    def __repr__(self) -> str:
        counts = (f"{group.count} {group.device_class}" for group in self.groups[:4])
        more = ", ..." if len(self.groups) > 4 else ""
        return f"Fleet({len(self)} devices: {', '.join(counts)}{more})"

    def _repr_html_(self) -> str:
        head = ("class", "network", "presence", "devices", "GFLOP/s", "down Mbit/s", "up Mbit/s")
        rows = [_row("th", head), *(_row("td", cells) for cells in self._summary())]
        return f"<table><caption>{len(self)} devices</caption>{''.join(rows)}</table>"

    def _summary(self) -> Iterator[tuple[str, ...]]:
        """One line for each kind of device: names, count, and medians of the speeds."""
        kinds: dict[tuple[str, ...], list[int]] = {}
        for g, group in enumerate(self.groups):
            kinds.setdefault((group.device_class, group.network, group.presence), []).append(g)
        train = self.compute.columns()["train_gflops"]
        down, up = self.link.down_bytes_per_s / MBPS, self.link.up_bytes_per_s / MBPS
        for names, members in kinds.items():
            mine = np.isin(self.group, members)
            medians = (np.median(column[mine]) for column in (train, down, up))
            yield *names, str(mine.sum()), *(f"{m:.3g}" if np.isfinite(m) else "" for m in medians)


def _row(tag: str, cells: Iterable[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"
