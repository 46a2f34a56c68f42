"""The threads of an app: one of them runs at a time, and time passes when all of them wait.

Threads that the app's code or Flower's starts are its own. Each holds the turn until it waits: for
the grid, for `time.sleep`, for a lock, a condition (so for an event, a queue, a future) or another
thread. The turn goes to the first thread, in the order in which they were started, that can go on;
if there is none, the clock is played until there is. So the order of events, and the digest, do
not depend on this machine. Threads that libraries start are as they are.
"""

from __future__ import annotations

import _thread
import concurrent.futures.thread as executors
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from math import inf
from types import FrameType, ModuleType
from typing import Any

from simfl.interop.flower.virtual_time.callers import OURS, Code
from simfl.interop.flower.virtual_time.clock import VirtualTime, replaced
from simfl.interop.flower.virtual_time.locks import Lock

Met = Callable[[], bool]

#: Between two looks of this machine at what no virtual time will bring about.
_LOOK_S = 0.001


class RunOver(BaseException):
    """Unwinds an app whose run has met a limit, or failed. Not an Exception: no app catches it."""


def _taken() -> Any:
    lock = _thread.allocate_lock()
    lock.acquire()
    return lock


@dataclass(eq=False)
class AppThread:
    """A thread of the app.

    met: what it waits for; None while it has the turn.
    """

    met: Met | None = None
    until_s: float = inf
    outside: bool = False  #: something else than the clock ends the wait
    ended: bool = False
    daemon: bool = False
    turn: Any = field(default_factory=_taken)  #: a lock that is free when it is this one's turn

    @property
    def stuck(self) -> bool:
        """Only another thread could let it go on, or the app does not wait for it."""
        if self.daemon or self.met is None:
            return self.daemon
        return self.outside and self.until_s == inf and not self.met()


class Threads:
    """Who of an app's threads runs.

    play(met, until_s): lets virtual time pass until `met()` or `until_s`, or the run's end.
    ended: whether the run has ended.
    """

    def __init__(
        self, times: VirtualTime, code: Code, play: Callable[[Met, float], None], ended: Met
    ) -> None:
        self._times, self._code, self._play, self._ended = times, code, play, ended
        self._free = False  # the app has ended: no thread takes turns any more
        self._all: dict[threading.Thread, AppThread] = {threading.current_thread(): AppThread()}

    @property
    def alone(self) -> bool:
        """The app has no other thread."""
        return len(self._all) == 1 or sum(not one.ended for one in self._all.values()) == 1

    def now(self) -> float:
        """Virtual seconds since the run began."""
        return self._times.now()

    def own(self) -> bool:
        """True on a thread of the app, for what its code asks of Python's standard library."""
        if self._free or not self._times.playing or threading.current_thread() not in self._all:
            return False
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and _is_pythons(frame):
            frame = frame.f_back
        return frame is None or self._code.runs_on_the_clock(frame.f_globals)

    def wait(self, met: Met, until_s: float = inf, outside: bool = False) -> bool:
        """The calling thread waits until `met()`, which is returned, or `until_s`.

        outside: what it waits for is done by another thread. Raises RunOver at the run's end.
        """
        me = self._all[threading.current_thread()]
        if not self._ready(met, until_s):
            me.met, me.until_s, me.outside = met, until_s, outside
            try:
                following = self._next()
                if following is not me:
                    following.turn.release()
                    me.turn.acquire()
            finally:
                me.met = None
        found = met()
        if not found and (self._free or self._ended()):
            raise RunOver
        return found

    def finish(self) -> None:
        """The main thread has ended: the others go on for as long as the clock serves them."""
        me = self._all[threading.current_thread()]
        others = [one for one in self._all.values() if one is not me]
        self.wait(lambda: all(one.ended or one.stuck for one in others), outside=True)

    @contextmanager
    def scheduled(self) -> Iterator[None]:
        """Threads of the app take turns meanwhile; whatever waits at the end is let go."""
        patches = [
            (threading.Thread, "start", self._starting(threading.Thread.start)),
            (threading.Thread, "join", self._joining(threading.Thread.join)),
            (threading.Condition, "wait", self._noticing(threading.Condition.wait)),
            (executors, "queue", _Queues(self)),
            (Lock, "threads", self),
        ]
        try:
            with replaced(patches):
                yield
        finally:
            self._free = True
            for one in self._all.values():
                if one.turn.locked():
                    one.turn.release()

    # Turns.

    def _next(self) -> AppThread:
        """The first thread that can go on; plays the clock, or waits really, until there is one."""
        waiting = [one for one in self._all.values() if one.met is not None]
        while True:
            for one in waiting:
                if one.met is not None and self._ready(one.met, one.until_s):
                    return one
            end_s = min(one.until_s for one in waiting)
            if end_s == inf and all(one.outside for one in waiting):
                time.sleep(_LOOK_S)
            else:
                with suppress(RunOver):  # then all are ready, to hear it
                    self._play(lambda: any(one.met() for one in waiting if one.met), end_s)

    def _ready(self, met: Met, until_s: float) -> bool:
        return self._free or self._ended() or met() or self.now() >= until_s

    def _adopt(self, thread: threading.Thread) -> None:
        """The thread is the app's: it begins when it gets the turn."""
        mine, run = AppThread(met=lambda: True, daemon=thread.daemon), thread.run
        self._all = {known: one for known, one in self._all.items() if not one.ended}
        self._all[thread] = mine

        def running() -> None:
            mine.turn.acquire()
            mine.met = None
            self._times.threads.add(threading.get_ident())
            try:
                if not self._free:
                    with suppress(RunOver):
                        run()
            finally:
                self._times.threads.discard(threading.get_ident())
                mine.ended = True
                if not self._free:
                    self._next().turn.release()

        thread.run = running  # type: ignore[method-assign]

    # What takes the places of methods of Python's.

    def _starting(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def start(thread: threading.Thread) -> None:
            if self.own() and not _of_a_library(thread):
                self._adopt(thread)
                with self._times.away():  # it waits, really, for the system to start the thread
                    original(thread)
            else:
                original(thread)

        return start

    def _joining(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def join(thread: threading.Thread, timeout: float | None = None) -> None:
            one = self._all.get(thread)
            if one is None or not self.own():
                original(thread, timeout)
            elif self.wait(lambda: one.ended, self._end_s(timeout), outside=True):
                with self._times.away():
                    original(thread)

        return join

    def _noticing(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def wait(condition: Any, timeout: float | None = None) -> bool:
            if not self.own() or not condition._is_owned():
                return bool(original(condition, timeout))
            if self.alone:
                return self._wait_for_libraries(original, condition, timeout)
            return self._notice(condition, timeout) or bool(
                self._free and original(condition, timeout)
            )

        return wait

    def _wait_for_libraries(
        self, original: Callable[..., Any], condition: Any, timeout: float | None
    ) -> bool:
        """The app has one thread: it waits for those of libraries, or to let time pass."""
        if timeout is None:
            return bool(original(condition))
        found = threading.active_count() > 1 and original(condition, timeout)
        return bool(found) or self._notice(condition, timeout)

    def _notice(self, condition: Any, timeout: float | None) -> bool:
        """`Condition.wait`, in virtual time."""
        waiter = _taken()
        condition._waiters.append(waiter)
        saved = condition._release_save()
        try:
            found = self.wait(lambda: not waiter.locked(), self._end_s(timeout), outside=True)
        except RunOver:
            if self._free:  # a thread of a pool stays, as it does outside of simfl
                found = False
            else:
                raise
        finally:
            self._take_back(condition, saved)
            if waiter.locked():
                condition._waiters.remove(waiter)
        return found

    def _take_back(self, condition: Any, saved: Any) -> None:
        """The condition's lock, which another thread of the app may hold while it waits."""
        lock = condition._lock
        if isinstance(lock, Lock) and not self._free:
            with suppress(RunOver):
                self.wait(lambda: not lock.locked(), outside=True)
        condition._acquire_restore(saved)

    def _end_s(self, timeout: float | None) -> float:
        return inf if timeout is None else self.now() + max(0.0, timeout)


class _Queues(ModuleType):
    """The module `queue` for executors: their queues wait on conditions, which can be seen."""

    def __init__(self, threads: Threads) -> None:
        super().__init__("queue")
        vars(self).update(vars(queue))
        self.SimpleQueue: Any = lambda: queue.Queue() if threads.own() else queue.SimpleQueue()


def _of_a_library(thread: Any) -> bool:
    """True for a thread of a pool that the app uses and has not made."""
    return any(isinstance(one, queue.SimpleQueue) for one in getattr(thread, "_args", ()))


def _is_pythons(frame: FrameType) -> bool:
    top = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return top == OURS or (top in sys.stdlib_module_names and top != "__main__")
