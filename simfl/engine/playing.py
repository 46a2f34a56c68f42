"""Around the kernel's run: signals, errors and the progress bar; whatever happens is recorded."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, Protocol

from simfl.clock.kernel import Kernel, Status
from simfl.engine import record, session
from simfl.engine.checkpoints import checkpoint
from simfl.errors import Diverged, Stalled
from simfl.results.store import Store
from simfl.scenario import Scenario


class Progress(Protocol):
    """Shows a run live."""

    def update(self, status: Status) -> None:
        """Shows how far the run is."""

    def close(self) -> None:
        """The run has ended."""


def play(
    kernel: Kernel,
    player: Callable[[], Any],
    store: Store,
    scenario: Scenario,
    progress: Progress | None,
    interrupt: Callable[[], None] | None = None,
) -> None:
    """Plays a run and writes what it recorded, however it ends.

    kernel, store: of the run.
    player: runs the kernel.
    scenario: settled.
    progress: is closed at the end.
    interrupt: what the first signal does; by default the run ends between two events.
    """
    try:
        with session.interruptible(interrupt or kernel.interrupt):
            player()
    except BaseException as error:
        with suppress(Exception):  # of two errors the first is the one that matters
            record.finish(kernel, store, scenario, ended=_name(error), cause=str(error))
        raise
    finally:
        kernel.workload.close()
        if progress is not None:
            progress.close()
    if kernel.reason == "interrupted":
        _leave(kernel, store, scenario)
        raise KeyboardInterrupt
    record.finish(kernel, store, scenario, ended=kernel.reason)


def _leave(kernel: Kernel, store: Store, scenario: Scenario) -> None:
    """An interrupted run leaves a checkpoint; if it cannot, what it has recorded so far."""
    kernel.driver.save()
    if not checkpoint.exists(store.folder):
        record.finish(kernel, store, scenario, ended="interrupted")


def one_thread(timing: bool) -> AbstractContextManager[None]:
    """Torch on one thread, where there is learning."""
    if timing:
        return nullcontext()
    from simfl.learn.trainers.one_by_one import single_thread

    return single_thread()


def _name(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, Diverged):
        return "diverged"
    return "stalled" if isinstance(error, Stalled) else f"failed: {error}"
