"""What a change of the world does to the run at this instant."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from simfl.clock.living.journal import Journal
from simfl.clock.living.meter import Meter
from simfl.clock.living.rescaling import LivingLifecycle
from simfl.clock.tasks.draws import OFFLINE
from simfl.messages import Task

if TYPE_CHECKING:
    from simfl.clock.kernel import Kernel


#: Why a task of a device that was retired is lost.
RETIRED = "retired"


class Changes:
    """Applies changes to a kernel whose fleet is an AlteredFleet. Arguments are right."""

    def __init__(self, kernel: Kernel, journal: Journal, meter: Meter) -> None:
        assert isinstance(kernel.server.lifecycle, LivingLifecycle)
        self.clock = kernel.clock
        self.server = kernel.server
        self.fleet: Any = kernel.server.fleet
        self.journal = journal
        self.meter = meter
        self.shares = kernel.plan.shared_links
        self._kernel = kernel
        self._lifecycle = kernel.server.lifecycle
        self._lifecycle.meter = meter
        self.workload: Any = kernel.workload  #: an OpenWorkload, where devices come and go

    # Reading.

    def task_of(self, device: int) -> Task | None:
        """The device's task in flight."""
        if self.server.pool.is_idle(device):
            return None
        known = self._lifecycle.by_device
        if device not in known or known[device].serial not in self.server.tasks:
            known.update((task.device, task) for task in self.server.tasks.values())
        return known[device]

    def phase_of(self, task: Task) -> int:
        """The phase that the task is at now."""
        passed = sum(end_s <= self.clock.now for end_s in task.plan.ends_s[:-1])
        return min(task.phase + passed, 2)

    def battery_j(self, device: int) -> float:
        """Joules now."""
        batteries = self.server.batteries
        if batteries is None:
            return inf
        task = self.task_of(device)
        if task is not None:
            self._lifecycle.book_so_far(task)
        return batteries.level_j(device, self.clock.now)

    def load(self, cell: int | None) -> tuple[float, float]:
        """Bytes per second, down and up."""
        assert self._lifecycle.transfers is not None
        of = self.fleet.cells.of
        down, up = (
            sum(
                rate
                for serial, rate in link.rates().items()
                if cell is None or of(link.flows[serial].task.device) == cell
            )
            for link in self._lifecycle.transfers.shared
        )
        return down, up

    # Changing.

    def set_speed(self, device: int, factor: float) -> None:
        """Training goes on at this factor."""
        task = self.task_of(device)
        if task is not None:
            self._lifecycle.respeed(task, factor)
        _put(self.fleet.speeds, device, factor, 1.0)

    def set_link(self, device: int, down: float, up: float) -> None:
        """Transfers go on at these factors."""
        _put(self.fleet.link.factors, device, (down, up), (1.0, 1.0))
        task = self.task_of(device)
        if task is not None:
            self._lifecycle.relink(task)

    def set_cell(self, cell: int, rate: float, *, up: bool) -> None:
        """The cell carries so many bytes per second."""
        assert self._lifecycle.transfers is not None
        self.fleet.cells.set_rates[cell, up] = rate
        self._lifecycle.transfers.resize(cell, rate, up=up)

    def move(self, device: int, cell: int) -> None:
        """The device is behind another cell, and so is its transfer."""
        self.server.may_move(device, cell)
        self.fleet.cells.moved[device] = cell
        task = self.task_of(device)
        if task is not None:
            assert self._lifecycle.transfers is not None
            self._lifecycle.transfers.rehome(task)

    def set_server(self, rate: float, *, up: bool) -> None:
        """The server carries so many bytes per second."""
        assert self._lifecycle.transfers is not None
        self._lifecycle.transfers.shared[up].widen(rate)

    def leave(self, device: int) -> None:
        """The device is away: its task is lost, pauses, or is finished all the same."""
        presence, task = self.fleet.presence, self.task_of(device)
        if task is None:
            presence.forget(device)
        presence.leave(device, self.clock.now)
        if task is None or task.plan is None:
            return
        if self.fleet.faults.on_offline(device) == "lost":
            self.end_task(task, OFFLINE)
        else:
            self._lifecycle.replace(task)

    def come_back(self, device: int) -> None:
        """The device is there again, and can be given a task."""
        presence, task = self.fleet.presence, self.task_of(device)
        presence.come_back(device, self.clock.now)
        if task is None:
            presence.forget(device)
            self._kernel.look_again(device)
        elif task.plan is not None:
            self._lifecycle.replace(task)

    def add(self, group: int) -> int:
        """One more device of this group; returns its number."""
        device = self.fleet.members.join(group)
        self.make_room(group)
        if self.server.batteries is not None:
            self.server.batteries.look_ahead(device)
        self._kernel.look_again(device)
        return device

    def make_room(self, group: int) -> None:
        """Columns of the clock and of the workload have a row for one more device."""
        members, server = self.fleet.members, self.server
        self.workload.join(server.devices + 1, members.first)
        server.join(group)
        if server.batteries is not None:
            row = int(np.searchsorted(members.base.group, group))
            start_j = self._start_j(server.devices - 1)
            server.batteries.join(row, start_j, self.clock.now)

    def _start_j(self, device: int) -> float:
        newcomer = self.fleet.members.newcomers.get(device)
        own = None if newcomer is None else newcomer.energy.start_j
        return inf if own is None else float(own[0])

    def retire(self, device: int) -> None:
        """The device is gone for good, and its task with it."""
        task = self.task_of(device)
        if task is not None:
            self.end_task(task, RETIRED)
        self.server.pool.take(device)
        self.workload.forget(device)
        self.fleet.members.retire(device)
        self.fleet.forget(device)

    def end_task(self, task: Task, cause: str) -> None:
        """The task is lost here and now."""
        self._lifecycle.end(task, "lost", cause)


def _put(table: dict[int, Any], device: int, value: Any, usual: Any) -> None:
    """What is usual takes no memory."""
    if value == usual:
        table.pop(device, None)
    else:
        table[device] = value
