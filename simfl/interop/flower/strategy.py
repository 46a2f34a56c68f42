"""The strategy of a Flower run: dispatches the messages that the app hands to its grid.

To the kernel it is a strategy that never decides anything by itself. A message to a device that
is busy waits here until the device is free, as it would at Flower's SuperLink. A version is made
when the app has taken replies and its messages carry another model: the replies are then in it.
That is exact for strategies of Flower, which say when they aggregate (see `hooks`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from simfl.clock.events import Kind
from simfl.clock.kernel import Kernel
from simfl.interop.flower.protocol import (
    EVALUATE,
    EXPIRED,
    GONE,
    NO_MODEL,
    TRAIN,
    Failure,
    FlowerProtocol,
    Model,
    family,
)
from simfl.messages import Task, Update
from simfl.strategy.base import Change, LocalRule, Server, Wait

if TYPE_CHECKING:
    from simfl.interop.flower.deployment.times import DeployedTimes


@dataclass(slots=True, eq=False)
class Request:
    """One message and what became of it."""

    name: str
    message: Any
    device: int
    kind: str
    version: int  #: of the model that it carries
    model: Any
    expires_s: float
    call: Any = None  #: of the device's code, while it is under way
    answer: Any = None  #: of the device, before it has arrived
    context: Any = None  #: of the device, after its answer
    reply: Any = None  #: what the app gets: the answer, or an error in its place
    update: Update | None = None  #: what has arrived and is neither in the model nor thrown away
    arrived: bool = False  #: the reply, or the news that there will be none, is here
    turn: int = 0  #: its place among all arrivals
    announced_s: float = inf  #: when a deployed server first knows of the reply
    objects: Sequence[float] = (1.0,)  #: what share has passed when each of the reply's is there
    task: Task | None = None  #: while a deployed device uploads
    forgotten: bool = False  #: the reply is not awaited any more


class AppStrategy:
    """State and strategy of a run that an app drives."""

    def __init__(
        self, protocol: FlowerProtocol, work: dict[str, Any], notice_s: float = 0.0
    ) -> None:
        self.local = LocalRule()
        self.kernel: Kernel  # set once there is one, since it takes this strategy
        self.until_s = inf  #: when the app wants control back
        self.orders: list[Callable[[Server], None]] = []  #: what the next step does
        self.requests: dict[str, Request] = {}  #: by name: sent, and not yet handed to the app
        self._awaited: dict[str, set[str]] = {}  # by name: all that is waited for beside it
        self.announces = False  #: the app says when it has a new model; its messages do not
        self.news = 0  #: replies and losses so far
        self._protocol = protocol
        self._work = work  # of a train message: epochs or steps
        self._notice_s = notice_s
        self.times: DeployedTimes | None = (
            None  #: of a deployment; None: devices get a message when it is sent
        )
        self._queues: dict[int, deque[Request]] = {}  # by busy device
        self._flying: dict[int, Request] = {}  # by task
        self._taken: list[Request] = []  # train replies that the app has, not in a version yet
        self._passed_over: list[Request] = []  # of these, the ones that a strategy did not use

    # For the kernel.

    def init(self, params: Any) -> None:
        """Nothing that could be saved."""

    def step(self, state: None, server: Server, updates: list[Update]) -> Wait:
        """Sorts in what came, sends what may leave. Never returns a Wait that nothing meets."""
        for update in updates:
            self._delivered(self._flying.pop(update.task), update, server)
        for task in server.lost:
            self._lost(self._flying.pop(task.serial), task)
        orders, self.orders = self.orders, []
        for order in orders:
            order(server)
        return Wait(arrivals=1, within=max(0.0, self.until_s - server.now_s), losses=1)

    def _send(self, request: Request, server: Server) -> None:
        self._discard(self._passed_over, server)
        self._passed_over = []
        if request.model is not None and not self.announces:
            self._suggest(request.model, server)
        request.version, request.model = server.version, server.params
        queue = self._queues.get(request.device)
        if queue is None:
            self._queues[request.device] = deque()
            if self.times is None:
                self._dispatch(request, server)
            else:
                self._await_question(request, self.times)
        else:
            queue.append(request)

    def _await_question(self, request: Request, times: DeployedTimes) -> None:
        """The message waits until its device asks for work."""
        clock, device = self.kernel.clock, request.device
        self._queues[device].append(request)
        clock.handlers["app.asked"] = self._asked
        clock.at(times.next_ask_s(device, clock.now), Kind.TASK, device, "app.asked", device)

    def _asked(self, device: int) -> None:
        self.orders.append(lambda server: self._next(device))
        self.kernel.ask()

    def _dispatch(self, request: Request, server: Server) -> None:
        work = self._work if family(request.kind) == TRAIN else {"epochs": 0.0}
        (serial,) = server.dispatch([request.device], extras={"request": request}, **work)
        self._flying[serial] = request
        self.kernel.server.rebase(serial, request.version, request.model)

    def _next(self, device: int) -> None:
        """The device is free: it gets the first message that is still worth its time."""
        queue = self._queues[device]
        while queue:
            request = queue.popleft()
            if request.expires_s <= self.kernel.clock.now:
                self.fail(request, EXPIRED, _OUTLIVED)
            if not request.arrived:
                self._dispatch(request, self.kernel.server)
                return
        del self._queues[device]

    def _free(self, device: int) -> None:
        if self.times is not None:
            self.times.freed(device, self.kernel.clock.now)
        self._next(device)

    def _delivered(self, request: Request, update: Update, server: Server) -> None:
        self._free(request.device)
        late = request.forgotten or request.arrived
        if self._protocol.is_error(request.answer):
            server.discard([update], "client error")
        elif late:
            server.discard([update], "late")
        elif family(request.kind) == EVALUATE:
            self.kernel.server.evaluated(update, request.kind)
        elif family(request.kind) != TRAIN:
            server.discard([update], request.kind)
        else:
            request.update = update
        if not request.arrived:
            request.reply = request.answer
            self._arrived(request)

    def _lost(self, request: Request, task: Task) -> None:
        self._free(request.device)
        notice_s = self._notice_s if self.times is None else self.times.notice_s(task)
        if notice_s:
            due_s = self.kernel.clock.now + notice_s
            self.kernel.clock.handlers["app.noticed"] = self._noticed
            loss = (request, task.cause)
            self.kernel.clock.at(due_s, Kind.TASK, task.serial, "app.noticed", loss)
        else:
            self.fail(request, GONE, task.cause)

    def _noticed(self, loss: tuple[Request, str]) -> None:
        self.fail(loss[0], GONE, loss[1])
        self.kernel.ask()

    def fail(self, request: Request, failure: Failure, reason: str) -> None:
        """There will be no reply but this one."""
        if not request.arrived:
            request.reply = self._protocol.error(request.message, failure, reason)
            self._arrived(request)

    def _arrived(self, request: Request) -> None:
        request.arrived = True
        request.turn = self.news = self.news + 1
        request.task = None
        request.announced_s = min(request.announced_s, self.kernel.clock.now)
        self._awaited.pop(request.name, _NONE).discard(request.name)
        if request.forgotten:
            self.requests.pop(request.name, None)

    # For the app.

    def send(self, request: Request) -> None:
        """The message leaves at the next step."""
        self.requests[request.name] = request
        self.orders.append(partial(self._send, request))

    def await_(self, names: Iterable[str]) -> set[str]:
        """Those of these messages that have no reply yet; they leave the set as replies come."""
        waiting = {name for name in names if not self.requests[name].arrived}
        self._awaited.update(dict.fromkeys(waiting, waiting))
        return waiting

    def show(self, model: Model, used: Collection[str] | None = None) -> None:
        """The app's model is this one from the next step on.

        used: names of the messages whose replies are in it; None: of all that it has taken.
        """
        self.orders.append(partial(self._show, model, used=used))

    def suggest(self, model: Model) -> None:
        """The app works with this model: a new version, if it has taken replies meanwhile."""
        self.orders.append(partial(self._suggest, model))

    @property
    def unseen(self) -> int:
        """Train replies that the app has taken and that are in no version, so far as was seen."""
        return len(self._taken)

    def refuse(self) -> None:
        """What the app has taken does not enter the model."""
        self.orders.append(self._refuse)

    def announced(self, names: Iterable[str]) -> list[Request]:
        """Requests with a reply that is here or on its way, in the order of the announcements."""
        requests = self._open(names)
        known = [one for one in requests if one.arrived or one.announced_s < inf]
        return sorted(known, key=lambda one: one.announced_s)

    def here(self, names: Iterable[str]) -> list[Request]:
        """Requests with a reply that the app has not had, in the order in which they came."""
        requests = self._open(names)
        return sorted((one for one in requests if one.arrived), key=lambda one: one.turn)

    def _open(self, names: Iterable[str]) -> list[Request]:
        """Requests whose reply the app has not had; those that are too old have failed."""
        requests = [self.requests[name] for name in names if name in self.requests]
        for request in requests:
            if not request.arrived and self.kernel.clock.now >= request.expires_s:
                self.fail(request, EXPIRED, _OUTLIVED)
        return requests

    def take(self, request: Request) -> Any:
        """The reply; it is the app's from now on."""
        del self.requests[request.name]
        if request.update is not None:
            self._taken.append(request)
        return request.reply

    def forget(self, names: Iterable[str]) -> None:
        """The replies to these are not awaited any more."""
        for name in names:
            request = self.requests.get(name)
            if request is not None:
                request.forgotten = True
                self._awaited.pop(name, None)

    # Versions.

    def _show(self, model: Model, server: Server, used: Collection[str] | None = None) -> None:
        if used is not None:
            taken = [*self._passed_over, *self._taken]
            self._passed_over = [request for request in taken if request.name not in used]
            self._taken = [request for request in taken if request.name in used]
        if server.params is NO_MODEL:
            self.kernel.server.first(model)
            self._first_seen(model)
        elif self._taken or not model.same(server.params):
            server.apply(Change(model, self._weights()))
            self._taken = []

    def _suggest(self, model: Model, server: Server) -> None:
        """A model that changes although no reply came is a variant for some device, no version."""
        news = self._taken or server.params is NO_MODEL
        if news and not model.same(server.params):
            self._show(model, server)

    def _refuse(self, server: Server) -> None:
        self._passed_over += self._taken
        self._taken = []

    def _discard(self, requests: Iterable[Request], server: Server) -> None:
        updates = [request.update for request in requests if request.update is not None]
        server.discard(updates, "not aggregated")

    def _weights(self) -> dict[int, float]:
        """By examples, as the replies report them; equal shares if one of them does not."""
        pairs = [(request.update, request.reply) for request in self._taken]
        counts = {u.task: examples_of(self._protocol.metrics(r)) for u, r in pairs if u is not None}
        if None in counts.values() or not any(counts.values()):
            counts = dict.fromkeys(counts, 1.0)
        total = sum(n for n in counts.values() if n)
        return {task: (n or 0.0) / total for task, n in sorted(counts.items())}

    def _first_seen(self, model: Model) -> None:
        if self.kernel.plan.evaluate_at_start:
            metrics = self.kernel.workload.evaluate(model)
            if metrics:
                self.kernel.evaluations.observe(metrics, 0)


_NONE: set[str] = set()
_OUTLIVED = "the message has outlived its time-to-live"


def examples_of(metrics: Any) -> float | None:
    """How many examples a reply says that it has seen, under either of Flower's names."""
    for name in ("num-examples", "num_examples"):
        if name in metrics:
            return float(metrics[name])
    return None
