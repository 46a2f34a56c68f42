"""One shared capacity and the flows in it, filled to one level.

Max-min fairness over capacities that lie within each other (a device's own, its cell's, the
server's) gives every flow the least of its own cap and of its pipes' levels; see progressive
filling in Bertsekas and Gallager, Data Networks, 6.5.2. A flow is *free* while its cap is below
the level and *held* to the level otherwise. Held flows of a pipe all move at one pace, so the
pipe counts the bytes of one of them, its volume, and knows that a flow is through when the volume
meets its mark: a change of the level costs nothing for the flows that stay held, and a change
anywhere costs only the flows that it frees or holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import inf

from simfl.clock.events import Alarm
from simfl.messages import Task

#: Bytes that rounding leaves; a flow that is through must not wait for capacity to come back.
_NOTHING = 1e-6

Heap = list[tuple[float, int, int, "Flow"]]


@dataclass(slots=True, eq=False)
class Flow:
    """One transfer under way. Rates in bytes per second."""

    number: int  #: of its start; breaks ties
    task: Task
    cap: float
    left_bytes: float  #: right at `mark` while free; not kept while held
    cell: Pipe
    pipe: Pipe | None = None  #: the one whose level it may be held to
    free: bool = True
    mark: float = 0.0  #: free: when left_bytes was right; held: the volume at which it is through
    turn: int = 0  #: of its last move; older entries in heaps are void
    alarm: Alarm | None = None  #: its end, while it is free


@dataclass(slots=True, eq=False)
class Pipe:
    """Flows under one capacity in bytes per second.

    used, held: the free flows' caps added up, and the number of held ones. A cell whose flows are
        in the server's pipe keeps count of its own all the same.
    """

    capacity: float
    number: int = 0  #: of the cell, from 1 on; 0 is the server
    level: float = inf
    used: float = 0.0
    held: int = 0
    own: bool = True  #: False for a cell whose flows are in the server's pipe
    due_s: float = inf  #: when the first held flow is through, if nothing changes
    dirty: bool = False
    members: dict[int, Flow] = field(default_factory=dict)  #: of a cell, by task serial
    _inside: int = 0
    _volume: float = 0.0
    _since_s: float = 0.0
    _fast: Heap = field(default_factory=list)  # free flows, the highest cap first
    _slow: Heap = field(default_factory=list)  # held flows, the lowest cap first
    _ends: Heap = field(default_factory=list)  # held flows, the first to be through first

    def add(self, flow: Flow, now_s: float) -> None:
        """The flow enters, free until the pipe is filled (held, if it has no cap of its own)."""
        flow.pipe = self
        if flow.cap < inf:
            self._set_free(flow, now_s)
        else:
            self._advance(now_s)
            self._set_held(flow)

    def reopen(self, now_s: float) -> None:
        """The flows of a cell, which were in the server's pipe, are about to enter."""
        self._volume, self._since_s = 0.0, now_s

    def remove(self, flow: Flow, now_s: float) -> None:
        """The flow leaves; its left_bytes are right."""
        self._settle(flow, now_s)
        flow.pipe = None
        if not self.held:
            self._volume = 0.0

    def left_bytes(self, flow: Flow, now_s: float) -> float:
        """What of the flow has not passed by now; nothing changes."""
        if flow.free:
            left_bytes = flow.left_bytes - flow.cap * (now_s - flow.mark)
        else:
            left_bytes = flow.mark - self._volume_at(now_s)
        return left_bytes if left_bytes > _NOTHING else 0.0

    def fill(self, now_s: float) -> list[Flow]:
        """The level is right for these flows; returns those that were set free on the way.

        First flows above the level are held to it, which raises it; then those below
        is set free, which raises it further: neither can undo the other.
        """
        self._advance(now_s)
        freed = []
        level = self._fair()
        while (flow := _top(self._fast)) and flow.cap > level:
            self._settle(flow, now_s)
            self._set_held(flow)
            level = self._fair()
        while (flow := _top(self._slow)) and flow.cap <= level:
            self._settle(flow, now_s)
            self._set_free(flow, now_s)
            freed.append(flow)
            level = self._fair()
        self.level = level
        first = self.first()
        self.due_s = self._due_s(first.mark) if first else inf
        return freed

    def first(self) -> Flow | None:
        """The held flow that will be through before the others."""
        return _top(self._ends)

    def through(self, now_s: float) -> list[Flow]:
        """Takes out the held flows that are through by now."""
        found = []
        while (flow := self.first()) and self._due_s(flow.mark) <= now_s:
            flow.turn += 1
            self._count(flow, -1)
            flow.pipe, flow.left_bytes = None, 0.0
            found.append(flow)
        return found

    def peak(self) -> float:
        """The highest rate inside."""
        if self.held:
            return self.level
        fastest = _top(self._fast)
        return fastest.cap if fastest else 0.0

    def rate(self) -> float:
        """All rates inside together."""
        return self.capacity if self.held else self.used

    def demand(self, level: float) -> float:
        """All rates together at this level, for a cell whose flows are in the server's pipe."""
        return self.used + (self.held * level if self.held else 0.0)

    def _fair(self) -> float:
        if self.held:
            return max(0.0, self.capacity - self.used) / self.held
        return inf if self.used <= self.capacity else -1.0

    def _volume_at(self, now_s: float) -> float:
        if self.held and now_s > self._since_s:
            return self._volume + self.level * (now_s - self._since_s)
        return self._volume

    def _advance(self, now_s: float) -> None:
        self._volume = self._volume_at(now_s)
        self._since_s = now_s

    def _due_s(self, mark: float) -> float:
        left = mark - self._volume
        if left <= 0.0:
            return self._since_s
        return self._since_s + left / self.level if self.level else inf

    def _settle(self, flow: Flow, now_s: float) -> None:
        """Ends the flow's stay as free or held: its bytes are booked, its entries void."""
        flow.left_bytes = self.left_bytes(flow, now_s)
        if not flow.free:
            self._advance(now_s)
        elif flow.alarm is not None:
            flow.alarm.cancel()
            flow.alarm = None
        flow.turn += 1
        self._count(flow, -1)

    def _set_free(self, flow: Flow, now_s: float) -> None:
        flow.free, flow.mark = True, now_s
        self._count(flow, 1)
        self._push(self._fast, -flow.cap, flow)

    def _set_held(self, flow: Flow) -> None:
        flow.free, flow.mark = False, self._volume + flow.left_bytes
        self._count(flow, 1)
        self._push(self._slow, flow.cap, flow)
        self._push(self._ends, flow.mark, flow)

    def _push(self, heap: Heap, key: float, flow: Flow) -> None:
        heappush(heap, (key, flow.number, flow.turn, flow))
        if len(heap) > 2 * self._inside + 64:  # mostly void entries, which hold on to tasks
            heap[:] = [entry for entry in heap if entry[2] == entry[3].turn]
            heapify(heap)

    def _count(self, flow: Flow, sign: int) -> None:
        self._inside += sign
        for pipe in (self,) if flow.cell is self else (self, flow.cell):
            if not flow.free:
                pipe.held += sign
            else:
                pipe.used += sign * flow.cap


def _top(heap: Heap) -> Flow | None:
    """The first flow whose entry is not void."""
    while heap:
        *_, turn, flow = heap[0]
        if turn == flow.turn:
            return flow
        heappop(heap)
    return None
