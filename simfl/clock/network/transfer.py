"""Messages on shared links: latency first, then a flow among flows, suspended while away.

Latency delays a message's first byte and uses no bandwidth. A device that pauses when it goes
away takes its flow off the link and puts the rest back when it returns. Rates that a trace moves
are looked up when a flow begins and whenever they change, and only while something flows.
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
class Transfer:
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


class Transfers:
    """Carries messages over the server's two shared links, through cells if these are shared."""

    __snapshot__ = ("_minded",)  #: kept by checkpoints

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
        self._minded: set[tuple[int, bool]] = set()  # cells whose next change is awaited

    def begin(
        self, task: Task, *, up: bool, nbytes: float, rate: float, flows_s: float, pauses: bool
    ) -> None:
        """Sends nbytes, the first of them at flows_s; calls `arrived` with the last."""
        goodput = self.link.goodput(task.device)
        sent, cap = nbytes / goodput, rate / goodput
        transfer = task.transfer = Transfer(task, up, cap, sent, sent, pauses)
        self._at(transfer, flows_s, "transfer.flow")

    def abandon(self, task: Task) -> float:
        """Takes the message off its link; returns the bytes that had arrived."""
        passed = self.passed_bytes(task)
        self._halt(task.transfer)
        task.transfer = None
        return passed

    def passed_bytes(self, task: Task) -> float:
        """What of the message has arrived by now; nothing changes."""
        transfer: Transfer | None = task.transfer
        if transfer is None:
            return 0.0  # it fails before its first byte
        shared, left_bytes = self.shared[transfer.up], transfer.left_bytes
        if transfer.flowing:
            left_bytes = shared.left_bytes(task)
        return (transfer.nbytes - left_bytes) * float(self.link.goodput(task.device))

    def recap(self, task: Task) -> None:
        """The device's own rate is another from now on."""
        transfer: Transfer | None = task.transfer
        if transfer is not None and transfer.flowing:
            if transfer.swing is not None:
                transfer.swing.cancel()
            self._swing(transfer)

    def reconsider(self, task: Task, flows_s: float) -> None:
        """The device, which pauses, has come or gone. flows_s: when the latency is over."""
        transfer: Transfer | None = task.transfer
        if transfer is None:
            return  # it fails before its first byte
        if transfer.flowing:
            self._suspend(transfer)
        else:
            self._forget_alarms(transfer)
            self._at(transfer, max(self.clock.now, flows_s), "transfer.flow")

    def rehome(self, task: Task) -> None:
        """The device is behind another cell from now on."""
        transfer: Transfer | None = task.transfer
        if transfer is not None and transfer.flowing:
            self._suspend(transfer)

    def resize(self, cell: int, rate: float, *, up: bool) -> None:
        """A cell carries so many bytes per second from now on."""
        self.shared[up].resize(cell, rate)

    def _flow(self, transfer: Transfer) -> None:
        device, now_s = transfer.task.device, self.clock.now
        if transfer.pauses:
            back_s = self.presence.on_after(device, now_s)
            if back_s > now_s:
                self._at(transfer, back_s, "transfer.flow")
                return
            self._at(transfer, self.presence.off_after(device, now_s), "transfer.suspend")
        cell = -1 if self.cells is None else self.cells.of(device)
        if cell >= 0:
            self._mind(cell, transfer.up)
        transfer.flowing = True
        shared, cap = self.shared[transfer.up], self._cap(transfer)
        shared.start(transfer.task, transfer.left_bytes, cap, cell)

    def _suspend(self, transfer: Transfer) -> None:
        self._halt(transfer)
        if transfer.left_bytes:
            self._flow(transfer)
        else:  # it was through just when the device left
            transfer.task.transfer = None
            self.arrived(transfer.task)

    def _halt(self, transfer: Transfer) -> None:
        self._forget_alarms(transfer)
        if transfer.flowing:
            transfer.left_bytes = self.shared[transfer.up].stop(transfer.task)
            transfer.flowing = False

    def _through(self, task: Task) -> None:
        self._forget_alarms(task.transfer)
        task.transfer = None
        self.arrived(task)

    def _forget_alarms(self, transfer: Transfer) -> None:
        for alarm in (transfer.alarm, transfer.swing):
            if alarm is not None:
                alarm.cancel()

    def _at(self, transfer: Transfer, due_s: float, handler: str) -> None:
        serial = transfer.task.serial
        transfer.alarm = self.clock.at(due_s, Kind.TASK, serial, handler, transfer)

    # Rates that move.

    def _cap(self, transfer: Transfer) -> float:
        """The device's own rate now; it will be looked at again when it changes."""
        if not self.link.varying:
            return transfer.cap
        task, now_s = transfer.task, self.clock.now
        factor, until_s = self.link.swing(task.device, now_s, up=transfer.up)
        if until_s < inf:
            transfer.swing = self.clock.at(
                until_s, Kind.TASK, task.serial, "transfer.swing", transfer
            )
        return transfer.cap * float(factor)

    def _swing(self, transfer: Transfer) -> None:
        self.shared[transfer.up].recap(transfer.task, self._cap(transfer))

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
