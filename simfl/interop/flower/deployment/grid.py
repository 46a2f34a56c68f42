"""The grid of a deployed server app: replies are looked for at intervals, as Flower's does."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush
from math import inf
from typing import Any

from simfl.interop.flower.deployment.times import DeployedTimes
from simfl.interop.flower.grid import VirtualGrid
from simfl.interop.flower.strategy import Request
from simfl.messages import FRAME_BYTES


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
        """Takes the reply's objects in order, some at a time; waits for those that are not here."""
        first_s, most_s = self.times.options.pull_backoff_s
        if not first_s:
            self._await(request)
            return
        left = list(range(len(request.objects)))[::-1]
        looks: list[tuple[float, int, float]] = []  # when, for which object, the wait after it
        while left or looks:
            while left and len(looks) < self.times.options.streams:
                heappush(looks, (self.now_s, left.pop(), first_s))
            due_s, number, wait_s = heappop(looks)
            self._rest(due_s - self.now_s)
            if not self._is_here(request, number):
                due_s = self.now_s + self.times.pull_wait_s(wait_s)
                heappush(looks, (due_s, number, min(2.0 * wait_s, most_s)))
        self._await(request)

    def _await(self, request: Request) -> None:
        if not request.arrived:
            self._play(lambda: request.arrived, inf)

    def _is_here(self, request: Request, number: int) -> bool:
        if request.arrived:
            return True
        task, share = request.task, request.objects[number]
        if task is None or share >= 1.0:
            return False
        _, up_bytes = self._kernel.server.lifecycle.moved_bytes(task)
        return up_bytes >= share * (task.up_bytes + FRAME_BYTES)

    def _rest(self, seconds: float) -> None:
        """The server app's own loop sleeps."""
        if seconds > 0.0:
            self._play(lambda: False, self.now_s + seconds)
