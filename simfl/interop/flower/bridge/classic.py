"""The classic API on the virtual clock: one batch of messages where Flower has a thread for each.

Flower's server sends with a pool of threads and waits for devices on a real condition, which no
virtual clock would ever meet. Here a round's messages leave together, and a client manager's wait
lets virtual time pass. Whatever else an app brings (strategies, client managers) runs as it is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from simfl.interop.flower.grid import VirtualGrid

#: What Flower's own client manager waits for devices where no time is given, in seconds.
DAY_S = 86_400.0

#: Between two looks at who is there, in virtual seconds, as Flower's Message API has it.
LOOK_S = 1.0


class Registrar:
    """Keeps a client manager informed of who is there; its waits are virtual.

    proxy(node): Flower's proxy of a device.
    """

    def __init__(self, grid: VirtualGrid, manager: Any, proxy: Callable[[int], Any]) -> None:
        self._grid, self._manager, self._proxy = grid, manager, proxy
        self._known: dict[int, Any] = {}

    def attach(self) -> None:
        """From now on every question to the manager is about this instant."""
        for name in ("num_available", "all", "sample"):
            setattr(self._manager, name, self._up_to_date(getattr(self._manager, name)))
        self._manager.wait_for = self._wait_for
        self.update()

    def update(self) -> None:
        """Registers who has come and unregisters who has gone."""
        there = self._grid.node_ids()
        present = set(there)
        for node in [node for node in self._known if node not in present]:
            self._manager.unregister(self._known.pop(node))
        for node in there:
            if node not in self._known:
                self._known[node] = self._proxy(node)
                self._manager.register(self._known[node])

    def _up_to_date(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def asked(*args: Any, **options: Any) -> Any:
            self.update()
            return method(*args, **options)

        return asked

    def _wait_for(self, num_clients: int, timeout: float = DAY_S) -> bool:
        self._grid.need(num_clients)
        end_s = self._grid.now_s + timeout
        while len(self._grid.node_ids()) < num_clients:
            if self._grid.now_s >= end_s:
                return False
            self._grid.sleep(min(LOOK_S, end_s - self._grid.now_s))
        self.update()
        return True


def no_thread() -> tuple[threading.Thread, threading.Event, threading.Event]:
    """What Flower expects of its registration thread: one that ends, and two events."""
    thread, stop, done = threading.Thread(target=lambda: None), threading.Event(), threading.Event()
    thread.start()
    done.set()
    return thread, stop, done


Instructions = Sequence[tuple[Any, Any]]


def ask_clients(
    grid: VirtualGrid,
    instructions: Instructions,
    timeout: float | None,
    message_of: Callable[[Any, Any], Any],
    result_of: Callable[[Any], tuple[Any, bool]],
    reply_to: Callable[[Any], str],
    name_of: Callable[[Any], str],
) -> tuple[list[Any], list[Any]]:
    """Results and failures of a round, in the order of its instructions.

    message_of(client, instruction): the message. result_of(reply): what the client returned, and
    whether its status is good; raises ValueError for a reply that is an error.
    """
    messages = [message_of(client, instruction) for client, instruction in instructions]
    replies = {reply_to(reply): reply for reply in grid.send_and_receive(messages, timeout)}
    results: list[Any] = []
    failures: list[Any] = []
    for (client, _), message in zip(instructions, messages, strict=True):
        reply = replies.get(name_of(message))
        if reply is None:
            failures.append(TimeoutError(f"no reply within the round's {timeout} s"))
            continue
        try:
            result, good = result_of(reply)
        except ValueError as error:
            failures.append(error)
            continue
        (results if good else failures).append((client, result))
    return results, failures
