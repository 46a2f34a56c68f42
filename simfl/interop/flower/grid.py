"""Flower's Grid on the virtual clock: what the server app of a run calls, on the app's own thread.

Nothing waits by polling: a call that needs the future plays the kernel until it has come. The
run's end, by a limit of the scenario, unwinds the app from inside such a call.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Any

import numpy as np

from simfl.clock.events import Kind
from simfl.clock.kernel import Kernel
from simfl.errors import PluginError, Stalled
from simfl.interop.flower.protocol import FIRST_NODE, FlowerProtocol, Model
from simfl.interop.flower.strategy import AppStrategy, Request
from simfl.interop.flower.virtual_time.callers import Code
from simfl.interop.flower.virtual_time.clock import VirtualTime
from simfl.interop.flower.virtual_time.threads import Met, RunOver, Threads
from simfl.interop.flower.workload import AppWorkload, Interrupted

#: So many looks at who is there in a row, with nothing sent and nothing in flight, lead nowhere
#: where devices neither come nor go.
MOST_IDLE_LOOKS = 1_000

#: So many sleeps in a row, with nothing sent and nothing in flight, lead nowhere.
MOST_IDLE_SLEEPS = 1_000_000


class VirtualGrid:
    """The messages of a server app. `timeout`, `sleep` and `now_s` are virtual seconds."""

    def __init__(
        self,
        kernel: Kernel,
        strategy: AppStrategy,
        protocol: FlowerProtocol,
        virtual_time: VirtualTime,
        workload: AppWorkload,
        code: Code,
    ) -> None:
        self.failure: Exception | None = None  #: why the run cannot go on
        self.devices = kernel.server.devices
        self._kernel, self._strategy = kernel, strategy
        self._protocol, self._virtual_time = protocol, virtual_time
        self.threads = Threads(virtual_time, code, self._pass, lambda: self.over)
        virtual_time.sleep = self.sleep
        self._workload = workload
        self._sent = 0
        self._listening = False  # a strategy of Flower runs the loop
        self._sleeps = 0  # in a row, with nothing sent
        self._looks = 0  # at who is there, in a row as well
        #: By thread, of its last pull in vain: when, and how many messages had been sent.
        self._looked: dict[int, tuple[float, int] | None] = {}
        self._everybody = [FIRST_NODE + device for device in range(self.devices)]

    @property
    def now_s(self) -> float:
        """The virtual time."""
        return self._kernel.clock.now

    @property
    def version(self) -> int:
        """Of the app's model, as far as the run has seen it."""
        return self._kernel.server.version

    @property
    def unseen(self) -> int:
        """Train replies that the app has taken and that are in no version, so far as was seen."""
        return self._strategy.unseen

    def begin(self) -> None:
        """What happens before the app's first line."""
        self._kernel.begin()

    # What Flower's Grid does.

    def node_ids(self) -> list[int]:
        """Nodes of the devices that are there now, busy ones included, in ascending order."""
        self._check()
        self._looks += 1
        presence = self._kernel.server.presence
        if presence.always:
            return list(self._everybody)
        there = np.flatnonzero(presence.mask(self.now_s))
        return (there + FIRST_NODE).tolist()

    def push(self, messages: Iterable[Any]) -> list[str]:
        """Sends messages now; returns their names. A busy device gets its message later."""
        requests = [self._request(message) for message in messages]
        self._check()
        for request in requests:
            self._strategy.send(request)
        self._order()
        self._sleeps = self._looks = 0
        return [request.name for request in requests]

    def pull(self, names: Iterable[str]) -> list[Any]:
        """The replies to these messages that are here by now, errors among them.

        A second look at the same instant, with nothing sent and nothing found, waits for news:
        an app that polls without sleeping would see the clock stand still.
        """
        wanted = list(names)
        self._check()
        found = self._take(wanted)
        if not found and self._stands_still(wanted):
            found = self._take(wanted)
        self._look(bool(found))
        return found

    def send_and_receive(self, messages: Iterable[Any], timeout: float | None = None) -> list[Any]:
        """Sends, and waits for every reply, or until `timeout` seconds have passed.

        A reply that comes at the very end of the timeout is in time. Replies are in the order in
        which they came; what comes later is thrown away when it comes.
        """
        end_s = inf if timeout is None else self.now_s + timeout
        names, strategy = self.push(messages), self._strategy
        awaited = strategy.await_(names)
        found: list[Any] = self._take(names)
        while awaited:
            waiting = [name for name in names if name in awaited]
            self._play(lambda: not awaited, min(end_s, self._expiry(waiting)))
            found += self._take(names)
            if self.now_s >= end_s:
                break
        strategy.forget(awaited)
        return found

    # Time.

    def sleep(self, seconds: float) -> None:
        """The app does nothing for so long."""
        self._sleeps += 1
        if not self._kernel.server.in_flight:
            self._check_progress()
        self._play(lambda: False, self.now_s + max(0.0, seconds))

    def need(self, nodes: int) -> None:
        """The app waits until so many nodes are there: an error if the fleet is smaller."""
        if nodes > self.devices:
            self._fail(
                Stalled(
                    f"Waiting for nodes to connect: {len(self.node_ids())} connected (minimum "
                    f"required: {nodes}); the fleet has {self.devices} devices, so the app would "
                    "wait for ever. Give the fleet more devices, or let the app ask for fewer "
                    "(min_available_nodes, min_available_clients)."
                )
            )

    def _check_progress(self) -> None:
        """Raises where the app sleeps for ever: nothing is in flight."""
        settled = self._kernel.server.presence.always and self._looks > MOST_IDLE_LOOKS
        if settled or self._sleeps > MOST_IDLE_SLEEPS:
            self._fail(
                Stalled(
                    f"the app has slept {self._sleeps:,} times with nothing in flight, by t = "
                    f"{self.now_s:g} s. Does it wait for more nodes than the fleet's "
                    f"{self.devices} devices?"
                )
            )

    def interrupt(self) -> None:
        """Ends the run; code of the app that runs at this moment is left at once."""
        self._kernel.interrupt()
        if self._workload.running:
            raise Interrupted
        if self._virtual_time.playing:
            raise RunOver

    # For those who hooks what the app makes of the replies.

    @contextmanager
    def announcing(self) -> Iterator[None]:
        """Once a strategy was heard, versions are made by `show` alone, not by messages."""
        before, self._listening = self._listening, True
        try:
            yield
        finally:
            self._listening = before
            self._strategy.announces = self._strategy.announces and before

    def show(self, model: Model | None, used: Collection[str] | None = None) -> None:
        """The app's model is this one now, made of replies to the messages of these names."""
        if model is not None:
            self._strategy.show(model, used)
            self._order()

    def suggest(self, model: Model | None) -> None:
        """The app works with this model, which has the replies in it that it has taken."""
        if model is not None:
            self._strategy.suggest(model)
            self._order()

    def heard(self, understood: bool) -> None:
        """A strategy says when it has a new model: within `announcing`, messages do not."""
        self._strategy.announces = self._strategy.announces or (self._listening and understood)

    def refuse(self) -> None:
        """The app does not use the replies that it has taken since its last model."""
        self._strategy.refuse()
        self._order()

    def observe(self, metrics: dict[str, float]) -> None:
        """The app has found this out about its model."""
        with self._virtual_time.away():
            self._kernel.evaluations.observe(metrics, self.version)

    # Inside.

    def _request(self, message: Any) -> Request:
        self._sent += 1
        device = self._protocol.node(message) - FIRST_NODE
        if not 0 <= device < self.devices:
            raise PluginError(f"a message is for node {device + FIRST_NODE}, which is not there")
        self._protocol.stamp(message, f"message-{self._sent}")
        return Request(
            name=f"message-{self._sent}",
            message=message,
            device=device,
            kind=self._protocol.kind(message),
            version=0,
            model=self._protocol.model(message),
            expires_s=self.now_s + self._protocol.ttl_s(message),
        )

    def _stands_still(self, wanted: list[str]) -> bool:
        """Waits for news if this thread has just looked for these in vain, at this very instant."""
        if not wanted or self._looked.get(threading.get_ident()) != (self.now_s, self._sent):
            return False
        news, first_s = self._strategy.news, self._expiry(wanted)
        self._play(lambda: self._strategy.news > news, first_s)
        return True

    def _look(self, found: bool) -> None:
        self._looked[threading.get_ident()] = None if found else (self.now_s, self._sent)

    def _take(self, names: list[str]) -> list[Any]:
        """Replies that are here, in the order in which they came."""
        return [self._strategy.take(request) for request in self._strategy.here(names)]

    def _expiry(self, names: Iterable[str]) -> float:
        requests = self._strategy.requests
        return min((requests[name].expires_s for name in names if name in requests), default=inf)

    def _order(self) -> None:
        """What the strategy announced is done at this instant."""
        self._check()
        self._pass(lambda: not self._strategy.orders, inf, at_once=True)

    def _play(self, met: Met, until_s: float) -> None:
        """The calling thread waits until `met()` or `until_s`. Raises RunOver at the run's end."""
        self._check()
        if self.threads.alone:
            self._pass(met, until_s)
        else:
            self.threads.wait(met, until_s)
            self._check()

    def _pass(self, met: Met, until_s: float, at_once: bool = False) -> None:
        """Virtual time passes until `met()` or `until_s`. Raises RunOver at the run's end."""
        kernel, strategy = self._kernel, self._strategy
        strategy.until_s = until_s
        alarm = kernel.clock.at(until_s, Kind.DEADLINE, 0, "run.step")
        if at_once:
            kernel.ask()
        try:
            with self._virtual_time.away():
                alive = kernel.play(lambda: met() or kernel.clock.now >= until_s)
        except Exception as error:  # of the kernel: nothing that an app could mend
            self._fail(error)
        finally:
            alarm.cancel()
            strategy.until_s = inf
        if not alive:
            raise RunOver

    def _check(self) -> None:
        if threading.get_ident() not in self._virtual_time.threads:
            self._fail(
                PluginError(
                    "the grid was called from a thread that a library has started, or a pool "
                    "that is older than the run; on the virtual clock, only threads that the app "
                    "has started can wait for replies"
                )
            )
        if self.over:
            raise RunOver

    @property
    def over(self) -> bool:
        """The run has ended, or cannot go on."""
        return self.failure is not None or bool(self._kernel.reason)

    def _fail(self, error: Exception) -> None:
        self.failure = self.failure or error
        raise RunOver from error
