"""Transfers of one direction that share capacity: max-min fair at every moment.

Every flow passes its device's own cap, its cell and the server. Rates are shared anew once in an
instant in which a flow starts or ends or a capacity changes, and only where that can be felt: a
cell that the server does not slow down concerns no other, and a pipe with room to spare
is not shared at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heappop, heappush
from math import inf

from simfl.clock.events import Alarm, Clock, Kind
from simfl.clock.network.maxmin import Flow, Pipe
from simfl.messages import Task

# Relative: rates this close to a capacity count as equal, lest rounding moves cells to and fro.
_SLACK = 1e-12


class SharedLink:
    """The server's side of one direction, and its cells. Capacities in bytes per second."""

    __snapshot__ = (
        "flows",
        "capacity",
        "_root",
        "_cells",
        "_finite",
        "_asked",
        "_dirty",
        "_fresh",
        "_started",
        "_stale",
        "_due",
        "_turn",
        "_moved",
        "_next",
        "_next_s",
    )  #: kept by checkpoints

    def __init__(
        self, clock: Clock, name: str, capacity: float, cells: Sequence[float] = ()
    ) -> None:
        self.clock = clock
        self.capacity = capacity
        #: Called with a task when the last byte of its flow has passed.
        self.done: Callable[[Task], None]
        self._handlers = (f"{name}.through", f"{name}.share", f"{name}.held")
        calls = (self._through, self._share, self._held_through)
        clock.handlers |= zip(self._handlers, calls, strict=True)
        self.flows: dict[int, Flow] = {}  #: by task serial
        self._root = Pipe(capacity)
        self._cells = [Pipe(each, n, own=each < inf) for n, each in enumerate(cells, 1)]
        self._finite = [cell for cell in self._cells if cell.own]
        self._asked = 0.0  # what all flows could take; up to the capacity, the server slows no flow
        self._dirty: list[Pipe] = []
        self._fresh: list[Flow] = []  # entered a pipe since it was filled
        self._started = 0
        self._stale = False
        self._due: list[tuple[float, int, Pipe]] = []  # heap; void where the pipe has another due_s
        self._turn = 0  # of the last entry
        self._moved = 0  # finite cells whose flows are in the server's pipe
        self._next: Alarm | None = None
        self._next_s = inf

    def start(self, task: Task, nbytes: float, cap: float, cell: int = -1) -> None:
        """Begins to carry nbytes; calls `done` when the last one has passed.

        cap: the device's own rate.
        cell: -1 is none.
        """
        pipe = self._cells[cell] if cell >= 0 else self._root
        self._started += 1
        flow = self.flows[task.serial] = Flow(self._started, task, cap, nbytes, pipe)
        if cap == self.capacity == pipe.capacity == inf:
            self._ring(flow, self.clock.now)
        else:
            self._enter(flow)

    def stop(self, task: Task) -> float:
        """Takes the flow off the link; returns the bytes that had not passed."""
        flow = self.flows.pop(task.serial)
        self._leave(flow)
        if flow.alarm is not None:
            flow.alarm.cancel()
        return flow.left_bytes

    def left_bytes(self, task: Task) -> float:
        """What of the flow has not passed by now; nothing changes."""
        flow = self.flows[task.serial]
        if flow.pipe is None:  # it takes no time, and is not through yet
            return flow.left_bytes
        return flow.pipe.left_bytes(flow, self.clock.now)

    def recap(self, task: Task, cap: float) -> None:
        """The device's own rate is another from now on."""
        flow = self.flows[task.serial]
        if flow.pipe is not None:  # else it takes no time anyway
            self._leave(flow)
            flow.cap = cap
            if flow.left_bytes:
                self._enter(flow)
            else:
                self._ring(flow, self.clock.now)

    def resize(self, cell: int, capacity: float) -> None:
        """A cell has another, finite capacity from now on."""
        pipe = self._cells[cell]
        pipe.capacity = capacity
        if pipe not in self._finite:
            self._finite.append(pipe)
            self._moved += not pipe.own
            if self.capacity == inf:  # else its flows move when they are shared anew
                self._move(pipe, self.clock.now)
        self._touch(pipe)
        self._share_soon()

    def widen(self, capacity: float) -> None:
        """The server has another, finite capacity from now on."""
        self.capacity = capacity
        self._asked = 0.0
        for flow in self.flows.values():
            if flow.pipe is not None:
                self._ask(flow.cap)
        self._share_soon()

    def is_idle(self, cell: int) -> bool:
        """True if nothing flows through the cell."""
        return not self._cells[cell].members

    def rates(self) -> dict[int, float]:
        """Bytes per second of every flow, by task serial."""
        return {
            serial: flow.cap if flow.free or flow.pipe is None else flow.pipe.level
            for serial, flow in self.flows.items()
        }

    # Flows come and go.

    def _enter(self, flow: Flow) -> None:
        pipe = flow.cell if flow.cell.own else self._root
        flow.cell.members[flow.task.serial] = flow
        pipe.add(flow, self.clock.now)
        self._ask(flow.cap)
        if self._felt(pipe) or _overflows(flow.cell):
            self._share_soon()
            self._fresh.append(flow)
        else:
            self._ring(flow, self.clock.now + _takes_s(flow))

    def _leave(self, flow: Flow) -> None:
        if flow.pipe is None:
            return  # it takes no time
        self._felt(flow.pipe)
        flow.pipe.remove(flow, self.clock.now)
        self._forget(flow)

    def _forget(self, flow: Flow) -> None:
        del flow.cell.members[flow.task.serial]
        self._ask(-flow.cap)

    def _ask(self, cap: float) -> None:
        if self.capacity < inf:
            most = 2.0 * self.capacity  # one that is too fast is enough
            self._asked += max(-most, min(most, cap))

    def _felt(self, pipe: Pipe) -> bool:
        """Sees to new shares if a flow more or less in this pipe can be felt by another."""
        full = pipe.held > 0 or pipe.used > pipe.capacity
        if full:
            self._touch(pipe)
        if full or self._root.held or self._asked > self.capacity:
            self._share_soon()
            return True
        return False

    def _touch(self, pipe: Pipe) -> None:
        if not pipe.dirty:
            pipe.dirty = True
            self._dirty.append(pipe)

    def _ring(self, flow: Flow, due_s: float) -> None:
        flow.alarm = self.clock.at(due_s, Kind.TASK, flow.task.serial, self._handlers[0], flow)

    def _through(self, flow: Flow) -> None:
        """The flow has passed."""
        flow.alarm = None
        del self.flows[flow.task.serial]
        self._leave(flow)
        self.done(flow.task)

    # Shares.

    def _share_soon(self) -> None:
        if not self._stale:
            self._stale = True
            self.clock.at(self.clock.now, Kind.SHARE, 0, self._handlers[1])

    def _share(self, _: object) -> None:
        self._stale = False
        now_s = self.clock.now
        dirty, self._dirty = self._dirty, []
        for pipe in dirty:
            pipe.dirty = False
            if pipe.own and pipe is not self._root:
                self._fill(pipe, now_s)
        if self._slows_some():
            self._balance(now_s)
        else:
            self._root.due_s = inf
        fresh, self._fresh = self._fresh, []
        for flow in fresh:
            if flow.free and flow.pipe is not None and flow.alarm is None:
                self._ring(flow, now_s + _takes_s(flow))
        self._look_out()

    def _balance(self, now_s: float) -> None:
        """Puts each cell's flows where they are slowed down: in its own pipe or the server's.

        The server's level rises from turn to turn, so a cell is moved twice at most.
        """
        while True:
            own = sum(cell.rate() for cell in self._finite if cell.own)
            self._root.capacity = self.capacity - own
            self._fill(self._root, now_s)
            misplaced = [cell for cell in self._finite if self._is_misplaced(cell)]
            if not misplaced:
                return
            for cell in misplaced:
                self._move(cell, now_s)

    def _is_misplaced(self, cell: Pipe) -> bool:
        level = self._root.level
        if cell.own:
            return cell.peak() > level * (1.0 + _SLACK)
        return cell.demand(level) > cell.capacity * (1.0 + _SLACK)

    def _move(self, cell: Pipe, now_s: float) -> None:
        here, there = (cell, self._root) if cell.own else (self._root, cell)
        if not cell.own:
            cell.reopen(now_s)
        for flow in cell.members.values():
            here.remove(flow, now_s)
            there.add(flow, now_s)
        cell.own = not cell.own
        self._moved += -1 if cell.own else 1
        cell.due_s = inf
        self._fresh += cell.members.values()
        if cell.own:
            self._fill(cell, now_s)

    def _fill(self, pipe: Pipe, now_s: float) -> None:
        self._fresh += pipe.fill(now_s)
        if pipe.due_s < inf:
            self._turn += 1
            heappush(self._due, (pipe.due_s, self._turn, pipe))

    def _slows_some(self) -> bool:
        """Whether the server may slow a flow down, or has done so: its pipe is not just open."""
        return self.capacity < inf and (
            self._asked > self.capacity or self._root.held > 0 or self._moved > 0
        )

    def _look_out(self) -> None:
        """Waits for the first of the held flows."""
        due = self._due
        if len(due) > 2 * len(self._finite) + 64:  # mostly void
            due[:] = sorted(entry for entry in due if entry[0] == entry[2].due_s)
        while due and due[0][0] != due[0][2].due_s:
            heappop(due)
        first_s = due[0][0] if due else inf
        if self._next is not None:
            if first_s == self._next_s:
                return
            self._next.cancel()
        self._next = None
        if first_s < inf:
            self._next_s = first_s
            self._next = self.clock.at(first_s, Kind.TASK, 0, self._handlers[2])

    def _held_through(self, _: object) -> None:
        now_s, due, pipes = self.clock.now, self._due, list[Pipe]()
        self._next = None
        while due and due[0][0] <= now_s:
            due_s, _, pipe = heappop(due)
            if due_s == pipe.due_s:
                pipe.due_s = inf  # until it is filled anew, at this instant
                pipes.append(pipe)
        pipes.sort(key=_number)
        flows = [flow for pipe in pipes for flow in pipe.through(now_s)]
        for pipe in pipes:
            self._touch(pipe)
        self._share_soon()
        for flow in flows:
            self._forget(flow)
        if len(flows) == 1 and self.clock.due(Kind.TASK, flows[0].task.serial):
            self._through(flows[0])
            return
        for flow in flows:  # each in its turn among what happens at this instant
            self._ring(flow, now_s)


def _overflows(cell: Pipe) -> bool:
    """True of a cell whose flows are in the server's pipe, which may be full no longer."""
    return not cell.own and (cell.held > 0 or cell.used > cell.capacity)


def _takes_s(flow: Flow) -> float:
    if not flow.left_bytes:
        return 0.0
    return flow.left_bytes / flow.cap if flow.cap else inf


def _number(pipe: Pipe) -> int:
    return pipe.number
