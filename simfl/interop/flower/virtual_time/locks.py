"""Locks of an app's modules: a thread that waits for one lets the app's other threads go on."""

from __future__ import annotations

import _thread
import threading
from math import inf
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from simfl.interop.flower.virtual_time.threads import Threads


class Lock:
    """`threading.Lock`; with `again`, `threading.RLock`, which its owner may acquire again."""

    threads: ClassVar[Threads | None] = None  #: of the app that runs in this process

    def __init__(self, again: bool = False) -> None:
        self._real = _thread.allocate_lock()
        self._again = again
        self._owner, self._count = 0, 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As of `threading.Lock`, with the timeout in virtual seconds."""
        me = threading.get_ident()
        if self._again and self._owner == me:
            self._count += 1
            return True
        found = self._real.acquire(False) or (blocking and self._wait(timeout))
        if found:
            self._owner, self._count = me, 1
        return found

    def release(self) -> None:
        """As of `threading.Lock`."""
        if self._again and self._owner != threading.get_ident():
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if self._count <= 0:
            self._owner, self._count = 0, 0
            self._real.release()

    def locked(self) -> bool:
        """Whether any thread holds it."""
        return self._real.locked()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()

    def _wait(self, timeout: float) -> bool:
        threads = self.threads
        if threads is None or not threads.own():
            return self._real.acquire(True, timeout)
        end_s = inf if timeout < 0 else threads.now() + timeout
        while threads.wait(lambda: not self._real.locked(), end_s, outside=True):
            if self._real.acquire(False):
                return True
        return False

    # What conditions ask of a lock.

    def _is_owned(self) -> bool:
        return self._owner == threading.get_ident() if self._again else self._real.locked()

    def _release_save(self) -> int:
        count, self._count = self._count, 1
        self.release()
        return count

    def _acquire_restore(self, count: int) -> None:
        self.acquire()
        self._count = count


def lock() -> Lock:
    """Stands in for `threading.Lock`."""
    return Lock()


def rlock() -> Lock:
    """Stands in for `threading.RLock`."""
    return Lock(again=True)
