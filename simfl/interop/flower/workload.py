"""What the tasks of a Flower run carry: messages down, the devices' code, replies up.

A device's code runs when its training ends on the virtual clock, so that devices that are lost
before never run; where the duration of the training depends on the reply, it runs at the dispatch,
and what it changed on the device counts from the end of the training on. It sees a copy of the
message and of its context, and generators of its own.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from math import nan
from typing import TYPE_CHECKING, Any

import numpy as np

from simfl.clock.workload import size_up
from simfl.errors import PluginError
from simfl.interop.flower.clients import Answer, Call, Clients, RemoteError
from simfl.interop.flower.options import App
from simfl.interop.flower.protocol import (
    EVALUATE,
    FIRST_NODE,
    NO_MODEL,
    RAISED,
    TRAIN,
    FlowerProtocol,
    Model,
    family,
)
from simfl.interop.flower.strategy import Request, examples_of
from simfl.messages import Counter as Versions
from simfl.messages import Task, Update
from simfl.strategy.base import Change, LearningInfo
from simfl.streams import Streams
from simfl.units import GFLOPS

if TYPE_CHECKING:
    from simfl.interop.flower.deployment.times import DeployedTimes

LOG = logging.getLogger("simfl.flower")

#: Exceptions of the client app that are logged; all are counted.
LOGGED = 3


class Interrupted(BaseException):
    """Unwinds the code of a device. Not an Exception: no client app catches it."""


class AppWorkload:
    """The workload of a run that an app drives.

    cost: batch size and FLOPs per example, as the scenario has them.
    examples: (devices,). metrics(model): of an evaluation.
    """

    memory_bytes = 0
    clients: Clients  #: runs the app's code for devices, once it has been loaded
    now_s: Callable[[], float]  #: the virtual time
    interrupt: Callable[[], None]  #: ends the run when the event at hand is over

    def __init__(
        self,
        app: App,
        protocol: FlowerProtocol,
        streams: Streams,
        cost: LearningInfo,
        examples: np.ndarray,
        metrics: Callable[[Model], dict[str, float]] | None = None,
    ) -> None:
        self.initial = NO_MODEL
        self.examples = examples
        self.learning: LearningInfo | None = None
        self.notes: Mapping[str, str] = {}
        self.choices: Mapping[str, str] = {}
        self.running = False  #: code of a device runs
        self._app, self._protocol, self._cost = app, protocol, cost
        self._streams, self._metrics = streams, metrics
        self._contexts: dict[int, Any] = {}  # by device, once it has replied
        self.times: DeployedTimes | None = None  #: of a deployment
        self._eager = app.examples == "reported" or app.measured_gflops is not None
        self._calls: Counter[str] = Counter()  # of the client app, by family of message
        self._errors: Counter[str] = Counter()  # calls that ended with an exception, by family
        self.ended_s = 0.0  #: when the app's code ended

    @property
    def totals(self) -> Mapping[str, float]:
        calls, errors = self._calls.total(), self._errors.total()
        return {"app_s": self.ended_s, "client_calls": calls, "client_errors": errors}

    def check(self) -> None:
        """Raises PluginError if every call for training failed; warns if every second one did."""
        kind = TRAIN if self._calls[TRAIN] else next(iter(self._calls), TRAIN)
        calls, errors = self._calls[kind], self._errors[kind]
        if 2 * errors < max(1, calls):
            return
        reason = (
            f"the client app failed in {errors} of {calls} calls for {kind!r} messages, first with "
            f"{self.notes['client_error']}"
        )
        if errors == calls:
            raise PluginError(f"{reason}: nothing was learnt")
        LOG.warning("%s", reason)

    def announce(self, tasks: Sequence[Task]) -> None:
        """Devices' code runs one call after another."""

    def start(self, task: Task) -> None:
        request: Request = task.extras["request"]
        request.call = self._call(task, request)
        self.clients.begin(request.name, request.call)
        seconds = self._answer(task, request) if self._eager else 0.0
        self._size(task, request, seconds)
        task.down_bytes = self._nbytes(request.message, up=False)
        task.up_bytes = -1

    def ready(self, task: Task) -> None:
        """The training has ended: what it changed on the device stays."""
        request: Request = task.extras["request"]
        if request.answer is None:
            self._answer(task, request)
        self._contexts[task.device], request.context = request.context, None
        task.up_bytes = self._nbytes(request.answer, up=True)
        if self.times is not None:
            model = self._protocol.model(request.answer)
            blobs = [] if model is None else list(map(len, model.blobs))
            request.announced_s, request.task = self.now_s(), task
            request.objects = self.times.objects(blobs)

    def deliver(self, task: Task, server: Versions) -> Update:
        request: Request = task.extras["request"]
        metrics = self._protocol.metrics(request.answer)
        return Update(
            task=task.serial,
            device=task.device,
            version=task.version,
            base=task.base,
            delta=request.model,
            extras={},
            examples=task.examples,
            steps=task.local_steps,
            epochs=task.epochs or 0.0,
            loss=next((value for name, value in metrics.items() if "loss" in name), nan),
            loss_rms=nan,
            dispatched_s=task.dispatched_s,
            arrived_s=task.ended_s,
            server=server,
        )

    def lose(self, task: Task) -> None:
        """An answer that was lost on its way is not the app's; the device keeps what it learnt."""
        request: Request = task.extras["request"]
        request.answer = request.context = request.call = None
        self.clients.drop(request.name)

    def shorten(self, task: Task, steps: int) -> None:
        """Never asked for: Flower has no word for it."""

    def measure(self, update: Update, params: Any) -> tuple[float, float]:
        """Not known: what an app sends need not be a model plus a difference."""
        return nan, nan

    def applied(self, params: Any, change: Change, updates: Sequence[Update]) -> Any:
        """The app's own sum."""
        return params + change.delta

    def finite(self, params: Any) -> bool:
        """Whatever an app calls its model."""
        return True

    def trouble(self, params: Any, updates: Sequence[Update]) -> str:
        """Not known: what is sound is up to the app."""
        return ""

    def evaluate(self, params: Any) -> dict[str, float]:
        if self._metrics is None or not isinstance(params, Model):
            return {}
        return self._metrics(params)

    def close(self) -> None:
        self.clients.close()

    # The device.

    def _call(self, task: Task, request: Request) -> Call:
        seed = self._streams.integer("flower client", task.device, task.index)
        return Call(self._protocol.copy(request.message), self._context(task.device), seed)

    def _answer(self, task: Task, request: Request) -> float:
        """Runs the device's code; returns the seconds of this machine that it took."""
        protocol, call, context = self._protocol, request.call, request.call.context
        begun_s = time.perf_counter()
        self._calls[family(request.kind)] += 1
        self.running = True
        try:
            found = self.clients.end(request.name, call)
            context = found.context
            reply = self._reply(request, found)
        except (Interrupted, KeyboardInterrupt):
            self.interrupt()  # the event at hand is played to its end, so that the tables are whole
            reply = protocol.error(request.message, RAISED, "interrupted")
        finally:
            self.running = False
        took_s = time.perf_counter() - begun_s
        protocol.stamp(reply, f"reply to {request.name}")
        protocol.date(reply, request.message)
        request.answer, request.context, request.call = reply, context, None
        return took_s

    def _reply(self, request: Request, found: Answer) -> Any:
        """The device's reply, or an error in its place."""
        error = found.error
        if error is None:
            try:
                return self._protocol.copy(found.reply)
            except Exception as wrong:  # it is no message
                error = wrong
        why = str(error) if isinstance(error, RemoteError) else f"{type(error).__name__}: {error}"
        self._failed(request, error, why)
        return self._protocol.error(request.message, RAISED, why)

    def _failed(self, request: Request, error: BaseException, why: str) -> None:
        device = request.device
        self.notes = {"client_error": f"{why} (device {device})", **self.notes}
        self._errors[family(request.kind)] += 1
        if self._errors.total() <= LOGGED:
            LOG.warning("device %d: the client app raised", device, exc_info=error)

    def _context(self, device: int) -> Any:
        """A device's context: new for its first message, a copy of the one it keeps later."""
        context = self._contexts.get(device)
        if context is not None:
            return self._protocol.copy_context(context)
        node, devices = FIRST_NODE + device, len(self.examples)
        return self._protocol.context(node, device, devices, self._app.run_config)

    # Sizes.

    def _size(self, task: Task, request: Request, seconds: float) -> None:
        app, cost, kind = self._app, self._cost, family(request.kind)
        n = self._examples(task, request)
        if kind == TRAIN:
            size_up(task, n, cost.batch_size, cost.flops)
            if app.train_gflop is not None:
                task.flops = app.train_gflop * GFLOPS
        elif kind == EVALUATE:
            task.epochs = 1.0
            size_up(task, n, cost.batch_size, cost.flops * app.evaluate_share)
            task.epochs = 0.0
        else:
            task.examples, task.local_steps, task.epochs, task.flops = n, 1, 0.0, 0.0
        if app.measured_gflops is not None:
            task.flops = seconds * app.measured_gflops * GFLOPS

    def _examples(self, task: Task, request: Request) -> int:
        if self._app.examples == "reported" and not self._protocol.is_error(request.answer):
            count = examples_of(self._protocol.metrics(request.answer))
            if count is not None:
                return max(1, round(count))
        return int(self.examples[task.device])

    def _nbytes(self, message: Any, *, up: bool) -> int:
        protocol = self._protocol
        arrays = self._app.charge == "arrays"
        nbytes = protocol.tensor_bytes(message) if arrays else protocol.nbytes(message)
        return nbytes if self.times is None else self.times.wire_bytes(nbytes, up=up)
