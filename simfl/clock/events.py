"""The virtual clock: SimPy's environment with an order at each instant.

At one instant things happen by kind (see `Kind`) and, within a kind, by serial number: first
deliveries and losses, then the strategy's step, then what it started. Due times are absolute,
so that a restored run meets the very same floats.
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
    STEP = 1  #: the strategy decides
    DISPATCH = 2  #: tasks leave that waited for the server's work
    SHARE = 3  #: link shares are computed anew
    EVALUATE = 4
    STOP = 5


class Alarm(simpy.Event):
    """An event that is due at a given time and calls one function with its `value`."""

    def __init__(self, env: Clock, call: Callable[[Any], None], value: Any) -> None:
        self.env = env
        self.callbacks = [self._ring]
        self._ok = True
        self._value = value
        self.call = call

    def _ring(self, _: simpy.Event) -> None:
        self.call(self._value)

    def cancel(self) -> None:
        """Nothing happens when its time comes."""
        self.call = _nothing


def _nothing(_: Any) -> None:
    pass


class Clock(simpy.Environment):
    """Virtual seconds. `at` is `Environment.schedule` with an absolute due time."""

    def at(
        self, due_s: float, kind: int, serial: int, call: Callable[[Any], None], value: Any = None
    ) -> Alarm:
        """Calls `call(value)` at `due_s`, ordered there by (kind, serial); never, if that is inf."""
        alarm = Alarm(self, call, value)
        if due_s < inf:
            heappush(self._queue, (due_s, kind << 48 | serial, next(self._eid), alarm))
        return alarm
