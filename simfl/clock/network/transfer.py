"""Messages on shared links: latency first, then a flow among flows, suspended while away.

Latency delays a message's first byte and uses no bandwidth. A device that pauses when it goes
away takes its flow off the link and puts the rest back when it returns. Rates that a trace moves
are looked up when a flow begins and whenever they change, and only while somebody flows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

from simfl.clock.events import Alarm, Clock, Kind
from simfl.clock.network.sharing import SharedLink
from simfl.messages import Task


@dataclass(slots=True, eq=False)
class Carriage:
    """One message on its way. left_bytes is right only while the flow is off the link.

    nbytes and cap count what is sent, packets that are lost and sent again included.
    """

    task: Task
    up: bool
    cap: float
    nbytes: float
    left_bytes: float
    pauses: bool
    flowing: bool = False
    alarm: Alarm | None = None  #: the end of the latency, or the next departure or return
    swing: Alarm | None = None  #: when the device's own rate next changes


class Carrier:
    """Carries messages over the server's two shared links, through cells if these are shared."""

    __snapshot__ = (
        "_under_way",
        "_minded",
    )  #: kept by checkpoints

    def __init__(
        self, clock: Clock, fleet: Any, down: SharedLink, up: SharedLink, *, cells: bool
    ) -> None:
        self.clock = clock
        self.presence = fleet.presence
        self.link = fleet.link
        self.cells: Any = fleet.cells if cells else None
        self.shared = (down, up)
        down.done = up.done = self._through
        #: Called with a task when the last byte of its message has passed.
        self.arrived: Callable[[Task], None]
        clock.handlers |= {
            "transfer.flow": self._flow,
            "transfer.suspend": self._suspend,
            "transfer.swing": self._swing,
            "cell.resize": self._resize_or_rest,
        }
        self._under_way: dict[int, Carriage] = {}
        self._minded: set[tuple[int, bool]] = set()  # cells whose next change is awaited

    def begin(
        self, task: Task, *, up: bool, nbytes: float, rate: float, flows_s: float, pauses: bool
    ) -> None:
        """Sends nbytes, the first of them at flows_s; calls `arrived` with the last."""
        goodput = self.link.goodput(task.device)
        sent, cap = nbytes / goodput, rate / goodput
        carriage = Carriage(task, up, cap, sent, sent, pauses)
        self._under_way[task.serial] = carriage
        self._at(carriage, flows_s, "transfer.flow")

    def abandon(self, task: Task) -> float:
        """Takes the message off its link; returns the bytes that had arrived."""
        passed = self.passed_bytes(task)
        self._halt(self._under_way.pop(task.serial))
        return passed

    def passed_bytes(self, task: Task) -> float:
        """What of the message has arrived by now; nothing changes."""
        carriage = self._under_way.get(task.serial)
        if carriage is None:
            return 0.0  # it fails before its first byte
        shared, left_bytes = self.shared[carriage.up], carriage.left_bytes
        if carriage.flowing:
            left_bytes = shared.left_bytes(task)
        return (carriage.nbytes - left_bytes) * float(self.link.goodput(task.device))

    def _flow(self, carriage: Carriage) -> None:
        device, now_s = carriage.task.device, self.clock.now
        if carriage.pauses:
            back_s = self.presence.on_after(device, now_s)
            if back_s > now_s:
                self._at(carriage, back_s, "transfer.flow")
                return
            self._at(carriage, self.presence.off_after(device, now_s), "transfer.suspend")
        cell = -1 if self.cells is None else self.cells.of(device)
        if cell >= 0:
            self._mind(cell, carriage.up)
        carriage.flowing = True
        shared, cap = self.shared[carriage.up], self._cap(carriage)
        shared.start(carriage.task, carriage.left_bytes, cap, cell)

    def _suspend(self, carriage: Carriage) -> None:
        self._halt(carriage)
        if carriage.left_bytes:
            self._flow(carriage)
        else:  # it was through just when the device left
            del self._under_way[carriage.task.serial]
            self.arrived(carriage.task)

    def _halt(self, carriage: Carriage) -> None:
        self._forget_alarms(carriage)
        if carriage.flowing:
            carriage.left_bytes = self.shared[carriage.up].stop(carriage.task)
            carriage.flowing = False

    def _through(self, task: Task) -> None:
        carriage = self._under_way.pop(task.serial)
        self._forget_alarms(carriage)
        self.arrived(task)

    def _forget_alarms(self, carriage: Carriage) -> None:
        for alarm in (carriage.alarm, carriage.swing):
            if alarm is not None:
                alarm.cancel()

    def _at(self, carriage: Carriage, due_s: float, handler: str) -> None:
        serial = carriage.task.serial
        carriage.alarm = self.clock.at(due_s, Kind.TASK, serial, handler, carriage)

    # Rates that move.

    def _cap(self, carriage: Carriage) -> float:
        """The device's own rate now; it will be looked at again when it changes."""
        if not self.link.varying:
            return carriage.cap
        task, now_s = carriage.task, self.clock.now
        factor, until_s = self.link.swing(task.device, now_s, up=carriage.up)
        if until_s < inf:
            carriage.swing = self.clock.at(
                until_s, Kind.TASK, task.serial, "transfer.swing", carriage
            )
        return carriage.cap * float(factor)

    def _swing(self, carriage: Carriage) -> None:
        self.shared[carriage.up].recap(carriage.task, self._cap(carriage))

    def _mind(self, cell: int, up: bool) -> None:
        if (cell, up) not in self._minded and self.cells.varies(cell):
            self._minded.add((cell, up))
            self._resize((cell, up))

    def _resize(self, which: tuple[int, bool]) -> None:
        cell, up = which
        rate, until_s = self.cells.rate(cell, self.clock.now, up=up)
        self.shared[up].resize(cell, rate)
        self.clock.at(until_s, Kind.TASK, cell, "cell.resize", which)

    def _resize_or_rest(self, which: tuple[int, bool]) -> None:
        cell, up = which
        if self.shared[up].is_idle(cell):
            self._minded.discard(which)
        else:
            self._resize(which)
