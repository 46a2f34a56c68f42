"""Where an app runs: the clock that it reads is virtual, and so is its sleep.

Patches hold while an app is on stage, on its own thread, and only for code of the app: the kernel
and the devices' code read the real clock meanwhile, and so does every other thread. Global random
generators are seeded from the scenario and put back as they were.
"""

from __future__ import annotations

import random
import sys
import threading
import time
import timeit
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from types import BuiltinFunctionType, ModuleType
from typing import Any

import numpy as np

from simfl.errors import InputError

_REAL_SLEEP = time.sleep

#: Where the virtual clock begins for those who ask for a date: 2025-01-01, in UTC.
EPOCH_S = 1_735_689_600

_ON: list[Stage] = []  # at most one: Flower's own globals allow no more
_LOCK = threading.Lock()


class Stage:
    """now: the virtual time in seconds since the run began. sleep: lets virtual seconds pass."""

    sleep: Callable[[float], None]  #: set by the grid of the app

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.playing = False  #: the app itself is running, not the kernel under it
        self.generators = Generators()  #: lent to devices' code while the kernel plays
        self.thread = threading.get_ident()

    @contextmanager
    def set(self, modules: Iterable[ModuleType], dates: Iterable[ModuleType]) -> Iterator[None]:
        """The app is on stage. Raises InputError if another one is.

        modules: where the real clock's functions are replaced, beside `time` and `timeit`.
        dates: modules whose `now()` is the date of a message, virtual in devices' code as well.
        """
        if not _LOCK.acquire(blocking=False):
            raise InputError("another Flower app is running in this process: wait until it ends")
        try:
            _ON.append(self)
            self.playing = True
            dated = [(module, "now", date_now) for module in dates]
            with replaced(dated), self.reach([time, timeit, *modules]):
                yield
        finally:
            self.playing = False
            _ON.clear()
            _LOCK.release()

    def reach(self, modules: Iterable[ModuleType]) -> AbstractContextManager[None]:
        """Functions of the clock that these modules have imported by name are virtual as well."""
        return replaced(
            (module, name, STAND_INS[function])
            for module in dict.fromkeys(modules)
            for name, function in vars(module).items()
            if isinstance(function, BuiltinFunctionType) and function in STAND_INS
        )

    @contextmanager
    def away(self) -> Iterator[None]:
        """The kernel plays: the clock is real, and the app's generators stand still."""
        before, self.playing = self.playing, False
        try:
            yield
        finally:
            self.generators.put_back()
            self.playing = before


def virtual_now() -> float | None:
    """Virtual seconds if it is the app on stage that asks, else None."""
    if _ON and _ON[0].playing and threading.get_ident() == _ON[0].thread:
        return _ON[0].now()
    return None


def date_now() -> datetime:
    """The date of a message, virtual for whoever on the app's thread asks."""
    if _ON and threading.get_ident() == _ON[0].thread:
        return datetime.fromtimestamp(EPOCH_S + _ON[0].now(), UTC)
    return datetime.now(UTC)


def sleep(seconds: float) -> None:
    """`time.sleep`, virtual for the app on stage."""
    if virtual_now() is None:
        _REAL_SLEEP(seconds)
    else:
        _ON[0].sleep(seconds)


def _reader(real: Callable[[], Any], zero_s: float, in_ns: bool = False) -> Callable[[], Any]:
    def read() -> Any:
        now_s = virtual_now()
        if now_s is None:
            return real()
        return round((zero_s + now_s) * 1e9) if in_ns else zero_s + now_s

    return read


#: What stands in for each function of the real clock. Dates begin at EPOCH_S, counters at zero.
STAND_INS: dict[Any, Callable[..., Any]] = {
    time.sleep: sleep,
    time.time: _reader(time.time, EPOCH_S),
    time.time_ns: _reader(time.time_ns, EPOCH_S, in_ns=True),
    time.monotonic: _reader(time.monotonic, 0.0),
    time.monotonic_ns: _reader(time.monotonic_ns, 0.0, in_ns=True),
    time.perf_counter: _reader(time.perf_counter, 0.0),
    time.perf_counter_ns: _reader(time.perf_counter_ns, 0.0, in_ns=True),
}


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
        for owner, name, value in before:
            setattr(owner, name, value)


class Generators:
    """The global generators of Python, numpy and, if it is there, torch: seeded and put back."""

    def __init__(self) -> None:
        self._kept: tuple[Any, ...] | None = None

    def lend(self, seed: int) -> None:
        """They start from this seed; how they stood before is kept until `put_back`."""
        torch = sys.modules.get("torch")
        if self._kept is None:
            tensors = None if torch is None else torch.default_generator.get_state()
            self._kept = random.getstate(), np.random.get_state(), tensors  # noqa: NPY002
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        if torch is not None:
            torch.default_generator.manual_seed(seed)

    def put_back(self) -> None:
        """They go on as if nothing had been drawn since the first `lend`."""
        if self._kept is None:
            return
        (python, numpy, tensors), self._kept = self._kept, None
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        if tensors is not None:
            sys.modules["torch"].default_generator.set_state(tensors)

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Lent for a while."""
        self.lend(seed)
        try:
            yield
        finally:
            self.put_back()
