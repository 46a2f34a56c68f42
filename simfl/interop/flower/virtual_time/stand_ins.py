"""Stand-ins for the functions, classes and modules of Python that read the clock.

On an app's thread, while the app runs, they read the virtual clock; elsewhere they are the real
ones. Dates begin on 1 January 2025 (UTC), counters at zero.
"""

from __future__ import annotations

import datetime as dates
import threading
import time
import timeit
from collections.abc import Callable
from types import ModuleType
from typing import Any, ClassVar, Protocol

from simfl.interop.flower.virtual_time.locks import lock, rlock


class Clock(Protocol):
    """What the stand-ins ask: see `virtual_time.VirtualTime`."""

    playing: bool
    threads: set[int]
    now: Callable[[], float]
    sleep: Callable[[float], None]


class Source:
    """The clock of the app that runs in this process, if one does."""

    EPOCH_S: ClassVar[int] = 1_735_689_600
    current: ClassVar[Clock | None] = None


def virtual_now() -> float | None:
    """Virtual seconds since the run began, None outside of an app."""
    clock = Source.current
    if clock is not None and clock.playing and threading.get_ident() in clock.threads:
        return clock.now()
    return None


def sleep(seconds: float) -> None:
    """`time.sleep`, virtual for the app."""
    clock = Source.current
    if clock is None or virtual_now() is None:
        time.sleep(seconds)
    else:
        clock.sleep(seconds)


def _reader(real: Callable[[], Any], zero_s: float, in_ns: bool = False) -> Callable[[], Any]:
    def read() -> Any:
        now_s = virtual_now()
        if now_s is None:
            return real()
        return round((zero_s + now_s) * 1e9) if in_ns else zero_s + now_s

    return read


def _dated(real: Callable[..., Any], takes: int, default: Callable[[], Any]) -> Callable[..., Any]:
    """A function of `time` whose last argument is by default the present."""

    def read(*given: Any) -> Any:
        if virtual_now() is None or (len(given) >= takes and given[-1] is not None):
            return real(*given)
        return real(*given[: takes - 1], default())

    return read


_time = _reader(time.time, Source.EPOCH_S)


def _local() -> time.struct_time:
    return time.localtime(_time())


class _Dates(type):
    """`isinstance` and `issubclass` of a stand-in ask the real class."""

    real: type

    def __instancecheck__(cls, instance: Any) -> bool:
        return (
            isinstance(instance, cls.real)
            if "real" in vars(cls)
            else super().__instancecheck__(instance)
        )

    def __subclasscheck__(cls, subclass: type) -> bool:
        return (
            issubclass(subclass, cls.real)
            if "real" in vars(cls)
            else super().__subclasscheck__(subclass)
        )


class VirtualDatetime(dates.datetime, metaclass=_Dates):
    """`datetime.datetime`; `now`, `utcnow` and `today` are virtual. Its instances are real ones."""

    real = dates.datetime

    def __new__(cls, *args: Any, **options: Any) -> Any:
        made = dates.datetime if cls is VirtualDatetime else cls
        return dates.datetime.__new__(made, *args, **options)

    @classmethod
    def now(cls, tz: dates.tzinfo | None = None) -> Any:
        return _class(cls).fromtimestamp(_time(), tz)

    @classmethod
    def today(cls) -> Any:
        return _class(cls).fromtimestamp(_time())

    @classmethod
    def utcnow(cls) -> Any:
        return _class(cls).fromtimestamp(_time(), dates.UTC).replace(tzinfo=None)


class VirtualDate(dates.date, metaclass=_Dates):
    """`datetime.date`; `today` is virtual. Its instances are real ones."""

    real = dates.date

    def __new__(cls, *args: Any, **options: Any) -> Any:
        return dates.date.__new__(dates.date if cls is VirtualDate else cls, *args, **options)

    @classmethod
    def today(cls) -> Any:
        return (dates.date if cls is VirtualDate else cls).fromtimestamp(_time())


def _class(cls: type) -> Any:
    return dates.datetime if cls is VirtualDatetime else cls


_FUNCTIONS: dict[Any, Any] = {
    time.sleep: sleep,
    time.time: _time,
    time.time_ns: _reader(time.time_ns, Source.EPOCH_S, in_ns=True),
    time.monotonic: _reader(time.monotonic, 0.0),
    time.monotonic_ns: _reader(time.monotonic_ns, 0.0, in_ns=True),
    time.perf_counter: _reader(time.perf_counter, 0.0),
    time.perf_counter_ns: _reader(time.perf_counter_ns, 0.0, in_ns=True),
    time.localtime: _dated(time.localtime, 1, _time),
    time.gmtime: _dated(time.gmtime, 1, _time),
    time.ctime: _dated(time.ctime, 1, _time),
    time.asctime: _dated(time.asctime, 1, _local),
    time.strftime: _dated(time.strftime, 2, _local),
    dates.datetime: VirtualDatetime,
    dates.date: VirtualDate,
    threading.Lock: lock,
    threading.RLock: rlock,
}


def _module(real: ModuleType) -> ModuleType:
    """A copy of a module whose functions and classes of the clock are stand-ins."""
    copy = ModuleType(real.__name__, real.__doc__)
    for name, value in vars(real).items():
        known = isinstance(value, type) or callable(value)
        vars(copy)[name] = _FUNCTIONS.get(value, value) if known else value
    return copy


#: What stands in for what, functions, classes and modules; and the way back.
STAND_INS: dict[Any, Any] = _FUNCTIONS | {
    one: _module(one) for one in (time, timeit, dates, threading)
}
TO_REAL: dict[Any, Any] = {stand_in: real for real, stand_in in STAND_INS.items()}
