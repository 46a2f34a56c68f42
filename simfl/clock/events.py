"""The virtual clock: SimPy's environment with an order at each instant, and events that are data.

At one instant things happen by kind (see `Kind`) and, within a kind, by serial number: first
deliveries and losses, then what processes change, then the strategy's step, then what it started.
Due times are absolute, so that a restored run meets the very same floats. An event holds the name
of its handler and a value, so what is to come can be printed, compared and saved.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from heapq import heappush
from math import inf
from typing import Any

import simpy


class Kind(IntEnum):
    """What happens first among things due at one instant."""

    TASK = 0  #: a task's wait is over: delivery, loss, or the next phase
    DEADLINE = 1  #: a `Wait(within=...)` is over
    WORLD = 2  #: processes act: first those of SimPy, then state machines as they are listed
    STEP = 3  #: the strategy decides: not an event, but asked for when all before it is done
    DISPATCH = 4  #: tasks leave that waited for the server's work
    SHARE = 5  #: link shares are computed anew
    EVALUATE = 6
    SAVE = 7  #: a checkpoint is due
    STOP = 8


#: Kinds as the upper bits of an event's order; shifting an enum takes three times as long.
_RANK = tuple(kind << 48 for kind in Kind)


class Alarm(simpy.Event):
    """An event: when it is due, the name of its handler, and the value that the handler gets."""

    _ok = True
    __snapshot__ = ("env", "handler", "_value")

    def __init__(self, env: Clock, handler: str, value: Any) -> None:
        self.env = env
        self._value = value
        self.handler = handler

    def cancel(self) -> None:
        """Nothing happens when its time comes."""
        self.callbacks = []


def _ring(alarm: Any) -> None:
    alarm.env.handlers[alarm.handler](alarm._value)


Alarm.callbacks = [_ring]  # one list for all: SimPy reads it, and clears it on the event alone


class Clock(simpy.Environment):
    """Virtual seconds. `at` is `Environment.schedule` with an absolute due time."""

    now = 0.0  #: as SimPy's, but a plain attribute: it is read a dozen times per task

    def __init__(self) -> None:
        super().__init__()
        #: What an event calls, by name: `part.what`. Each part of a run enters its own.
        self.handlers: dict[str, Callable[[Any], None]] = {}

    @property
    def ahead(self) -> list[Any]:
        """SimPy's heap, for a loop that does what `advance` does: (due time, order, ..., alarm)."""
        return self._queue

    def advance(self) -> bool:
        """Plays the next event; False if there is none."""
        if not self._queue:
            return False
        self.now = self._queue[0][0]
        self.step()
        return True

    def pending(self) -> list[tuple[float, int, Alarm]]:
        """(due time, order, alarm) of everything to come, in the order in which it will come."""
        ahead: list[Any] = sorted(self._queue)
        return [(due_s, order, alarm) for due_s, order, _, alarm in ahead if alarm.callbacks]

    def restore(self, now_s: float, pending: list[tuple[float, int, Alarm]]) -> None:
        """The clock stands at now_s, with these alarms to come and no others."""
        self.now = self._now = now_s
        self._queue.clear()
        for due_s, order, alarm in pending:
            entry: Any = (due_s, order, next(self._eid), alarm)
            heappush(self._queue, entry)

    def due(self, kind: int, serial: int = 0) -> bool:
        """True if everything that comes before this kind and serial now has been played."""
        queue = self._queue
        if not queue:
            return True
        first = queue[0]
        return first[0] > self.now or first[1] >= _RANK[kind] | serial

    def at(self, due_s: float, kind: int, serial: int, handler: str, value: Any = None) -> Alarm:
        """Calls the handler with a value at `due_s` (never, if inf), ordered by (kind, serial)."""
        alarm = Alarm(self, handler, value)
        if due_s < inf:
            entry = (due_s, _RANK[kind] | serial, next(self._eid), alarm)
            heappush(self._queue, entry)  # type: ignore[misc]
        return alarm
