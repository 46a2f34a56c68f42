"""What a process of the world is, and what it may know and change.

    [[process]]
    kind = "mypackage.world:Strike"

    class Strike:
        def run(self, env, world):
            yield env.timeout(3600)
            for device in range(10):
                world.leave(device)

A process is written in one of two ways: as a SimPy generator, `run(env, world)`, or as a state
machine, `next(state, world) -> seconds`, whose place a checkpoint can keep.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Protocol

import numpy as np

from simfl.registry import OBJECT, target_of


class World(Protocol):
    """A run's devices, links and cells, as a process knows and changes them.

    Whatever a method changes holds from this instant on, for work under way as well: a training
    slows down with what is left of it, and transfers share their links anew. Each change is a row
    of `events.parquet`, of the kind "world." and the method's name. A device is its number, a
    group its number or its name, a cell its number or its name; factors are above 0, and 1 is the
    scenario. A method that is given anything else raises PluginError.
    """

    @property
    def devices(self) -> int:
        """Numbers given to devices so far: they are 0 to devices - 1."""

    @property
    def now_s(self) -> float:
        """Virtual seconds since the run began."""

    @property
    def version(self) -> int:
        """The server's version."""

    @property
    def cells(self) -> tuple[str, ...]:
        """The names of the cells."""

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups, as `device_class` has them."""

    def group(self, device: int) -> str:
        """The name of its group."""

    def is_member(self, device: int) -> bool:
        """False once the device has been retired."""

    def cell_mbps(self, cell: str | int) -> tuple[float, float]:
        """What the cell carries now, down and up; inf where nothing limits it."""

    def column(self, name: str) -> np.ndarray:
        """A column of the scenario's devices, as `devices.parquet` has it. (N,); a copy."""

    def speed(self, device: int) -> float:
        """The factor of its training speed."""

    def link(self, device: int) -> tuple[float, float]:
        """The factors of its link, down and up."""

    def cell(self, device: int) -> int:
        """The number of its cell; -1 if it is behind none."""

    def present(self, device: int) -> bool:
        """True if the device is there."""

    def phase(self, device: int) -> str:
        """What its task is at: "download", "train" or "upload"; "" without a task under way."""

    def busy(self) -> list[int]:
        """The devices that have a task, ascending."""

    def battery_j(self, device: int) -> float:
        """Joules in its battery now; inf on mains."""

    def load(self, cell: str | int | None = None) -> tuple[float, float]:
        """Bytes per second that pass down and up, through a cell or (None) through all."""

    def set_speed(self, device: int, factor: float) -> None:
        """It trains so many times as fast as the scenario says."""

    def set_link(self, device: int, down_factor: float, up_factor: float | None = None) -> None:
        """Its own link carries so many times as much.

        up_factor: by default as down_factor.
        """

    def set_cell(
        self, cell: str | int, down_mbps: float | None = None, up_mbps: float | None = None
    ) -> None:
        """The cell carries so much; None leaves a direction as it is."""

    def set_server(
        self,
        down_mbps: float | None = None,
        up_mbps: float | None = None,
        gflops: float | None = None,
    ) -> None:
        """The server's links carry, and it computes, so much; None leaves it as it is."""

    def move(self, device: int, cell: str | int) -> None:
        """The device is behind this cell; its transfer goes along."""

    def set_carbon(self, g_per_kwh: float) -> None:
        """Electricity emits so much CO2; tasks have a column `co2_g` from then on."""

    def set_price(self, per_kwh: float) -> None:
        """Electricity costs so much; tasks have a column `cost` from then on."""

    def leave(self, device: int) -> None:
        """The device is away until `come_back`; its task as `faults.on_offline` says."""

    def come_back(self, device: int) -> None:
        """The device is there again, as far as its own presence goes."""

    def add(self, group: int | str, count: int = 1) -> list[int]:
        """So many devices of this group join, with the data of device i mod N; their numbers."""

    def retire(self, device: int) -> None:
        """The device is gone for good; its task is lost, with the cause "retired"."""

    def members(self) -> list[int]:
        """The devices that have not been retired, ascending."""

    def end_task(self, device: int, cause: str) -> bool:
        """Its task is lost for this cause; False if it has none."""

    def log(self, kind: str, device: int | None = None, value: float = float("nan")) -> None:
        """Writes a row of `events.parquet`: (time, process, kind, device, value)."""

    def generator(self, purpose: str) -> np.random.Generator:
        """The process's own random numbers for this purpose; they go on from call to call."""


class Process(Protocol):
    """A process as SimPy knows it: a generator of events. It begins at 0."""

    def run(self, env: Any, world: World) -> Generator[Any, Any, Any] | None:
        """Yields events of the environment, as `env.timeout(60)`; acts between them."""


class Machine(Protocol):
    """A process as a state machine: checkpoints keep its state, so a run of it can be resumed.

    A machine may have `init(world) -> state`; without it, its state is None.
    """

    def next(self, state: Any, world: World) -> float | None:
        """Acts, and returns the seconds until it acts again; None: never."""


def is_machine(process: Any) -> bool:
    """True if a checkpoint can keep the process."""
    return hasattr(process, "next")


def kind_of(process: Any) -> str:
    """The name by which a scenario finds the process, or that of the object."""
    if hasattr(process, "described"):
        return str(process.described()["kind"]).removeprefix(OBJECT)
    return target_of(type(process))
