"""The grid of a deployed server app: replies are looked for at intervals, as Flower's does."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any

from simfl.interop.flower.deployment.times import DeployedTimes
from simfl.interop.flower.grid import VirtualGrid
from simfl.interop.flower.strategy import Request


class DeployedGrid(VirtualGrid):
    """A grid that looks for replies as `HttpGrid` does."""

    def __init__(self, *parts: Any) -> None:
        *rest, times = parts
        self.times: DeployedTimes = times
        super().__init__(*rest)

    def pull(self, names: Iterable[str]) -> list[Any]:
        """The replies that are announced; blocks until each of them is here."""
        wanted = list(names)
        found = self._fetch(wanted)
        if not found and self._stands_still(wanted):
            found = self._fetch(wanted)
        self._look(bool(found))
        return [self._strategy.take(request) for request in found]

    def send_and_receive(self, messages: Iterable[Any], timeout: float | None = None) -> list[Any]:
        """Sends, and looks for replies until all are here or `timeout` seconds have passed."""
        end_s = inf if timeout is None else self.now_s + timeout
        left = self.push(messages)
        found: list[Any] = []
        while left and self.now_s < end_s:
            here = self._fetch(left)
            found += [self._strategy.take(request) for request in here]
            taken = {request.name for request in here}
            left = [name for name in left if name not in taken]
            if left:
                self._rest(self.times.options.pull_s)
        self._strategy.forget(left)
        return found

    def _fetch(self, names: list[str]) -> list[Request]:
        """Announced replies among these; time passes until they are here."""
        self._check()
        announced = self._strategy.announced(names)
        for request in announced:
            self._fetch_one(request)
        return announced

    def _fetch_one(self, request: Request) -> None:
        wait_s, most_s = self.times.options.pull_backoff_s
        while not request.arrived:
            if not wait_s:
                self._play(lambda: request.arrived, inf)
                return
            self._rest(self.times.pull_wait_s(wait_s))
            wait_s = min(2.0 * wait_s, most_s)

    def _rest(self, seconds: float) -> None:
        """The server app's own loop sleeps."""
        self._play(lambda: False, self.now_s + seconds)
