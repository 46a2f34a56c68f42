"""Messages on shared links: latency first, then a flow among flows, suspended while away.

Latency delays a message's first byte and uses no bandwidth. A device that pauses when it goes
away takes its flow off the link and puts the rest back when it returns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simfl.clock.events import Alarm, Clock, Kind
from simfl.clock.transfers import SharedLink
from simfl.messages import Task

Arrived = Callable[[Task], None]


@dataclass(slots=True, eq=False)
class Carriage:
    """One message on its way. left_bytes is right only while the flow is off the link."""

    task: Task
    link: SharedLink
    cap: float
    nbytes: float
    left_bytes: float
    arrived: Arrived
    pauses: bool
    flowing: bool = False
    alarm: Alarm | None = None  #: the end of the latency, or the next departure or return


class Carrier:
    """Carries messages over the server's two shared links."""

    def __init__(self, clock: Clock, presence: Any, down: SharedLink, up: SharedLink) -> None:
        self.clock = clock
        self.presence = presence
        self.links = (down, up)
        self._under_way: dict[int, Carriage] = {}

    def begin(
        self, task: Task, *, up: bool, nbytes: float, rate: float, flows_s: float, pauses: bool,
        arrived: Arrived,
    ) -> None:  # fmt: skip
        """Sends nbytes, the first of them at flows_s; calls arrived(task) with the last."""
        carriage = Carriage(task, self.links[up], rate, nbytes, nbytes, arrived, pauses)
        self._under_way[task.serial] = carriage
        self._at(carriage, flows_s, self._flow)

    def abandon(self, task: Task) -> float:
        """Takes the message off its link; returns the bytes that had passed."""
        carriage = self._under_way.pop(task.serial)
        self._halt(carriage)
        return carriage.nbytes - carriage.left_bytes

    def _flow(self, carriage: Carriage) -> None:
        device, now_s = carriage.task.device, self.clock.now
        if carriage.pauses:
            back_s = self.presence.on_after(device, now_s)
            if back_s > now_s:
                self._at(carriage, back_s, self._flow)
                return
            self._at(carriage, self.presence.off_after(device, now_s), self._suspend)
        carriage.flowing = True
        carriage.link.start(carriage.task, carriage.left_bytes, carriage.cap, self._through)

    def _suspend(self, carriage: Carriage) -> None:
        self._halt(carriage)
        self._flow(carriage)

    def _halt(self, carriage: Carriage) -> None:
        if carriage.alarm is not None:
            carriage.alarm.cancel()
        if carriage.flowing:
            carriage.left_bytes = carriage.link.stop(carriage.task)
            carriage.flowing = False

    def _through(self, task: Task) -> None:
        carriage = self._under_way.pop(task.serial)
        if carriage.alarm is not None:
            carriage.alarm.cancel()
        carriage.arrived(task)

    def _at(self, carriage: Carriage, due_s: float, call: Callable[[Carriage], None]) -> None:
        serial = carriage.task.serial
        carriage.alarm = self.clock.at(due_s, Kind.TASK, serial, call, carriage)
