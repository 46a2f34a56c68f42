"""SimPy for processes: an environment of their own, which the run's clock keeps in step.

Its events happen between a run's deliveries and the strategy's step of the same instant, in SimPy's
own order. What a generator raises, or yields by mistake, is a PluginError with the process's name
and the line that it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import simpy

from simfl.errors import (
    Diverged,
    InvariantError,
    PluginError,
    SimflError,
    Stalled,
    first_line,
    is_full,
    origin,
    shorten,
)

#: Events of processes at one instant after which time stands still.
STANDSTILL = 1_000_000


class ProcessError(PluginError):
    """A process failed: its message names the process, the moment and the line."""


class Environment(simpy.Environment):
    """`env` of `run(env, world)`: SimPy's, but that every process is watched and has an owner."""

    def __init__(self) -> None:
        super().__init__()
        self._owners: dict[Any, str] = {}  # of processes that live, by the SimPy process

    def begin(self, owner: str, generator: Any) -> None:
        """A process of this owner begins at this instant."""
        self._own(owner, generator)

    def process(self, generator: Any) -> simpy.Process:
        """A further process, which belongs to the one that begins it."""
        return self._own(self._owners.get(self.active_process, "process"), generator)

    def schedule(self, event: Any, priority: Any = 1, delay: float = 0.0) -> None:
        """As SimPy's. Raises PluginError for a delay that is no number of seconds."""
        if not delay >= 0.0:
            raise PluginError(f"a delay of {delay} s, expected 0 or more")
        super().schedule(event, priority, delay)

    def play(self, now_s: float) -> None:
        """Everything that is due by now. Raises ProcessError where processes take no time."""
        for _ in range(STANDSTILL):
            if self.peek() > now_s:
                return
            self.step()
        raise ProcessError(
            f"processes acted {STANDSTILL:,} times at t = {now_s:g} s and took no time: let one of "
            "them yield env.timeout(seconds)"
        )

    def _own(self, owner: str, generator: Any) -> simpy.Process:
        if not hasattr(generator, "throw"):
            raise PluginError(
                f"{shorten(repr(generator))} is no generator: let it yield events, as in `yield "
                "env.timeout(60)`"
            )
        process = simpy.Process(self, _watched(generator, owner, lambda: self.now))
        self._owners[process] = owner
        assert process.callbacks is not None
        process.callbacks.append(self._disown)
        return process

    def _disown(self, process: Any) -> None:
        del self._owners[process]


def _watched(
    generator: Generator[Any, Any, Any], owner: str, now: Callable[[], float]
) -> Generator[Any, Any, Any]:
    """The same generator, whose errors carry its owner's name."""
    act: Callable[[Any], Any] = generator.send
    given: Any = None
    while True:
        try:
            event = act(given)
        except StopIteration as done:
            return done.value
        except (Exception, SystemExit) as error:
            raise named_error(owner, now(), error) from error
        if not isinstance(event, simpy.Event):
            yielded = PluginError(f"yielded {shorten(repr(event))}, expected an event of env")
            raise named_error(owner, now(), yielded, _line_of(generator)) from None
        try:
            given = yield event
            act = generator.send
        except GeneratorExit:
            generator.close()
            raise
        except BaseException as error:
            act, given = generator.throw, error


def named_error(owner: str, now_s: float, error: BaseException, line: str = "") -> BaseException:
    """The error under its process's name, unless it carries one or is no fault of a process."""
    if isinstance(error, ProcessError | Stalled | Diverged | InvariantError) or is_full(error):
        return error
    reason = str(error) if isinstance(error, SimflError) else _kind(error)
    return ProcessError(f"process {owner} at t = {now_s:g} s: {reason}{line or origin(error)}")


def _kind(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


def _line_of(generator: Any) -> str:
    """` at file.py:12`, where a generator, or the one that it delegates to, waits."""
    while getattr(generator, "gi_yieldfrom", None) is not None and hasattr(
        generator.gi_yieldfrom, "gi_frame"
    ):
        generator = generator.gi_yieldfrom
    frame = getattr(generator, "gi_frame", None)
    if frame is None:
        return ""
    return f" at {frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}"
