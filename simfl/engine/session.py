"""What surrounds a run on this machine: one run per folder, signals, checkpoints, environment."""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Any

from filelock import FileLock, Timeout

from simfl.clock.kernel import Kernel
from simfl.engine.checkpoints import saving
from simfl.errors import HeldError, InputError, PluginError
from simfl.files import put, read_object
from simfl.results.store import Store
from simfl.scenario import Scenario

LOCK, ENVIRONMENT = ".lock", "environment.json"
_PACKAGES = (
    "simfl",
    "simpy",
    "torch",
    "numba",
    "numpy",
    "pandas",
    "pyarrow",
    "scikit-learn",
    "constriction",
)


@contextmanager
def alone(folder: Path | None) -> Iterator[None]:
    """No other run writes into the folder meanwhile. Raises HeldError if one does.

    The lock is the operating system's, so it ends with the process that holds it, however.
    """
    if folder is None:
        yield
        return
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    if (folder / LOCK).is_symlink():
        raise InputError(f"{folder / LOCK}: is a link; remove it, or choose another folder")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise HeldError(
            f"{folder}: another run is writing into this folder; choose another one with --out, or "
            "wait until it has ended"
        ) from None
    try:
        yield
    finally:
        lock.release()
        if new and [path.name for path in folder.iterdir()] == [LOCK]:
            _remove(folder)  # nothing came of it


def in_turn(folder: Path) -> AbstractContextManager[Any]:
    """What several processes write into the folder, one after the other."""
    return FileLock(folder / LOCK)


def is_held(folder: Path) -> bool:
    """True while another process writes into the folder."""
    if not (folder / LOCK).is_file():
        return False
    try:
        with FileLock(folder / LOCK, timeout=0):
            return False
    except Timeout:
        return True


def _remove(folder: Path) -> None:
    with suppress(OSError):
        (folder / LOCK).unlink()
        folder.rmdir()


@contextmanager
def interruptible(interrupt: Callable[[], None]) -> Iterator[None]:
    """SIGINT and SIGTERM end the run, by `interrupt`; a second one, of either kind, at once.

    Signals can be caught in the main thread alone; elsewhere they do what they did before.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    asked: list[int] = []

    def ask(number: int, frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        interrupt()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def saver(kernel: Kernel, store: Store, scenario: Scenario, timing: bool) -> Callable[[], None]:
    """Writes a checkpoint at each call, and warns once if a state cannot be kept."""

    def save() -> None:
        try:
            saving.save(kernel, store, scenario, timing)
        except (PluginError, RecursionError) as error:
            kernel.driver.save = _not_again
            warnings.warn(f"no checkpoints of {scenario.name}: {error}", stacklevel=2)

    return save


def _not_again() -> None:
    """This run's state cannot be kept."""


def write_environment(folder: Path, workers: int) -> None:
    """environment.json: what the run was computed with. workers: processes that train."""
    _put_environment(folder, _environment(workers))


def add_to_environment(folder: Path, workers: int, from_s: float) -> None:
    """environment.json tells of a session that went on with the run, from this virtual second."""
    path = folder / ENVIRONMENT
    try:
        first = read_object(path)
        sessions = list(first.get("resumed", []))
    except (InputError, TypeError):
        first, sessions = {}, []  # the run does not depend on it
    again = {"from_virtual_s": from_s, **_environment(workers)}
    _put_environment(folder, {**first, "resumed": [*sessions, again]})


def _put_environment(folder: Path, found: Mapping[str, Any]) -> None:
    put(folder / ENVIRONMENT, (json.dumps(found, indent=2) + "\n").encode())


def _environment(workers: int) -> dict[str, Any]:
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "threads": {"training": 1, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS")},
        "workers": workers,
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
