"""Where the devices' code runs: in this process, or in others that work ahead.

With workers a call begins when its message leaves and is fetched when the device's training ends
on the virtual clock. Message, context and seed are those of a call in this process, so the ledger
and the models are the same. What calls share through globals of the app's modules, they share
within a process alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Future, wait
from dataclasses import dataclass
from typing import Any, Protocol

from simfl.errors import PluginError
from simfl.interop.flower.virtual_time.generators import seed_all

#: For calls that are not needed any more to end by themselves.
_GRACE_S = 1.0

Client = Callable[[Any, Any], Any]


@dataclass(frozen=True)
class Call:
    """What a call of the client app depends on.

    seed: of the global generators.
    """

    message: Any
    context: Any
    seed: int


@dataclass(frozen=True)
class Answer:
    """A call's end.

    error: what it raised in the place of a reply.
    context: as it left it.
    """

    reply: Any
    context: Any
    error: BaseException | None = None


class Clients(Protocol):
    """Runs calls of the client app."""

    def begin(self, name: str, call: Call) -> None:
        """The call may be run from now on."""

    def end(self, name: str, call: Call) -> Answer:
        """The answer to a call, whether it was begun or not."""

    def drop(self, name: str) -> None:
        """The answer is not needed."""

    def close(self) -> None:
        """Ends whatever runs."""


class InProcess:
    """Runs calls in this process, when they are due. reseed: sets the global generators."""

    def __init__(self, client: Client, reseed: Callable[[int], None]) -> None:
        self._client, self._reseed = client, reseed

    def begin(self, name: str, call: Call) -> None:
        """It is early enough when the answer is due."""

    def end(self, name: str, call: Call) -> Answer:
        self._reseed(call.seed)
        return answer(self._client, call)

    def drop(self, name: str) -> None:
        """Nothing was begun."""

    def close(self) -> None:
        """Nothing runs."""


class InPool:
    """Runs calls in `count` processes, ahead of time.

    load: gives the client app in each process.
    folders: where its modules are found.
    """

    def __init__(self, count: int, load: Callable[[], Client], folders: Sequence[str]) -> None:
        from joblib.externals.loky import ProcessPoolExecutor

        self._pool: Any = ProcessPoolExecutor(
            count, initializer=_begin, initargs=(load, list(folders)), timeout=None
        )
        self._begun: dict[str, Future[Answer]] = {}

    def begin(self, name: str, call: Call) -> None:
        self._begun[name] = self._pool.submit(_run, call)

    def end(self, name: str, call: Call) -> Answer:
        if name not in self._begun:
            self.begin(name, call)
        try:
            return self._begun.pop(name).result()
        except BrokenExecutor as error:
            raise PluginError(
                f"a process that runs the client app has died ({type(error).__name__}): perhaps "
                "memory ran out; try fewer workers"
            ) from error

    def drop(self, name: str) -> None:
        begun = self._begun.pop(name, None)
        if begun is not None:
            begun.cancel()

    def close(self) -> None:
        left = [begun for begun in self._begun.values() if not begun.cancel()]
        _, running = wait(left, timeout=_GRACE_S)
        self._pool.shutdown(wait=True, kill_workers=bool(running))


def answer(client: Client, call: Call) -> Answer:
    """Calls the client app; what it raises is part of the answer."""
    try:
        return Answer(client(call.message, call.context), call.context)
    except (Exception, SystemExit) as error:
        return Answer(None, call.context, error)


# In a process of its own.

_CLIENT: list[Client] = []


def _begin(load: Callable[[], Client], folders: list[str]) -> None:
    sys.path[:0] = folders
    _CLIENT[:] = [load()]


def _run(call: Call) -> Answer:
    seed_all(call.seed)
    found = answer(_CLIENT[0], call)
    if found.error is None:
        return found
    reason = RemoteError(f"{type(found.error).__name__}: {found.error}")  # the error may not travel
    return Answer(None, found.context, reason)


class RemoteError(Exception):
    """What the client app raised in another process, in words."""

    def __str__(self) -> str:
        return str(self.args[0])
