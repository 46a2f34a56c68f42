"""Implements `world.base.World`, the world as one process sees it, on the kernel's parts."""

from __future__ import annotations

from collections.abc import Iterator
from math import nan
from typing import Any

import numpy as np

from simfl.clock.living.arguments import above_zero, finite, named, number_of, whole, word
from simfl.clock.living.changes import Changes
from simfl.errors import PluginError, did_you_mean
from simfl.messages import PHASES
from simfl.units import GFLOPS, MBPS

#: Devices that a run may have had in all.
MOST_DEVICES = 100_000_000

#: Kinds of rows that begin so are changes that were made.
OWN = "world."


class WorldFace:
    """Reads and changes a run in the name of one process. Checks whatever it is given."""

    def __init__(self, changes: Changes, process: str, draws: Any) -> None:
        self._changes = changes
        self._process = process
        self._draws = draws

    def __repr__(self) -> str:
        return f"<world of {self.devices} devices at t = {self.now_s:g} s>"

    # What may be known.

    @property
    def devices(self) -> int:
        return len(self._changes.fleet)

    @property
    def now_s(self) -> float:
        return self._changes.clock.now

    @property
    def version(self) -> int:
        return self._changes.server.version

    @property
    def cells(self) -> tuple[str, ...]:
        names: tuple[str, ...] = self._changes.fleet.cells.names
        return names

    @property
    def groups(self) -> tuple[str, ...]:
        return tuple(group.device_class for group in self._changes.fleet.groups)

    def group(self, device: int) -> str:
        members = self._changes.fleet.members
        return self.groups[members.group_of(self._device("group", device))]

    def is_member(self, device: int) -> bool:
        device = number_of("is_member", "device", device, self.devices)
        return bool(self._changes.fleet.members.has(device))

    def cell_mbps(self, cell: str | int) -> tuple[float, float]:
        rate, number = self._changes.fleet.cells.rate, named("cell_mbps", "cell", cell, self.cells)
        down, up = (rate(number, self.now_s, up=up)[0] / MBPS for up in (False, True))
        return down, up

    def column(self, name: str) -> np.ndarray:
        columns = self._changes.fleet.base.columns()
        if name not in columns:
            raise PluginError(f"column was given {name!r} {did_you_mean(str(name), columns)}")
        return np.array(columns[name])

    def speed(self, device: int) -> float:
        factor: float = self._changes.fleet.speeds.get(self._device("speed", device), 1.0)
        return factor

    def link(self, device: int) -> tuple[float, float]:
        factors: tuple[float, float] = self._changes.fleet.link.factors.get(
            self._device("link", device), (1.0, 1.0)
        )
        return factors

    def cell(self, device: int) -> int:
        return int(self._changes.fleet.cells.of(self._device("cell", device)))

    def present(self, device: int) -> bool:
        device = self._device("present", device)
        return bool(self._changes.fleet.presence.is_on(device, self.now_s))

    def phase(self, device: int) -> str:
        task = self._changes.task_of(self._device("phase", device))
        return "" if task is None or task.plan is None else PHASES[self._changes.phase_of(task)]

    def busy(self) -> list[int]:
        return sorted(task.device for task in self._changes.server.tasks.values())

    def battery_j(self, device: int) -> float:
        return self._changes.battery_j(self._device("battery_j", device))

    def load(self, cell: str | int | None = None) -> tuple[float, float]:
        number = None if cell is None else named("load", "cell", cell, self.cells)
        return self._changes.load(number)

    def generator(self, purpose: str) -> np.random.Generator:
        made: np.random.Generator = self._draws.of(
            self._process, word("generator", "purpose", purpose)
        )
        return made

    # What may be changed.

    def set_speed(self, device: int, factor: float) -> None:
        device = self._device("set_speed", device)
        factor = above_zero("set_speed", "factor", factor)
        if factor != self.speed(device):
            self._changes.set_speed(device, factor)
            self._note("set_speed", device, factor)

    def set_link(self, device: int, down_factor: float, up_factor: float | None = None) -> None:
        device = self._device("set_link", device)
        down = above_zero("set_link", "down_factor", down_factor)
        up = down if up_factor is None else above_zero("set_link", "up_factor", up_factor)
        if (down, up) != self.link(device):
            self._changes.set_link(device, down, up)
            self._note("set_link.down", device, down)
            self._note("set_link.up", device, up)

    def set_cell(
        self, cell: str | int, down_mbps: float | None = None, up_mbps: float | None = None
    ) -> None:
        number = named("set_cell", "cell", cell, self.cells)
        self._need_shared("set_cell")
        for up, way, mbps in _ways("set_cell", down_mbps, up_mbps):
            if mbps != self.cell_mbps(number)[up]:
                self._changes.set_cell(number, mbps * MBPS, up=up)
                self._note(f"set_cell.{self.cells[number]}.{way}", None, mbps)

    def set_server(
        self,
        down_mbps: float | None = None,
        up_mbps: float | None = None,
        gflops: float | None = None,
    ) -> None:
        if (down_mbps, up_mbps) != (None, None):
            self._need_shared("set_server")
        for up, way, mbps in _ways("set_server", down_mbps, up_mbps):
            self._changes.set_server(mbps * MBPS, up=up)
            self._note(f"set_server.{way}", None, mbps)
        if gflops is not None:
            gflops = above_zero("set_server", "gflops", gflops)
            self._changes.server.flops_per_s = gflops * GFLOPS
            self._note("set_server.gflops", None, gflops)

    def move(self, device: int, cell: str | int) -> None:
        device, number = self._device("move", device), named("move", "cell", cell, self.cells)
        if any(map(self._changes.fleet.members.is_cut_off_at_times, range(len(self.groups)))):
            raise PluginError("move: devices behind cells that have outages cannot move")
        if number != self.cell(device):
            self._changes.move(device, number)
            self._note("move", device, float(number))

    def set_carbon(self, g_per_kwh: float) -> None:
        self._set_intensity("set_carbon", "co2_g", "g_per_kwh", g_per_kwh)

    def set_price(self, per_kwh: float) -> None:
        self._set_intensity("set_price", "cost", "per_kwh", per_kwh)

    def _set_intensity(self, method: str, quantity: str, what: str, given: float) -> None:
        value = given if given == 0 else above_zero(method, what, given)
        self._changes.meter.set(quantity, self.now_s, float(value))
        self._note(method, None, float(value))

    def leave(self, device: int) -> None:
        device = self._device("leave", device)
        if not self._changes.fleet.presence.has_left(device):
            self._note("leave", device, nan)
            self._changes.leave(device)

    def come_back(self, device: int) -> None:
        device = self._device("come_back", device)
        if self._changes.fleet.presence.has_left(device):
            self._note("come_back", device, nan)
            self._changes.come_back(device)

    def add(self, group: int | str, count: int = 1) -> list[int]:
        changes = self._changes
        number = named("add", "group", group, self.groups)
        count = whole("add", "count", count, MOST_DEVICES - self.devices)
        self._need_open("add")
        self._need_memory(number)
        made = []
        for _ in range(count):
            self._write(OWN + "add", self.devices, float(number))
            made.append(changes.add(number))
        return made

    def retire(self, device: int) -> None:
        device = self._device("retire", device)
        self._need_open("retire")
        self._note("retire", device, nan)
        self._changes.retire(device)

    def members(self) -> list[int]:
        numbers: list[int] = self._changes.fleet.members.numbers()
        return numbers

    def end_task(self, device: int, cause: str) -> bool:
        device = self._device("end_task", device)
        cause = word("end_task", "cause", cause)
        task = self._changes.task_of(device)
        if task is None:
            return False
        self._note("end_task", device, float(task.serial))
        self._changes.end_task(task, cause)
        return True

    def log(self, kind: str, device: int | None = None, value: float = nan) -> None:
        kind = word("log", "kind", kind)
        if kind.startswith(OWN):
            raise PluginError(f"log was given the kind {kind!r}: {OWN!r} begins changes of a world")
        number = None if device is None else self._device("log", device)
        self._write(kind, number, finite("log", "value", value))

    def _note(self, method: str, device: int | None, value: float) -> None:
        self._write(OWN + method, device, value)

    def _write(self, kind: str, device: int | None, value: float) -> None:
        self._changes.journal.write(self.now_s, self._process, kind, device, value)

    def _device(self, method: str, given: Any) -> int:
        device = number_of(method, "device", given, self.devices)
        if not self._changes.fleet.members.has(device):
            raise PluginError(f"{method} was given device {device}, which has been retired")
        return device

    def _need_open(self, method: str) -> None:
        if not hasattr(self._changes.workload, "join"):
            raise PluginError(f"{method}: an app's devices are fixed; use leave and come_back")

    def _need_memory(self, group: int) -> None:
        if self._changes.fleet.groups[group].presence == "never":
            raise PluginError(
                f"add was given group {group}, whose devices have no memory for the model"
            )

    def _need_shared(self, method: str) -> None:
        if not self._changes.shares:
            raise PluginError(
                f'{method}: links are shared with `server.sharing = "max-min"` alone; in this '
                "run no transfer passes the server's or a cell's capacity"
            )


def _ways(
    method: str, down_mbps: float | None, up_mbps: float | None
) -> Iterator[tuple[bool, str, float]]:
    """(up, its name, Mbit/s) of each direction that is given. Raises PluginError."""
    for up, way, mbps in ((False, "down", down_mbps), (True, "up", up_mbps)):
        if mbps is not None:
            yield up, way, above_zero(method, f"{way}_mbps", mbps)
