"""Transfers that share capacity: max-min fair rates, computed anew at every start and end.

A flow is capped by its device's rate; all flows of one direction are capped together by the
server. Shares follow progressive filling (Bertsekas and Gallager, Data Networks, 6.5.2): every
flow's rate rises at the same pace until it meets its own cap or the shared one is used up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from simfl.clock.events import Clock, Kind
from simfl.messages import Task


@dataclass(slots=True, eq=False)
class Flow:
    """One transfer under way. Rates in bytes per second."""

    task: Task
    cap: float
    left_bytes: float
    done: Callable[[Task], None]
    rate: float = 0.0


def max_min(caps: list[float], capacity: float) -> list[float]:
    """Max-min fair rates of flows with their own caps under one shared capacity."""
    rates = [0.0] * len(caps)
    left = capacity
    order = sorted(range(len(caps)), key=caps.__getitem__)
    for waiting, i in zip(range(len(caps), 0, -1), order, strict=True):
        rates[i] = min(caps[i], left / waiting)
        left -= rates[i]
    return rates


@dataclass(slots=True, eq=False)
class SharedLink:
    """The server's side of one direction: every flow of that direction passes through it."""

    clock: Clock
    capacity: float
    flows: dict[int, Flow] = field(default_factory=dict)  # by task serial, in order of start
    _since_s: float = 0.0
    _stale: bool = False
    _round: int = 0

    def start(self, task: Task, nbytes: float, cap: float, done: Callable[[Task], None]) -> None:
        """Begins to carry nbytes; calls done(task) when the last one has passed."""
        self._catch_up()
        self.flows[task.serial] = Flow(task, cap, nbytes, done)
        self._share_soon()

    def stop(self, task: Task) -> float:
        """Takes the flow off the link; returns the bytes that had not passed."""
        self._catch_up()
        flow = self.flows.pop(task.serial)
        self._share_soon()
        return flow.left_bytes

    def _catch_up(self) -> None:
        elapsed = self.clock.now - self._since_s
        if elapsed:
            for flow in self.flows.values():
                flow.left_bytes = max(0.0, flow.left_bytes - flow.rate * elapsed)
            self._since_s = self.clock.now

    def _share_soon(self) -> None:
        """Shares once per instant, however many flows start or end in it."""
        if not self._stale:
            self._stale = True
            self.clock.at(self.clock.now, Kind.SHARE, 0, self._share)

    def _share(self, _: object) -> None:
        self._stale = False
        self._round += 1
        flows = list(self.flows.values())
        for flow, rate in zip(flows, max_min([f.cap for f in flows], self.capacity), strict=True):
            flow.rate = rate
        if flows:
            ends_s = [_ends_s(self.clock.now, flow) for flow in flows]
            first_s = min(ends_s)
            ready = [f for f, end_s in zip(flows, ends_s, strict=True) if end_s <= first_s]
            self.clock.at(first_s, Kind.TASK, flows[0].task.serial, self._end, (self._round, ready))

    def _end(self, what: tuple[int, list[Flow]]) -> None:
        made_in, ready = what
        if made_in != self._round:
            return  # shares have changed since; a later alarm knows better
        for flow in ready:
            if self.flows.get(flow.task.serial) is flow:
                self._finish(flow)

    def _finish(self, flow: Flow) -> None:
        self._catch_up()
        del self.flows[flow.task.serial]
        flow.left_bytes = 0.0
        self._share_soon()
        flow.done(flow.task)


def _ends_s(now_s: float, flow: Flow) -> float:
    if flow.left_bytes <= 0.0:
        return now_s
    return now_s + flow.left_bytes / flow.rate if flow.rate else inf
