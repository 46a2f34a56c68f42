"""The clock that an app reads: virtual for the app's own code and Flower's, real for all others.

Modules of the app and of Flower get stand-ins for `time`, `timeit` and `datetime`: those that are
imported already by name, others when they import. So a library that waits for a real process, a
socket or a file keeps the real clock, whatever the app around it sleeps. The stand-ins are virtual
on the app's own threads while the app runs; the kernel and the devices' code see the real clock.
"""

from __future__ import annotations

import builtins
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import ModuleType
from typing import Any

from simfl.errors import InputError
from simfl.interop.flower.virtual_time.callers import Code
from simfl.interop.flower.virtual_time.generators import Generators
from simfl.interop.flower.virtual_time.stand_ins import STAND_INS, TO_REAL, Source

#: Where the virtual clock begins for those who ask for a date: 2025-01-01, in UTC.
EPOCH_S = Source.EPOCH_S

_ON: list[VirtualTime] = []  # at most one: Flower's own globals allow no more
_LOCK = threading.Lock()


class VirtualTime:
    """now: the virtual time in seconds since the run began. sleep: lets virtual seconds pass."""

    def __init__(self, now: Callable[[], float] = lambda: 0.0) -> None:
        self.now = now
        self.sleep: Callable[[float], None] = lambda seconds: None  #: the grid sets it
        self.playing = False  #: the app itself is running, not the kernel under it
        self.generators = Generators()  #: lent to devices' code while the kernel plays
        self.threads = {threading.get_ident()}  #: of the app

    @contextmanager
    def set(self, code: Code, dates: Iterable[ModuleType] = ()) -> Iterator[None]:
        """The app is on the virtual clock. Raises InputError if another one is.

        code: whose clock is virtual.
        dates: modules whose `now()` is the date of a message, virtual in devices' code as well.
        """
        if not _LOCK.acquire(blocking=False):
            raise InputError("another Flower app is running in this process: wait until it ends")
        try:
            _ON.append(self)
            Source.current = self
            self.playing = True
            dated = [(module, "now", date_now) for module in dates]
            with replaced(dated), _importing(code), self.reach(code):
                yield
        finally:
            self.playing = False
            Source.current = None
            _ON.clear()
            _LOCK.release()

    @contextmanager
    def reach(self, code: Code) -> Iterator[None]:
        """Clock functions in modules of this code are virtual; real again at the end."""
        _exchange(code.modules(), STAND_INS)
        try:
            yield
        finally:
            _exchange(code.modules(), TO_REAL)

    @contextmanager
    def present(self) -> Iterator[None]:
        """The app itself runs, within what is `away`."""
        before, self.playing = self.playing, True
        try:
            yield
        finally:
            self.playing = before

    @contextmanager
    def away(self) -> Iterator[None]:
        """The kernel plays: the clock is real, and the app's generators stand still."""
        before, self.playing = self.playing, False
        try:
            yield
        finally:
            self.generators.put_back()
            self.playing = before


def date_now() -> datetime:
    """The date of a message: virtual on the app's threads, devices' code included."""
    if _ON and threading.get_ident() in _ON[0].threads:
        return datetime.fromtimestamp(EPOCH_S + _ON[0].now(), UTC)
    return datetime.now(UTC)


@contextmanager
def _importing(code: Code) -> Iterator[None]:
    """Modules of this code import stand-ins in the place of the real clock."""
    original = builtins.__import__

    def importing(
        name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
    ) -> Any:
        found = original(name, globals, locals, fromlist, level)
        if level == 0 and name in _NAMES and globals and code.runs_on_the_clock(globals):
            return STAND_INS.get(found, found)
        return found

    with replaced([(builtins, "__import__", importing)]):
        yield


_NAMES = frozenset(key.__name__ for key in STAND_INS if isinstance(key, ModuleType))


def _exchange(modules: Iterable[ModuleType], values: dict[Any, Any]) -> None:
    """Puts values in the place of others, wherever these modules have them by a name."""
    for module in modules:
        names = vars(module)
        for name, value in list(names.items()):
            if value.__class__ in _KINDS and value in values:
                names[name] = values[value]


#: Types of what has a stand-in, and of stand-ins: others need not be hashed.
_KINDS = frozenset(type(one) for pair in STAND_INS.items() for one in pair)


@contextmanager
def replaced(patches: Iterable[tuple[Any, str, Any]]) -> Iterator[None]:
    """Attributes, as (owner, name, value), have these values for a while."""
    wanted = list(patches)
    before = [(owner, name, getattr(owner, name)) for owner, name, _ in wanted]
    try:
        for owner, name, value in wanted:
            setattr(owner, name, value)
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)
