"""The server as a place: updates are taken in, and versions made, by so many processors.

A queue in order of arrival. An update takes a fixed time and one for each byte of it, a version a
fixed time. These are known on arrival, so each processor is known by the moment at which it will be
free, and an update costs one event.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from heapq import heapreplace
from typing import Any

from simfl.clock.events import Clock, Kind
from simfl.messages import Task


@dataclass(frozen=True)
class Service:
    """What the server spends on an update.

    per_byte_s: of what has moved up.
    """

    processors: int = 1
    update_s: float = 0.0
    per_byte_s: float = 0.0

    def __bool__(self) -> bool:
        return self.update_s > 0.0 or self.per_byte_s > 0.0

    def seconds(self, task: Task) -> float:
        """Of one processor."""
        return self.update_s + self.per_byte_s * task.moved_bytes[1]


class Ingest:
    """Hands tasks that have ended on to the kernel, delivered ones when they have been taken in.

    A device is busy until then: it waits for the server's answer.
    """

    __snapshot__ = ("free_s", "busy_s")  #: kept by checkpoints

    def __init__(
        self,
        clock: Clock,
        service: Service,
        done: Callable[[Task], None],
        waits: Callable[[Task], bool],
    ) -> None:
        self.free_s = [0.0] * service.processors  #: when each processor is free, a heap
        self.busy_s = 0.0  #: of all processors, up to the end of what is queued
        self._clock, self._service, self._done, self._waits = clock, service, done, waits
        clock.handlers["server.ingested"] = self._ingested

    def enter(self, task: Task) -> None:
        """The task has ended; a delivered one waits for a processor."""
        if task.outcome != "delivered":
            self._done(task)
            return
        now_s, service_s = self._clock.now, self._service.seconds(task)
        through_s = max(now_s, self.free_s[0]) + service_s
        heapreplace(self.free_s, through_s)
        self.busy_s += service_s
        self._clock.at(through_s, Kind.TASK, task.serial, "server.ingested", task)

    def occupy(self, now_s: float, charged_s: float, work_s: float) -> float:
        """Work enters the queue when what is charged now is done; what is charged with it.

        work_s: of one processor.
        """
        wait_s = max(0.0, self.free_s[0] - (now_s + charged_s))
        charged_s += wait_s + work_s
        heapreplace(self.free_s, now_s + charged_s)
        self.busy_s += work_s
        return charged_s

    def utilisation(self, now_s: float) -> float:
        """Share of the processors' time so far in which they were busy."""
        ahead_s = sum(max(0.0, free_s - now_s) for free_s in self.free_s)
        whole_s = now_s * len(self.free_s)
        return (self.busy_s - ahead_s) / whole_s if whole_s else 0.0

    def _ingested(self, task: Any) -> None:
        if self._waits(task):  # it may have been cancelled meanwhile
            self._done(task)
