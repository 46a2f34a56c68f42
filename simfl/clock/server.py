"""Implements `strategy.base.Server`, the server as strategies see it, on the kernel's parts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from operator import index
from typing import Any

import numpy as np

from simfl.clock.battery import Batteries, Reachable
from simfl.clock.events import Clock, Kind
from simfl.clock.handed import NUMBERS, a_charge, each, no_change, no_weight, whole
from simfl.clock.ledger import Ledger
from simfl.clock.sampling import Pool
from simfl.clock.tasks.lifecycle import Lifecycle
from simfl.clock.versions import VersionStore
from simfl.clock.workload import Workload
from simfl.errors import PluginError
from simfl.messages import Task, Update
from simfl.strategy.base import Change
from simfl.streams import Streams


@dataclass(frozen=True)
class Limits:
    """When a run ends: at the first of these.

    target: metric -> value.
    lower: metrics that are the better the lower, beside those of `simfl.directions`.
    """

    after_s: float = inf
    versions: int | None = None
    updates: int | None = None
    target: Mapping[str, float] = field(default_factory=dict)
    lower: Collection[str] = ()
    wall_s: float = inf


class Server:
    """Model, versions and tasks. Everything a strategy does goes through these methods."""

    edge_versions = 0  #: made by edges so far; there are none here

    __snapshot__: tuple[str, ...] = (
        "version",
        "params",
        "lost",
        "tasks",
        "open",
        "published",
        "steps",
        "over",
        "flops_per_s",
        "_charged_s",
        "_serial",
        "_index",
    )  #: kept by checkpoints

    def __init__(
        self,
        clock: Clock,
        fleet: Any,
        workload: Workload,
        streams: Streams,
        ledger: Ledger,
        flops_per_s: float,
        limits: Limits,
    ) -> None:
        self.version = 0
        self.params = workload.initial
        self.fleet = fleet
        self.devices = len(fleet)
        self.examples = workload.examples
        self.learning = workload.learning
        self.flops_per_s = flops_per_s
        self.lost: list[Task] = []
        self.lifecycle: Lifecycle  # set by the kernel, which hears of every task's end
        self.batteries = (
            None if fleet.energy.start_j is None else Batteries(fleet.energy, fleet.presence)
        )
        #: Who can be given a task, apart from being busy.
        self.presence = (
            Reachable(fleet.presence, self.batteries) if self.batteries else fleet.presence
        )
        self.pool = Pool(
            self.devices, self.presence, lambda block: streams.generator("sampling", block)
        )
        self.versions = VersionStore()
        self.tasks: dict[int, Task] = {}  #: in flight, by serial
        self.open: dict[int, tuple[Task, Update]] = {}  #: delivered, neither applied nor discarded
        self.published = (self.params, 0)  #: model and version once the server's work is done
        self.steps = 0
        self.trouble = ""  #: what a step has found not to be finite
        self.over = ""  #: the limit that this run has met: nothing leaves, nothing enters
        self._clock = clock
        clock.handlers |= {"server.leave": self._leave, "server.publish": self._make_public}
        self._workload = workload
        self._streams = streams
        self._ledger = ledger
        self._last_version = inf if limits.versions is None else limits.versions
        self._last_update = inf if limits.updates is None else limits.updates
        self._charged_s = 0.0
        self.aggregate: Callable[[float, float], float] | None = None  #: (now, charged) -> charged
        self._serial = 0
        self._index = np.zeros(self.devices, dtype=np.int32)
        self._next_index = memoryview(self._index.data)
        self._usual: tuple[Any, Any] = (None, None)  # epochs and steps that are known to be work

    @property
    def now_s(self) -> float:
        return self._clock.now

    @property
    def in_flight(self) -> int:
        return len(self.tasks)

    def sample(self, n: int, among: Sequence[int] | None = None) -> list[int]:
        """Up to n distinct devices, uniform among those that are idle and present now."""
        if type(n) is not int:
            n = whole(n)
        return self.pool.sample(n, self._clock.now, among)

    def candidates(self) -> np.ndarray:
        """All devices that are idle and present now, ascending. Costs a scan of the fleet."""
        return self.pool.candidates(self._clock.now)

    def dispatch(
        self,
        devices: Iterable[int],
        *,
        epochs: float | Sequence[float] | None = None,
        steps: int | Sequence[int] | None = None,
        extras: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """Sends the current model to devices; returns the serials of the new tasks."""
        chosen, first = list(devices), self._serial
        if self.over:
            return self.never(len(chosen))
        extras, usual = extras or {}, self._usual
        if epochs is usual[0] and steps is usual[1]:  # as before: it has been looked at
            tasks = [self._open_task(device, epochs, steps, extras) for device in chosen]
        else:
            works = self._works(len(chosen), epochs, steps)
            tasks = [
                self._open_task(device, its_epochs, its_steps, extras)
                for device, (its_epochs, its_steps) in zip(chosen, works, strict=True)
            ]
        self.send(tasks, self._charged_s)
        return list(range(first, self._serial))

    def never(self, n: int) -> list[int]:
        """Serials of tasks that never were: after the last version nothing leaves any more."""
        return list(range(self._serial, self._serial + n))

    def _works(self, n: int, epochs: Any, steps: Any) -> Iterable[tuple[Any, Any]]:
        """(epochs, steps) of each of n devices. Raises PluginError for what is no work."""
        works = zip(each(epochs, n, 0.0), each(steps, n, 1, whole=True), strict=True)
        if all(one is None or isinstance(one, NUMBERS) for one in (epochs, steps)):
            self._usual = epochs, steps  # the very objects, which nothing can change
        return works

    def send(self, tasks: list[Task], charged_s: float) -> None:
        """The tasks leave now, or when what is charged is done."""
        if not charged_s:
            if len(tasks) > 1:
                self._workload.announce(tasks)
            for task in tasks:
                self.lifecycle.begin(task)
            return
        due_s = self._clock.now + charged_s
        for task in tasks:
            task.dispatched_s = due_s
            self._clock.at(due_s, Kind.DISPATCH, task.serial, "server.leave", task)

    def apply(self, change: Change) -> None:
        """Adds a change to the model and makes the next version."""
        if not isinstance(change, Change):
            raise no_change(change)
        if self.over:
            return  # after the last version nothing enters the model any more
        if self.aggregate is not None:
            self._charged_s = self.aggregate(self._clock.now, self._charged_s)
        version, params, ledger = self.version, self.params, self._ledger
        used_s, ages, updates = self._clock.now + self._charged_s, [], []
        for serial, weight in change.weights.items():
            task, update = self._close(serial, "applied")
            if not 0.0 <= weight < inf:
                raise no_weight(serial, weight)
            updates.append(update)
            drift, cosine = self._workload.measure(update, params)
            age = version - task.version
            ages.append(age)
            ledger.close(
                task, "applied", version + 1, age, used_s, drift, cosine, weight, update.loss
            )
        params = self._workload.applied(params, change, updates)
        self.noted(params, updates)
        self.enter(params, ages, float(sum(change.weights.values())), used_s)

    def enter(self, params: Any, ages: list[int], weight_sum: float, used_s: float) -> None:
        """The next version is this model, made of updates of these ages."""
        self.params = params
        self.version = version = self.version + 1
        self._ledger.version(version, used_s, ages, weight_sum, self._charged_s)
        if self._charged_s:
            self._publish(used_s)
        else:
            self.published = (params, version)
        if version >= self._last_version:
            self.over = "versions"
        elif self._ledger.applied >= self._last_update:
            self.over = "updates"

    def noted(self, params: Any, updates: list[Update]) -> None:
        """These updates have made this model. Raises PluginError if it alone is not finite."""
        trouble = self._workload.trouble(params, updates)
        if trouble and not self._workload.finite(params) and self._are_finite(updates):
            raise PluginError("the change is not finite, though all updates in it are")
        self.trouble = self.trouble or trouble

    def _are_finite(self, updates: list[Update]) -> bool:
        """Updates that are not finite mean that training diverged: no fault of the strategy."""
        return all(self._workload.finite(part) for u in updates for part in (u.delta, u.base))

    def discard(self, updates: Iterable[Update], cause: str) -> None:
        """Says that these updates will not be used, and why; they count as waste."""
        for update in updates:
            task, _ = self._close(update.task, "discarded")
            self._ledger.close(task, "discarded", cause=cause, loss=update.loss)

    def cancel(self, devices: Iterable[int] | None = None, cause: str = "cancelled") -> None:
        """Ends the tasks of these devices (default: all in flight) at once."""
        wanted = None if devices is None else {self.known(d, "cancel") for d in devices}
        for task in list(self.tasks.values()):
            if wanted is None or task.device in wanted:
                self.lifecycle.end(task, "cancelled", cause)

    def request_partial(self, devices: Iterable[int]) -> None:
        """Tells these devices to end training with the mini-batch at hand and send what is done."""
        wanted = {self.known(device, "request_partial") for device in devices}
        for task in list(self.tasks.values()):
            if task.device in wanted:
                self.lifecycle.shorten(task)

    def charge(self, flops: float = 0.0, seconds: float = 0.0) -> None:
        """Server work: what this step applies and dispatches takes effect when it is done."""
        self._charged_s += a_charge(flops, seconds, self.flops_per_s)

    def generator(self, purpose: str) -> np.random.Generator:
        """A random generator for this step of the strategy and this purpose."""
        return self._streams.generator(f"step {purpose}", self.steps)

    # For code that decides outside of a strategy.

    def first(self, params: Any) -> None:
        """Version 0 is this model, which was not known when the run began."""
        self.params, self.published = params, (params, 0)

    def evaluated(self, update: Update, cause: str) -> None:
        """The task was an evaluation of the model on a device, and its reply has been used."""
        task, _ = self._close(update.task, "evaluated")
        self._ledger.close(task, "evaluated", cause=cause, loss=update.loss)

    def rebase(self, serial: int, version: int, params: Any) -> None:
        """A task that has just been sent carries this version: its message had to wait."""
        task = self.tasks.get(serial)
        if task is not None and task.version != version:
            self.versions.hold(version, params)
            self.versions.release(task.version)
            task.version, task.base = version, params

    # For the kernel.

    def join(self, group: int) -> None:
        """The fleet has one more device, of this group, for which the workload has made room."""
        self.grow()
        self.pool.join()

    def grow(self) -> None:
        """Columns have a row for one more device."""
        self.devices += 1
        self.examples = self._workload.examples
        if self.devices > len(self._index):
            self._index = np.append(self._index, np.zeros_like(self._index))
            self._next_index = memoryview(self._index.data)

    def is_member(self, device: int) -> bool:
        """True until the device is retired, which only processes of a world do."""
        members = getattr(self.fleet, "members", None)
        return members is None or bool(members.has(device))

    def look_again(self, device: int) -> bool:
        """True if the strategy itself looks for devices that have come back."""
        return False

    def may_move(self, device: int, cell: int) -> None:
        """Raises PluginError where a device must not change to this cell."""

    def close(self) -> None:
        """The run has ended, and no task is open any more."""

    def moved_bytes(self) -> tuple[int, int]:
        """Bytes down and up so far, of tasks that ended and of those in flight. A scan of these."""
        flying = [self.lifecycle.moved_bytes(task) for task in self.tasks.values()]
        down, up = zip(*flying, strict=True) if flying else ((), ())
        return self._ledger.down_bytes + sum(down), self._ledger.up_bytes + sum(up)

    def end_step(self) -> float:
        """Closes the books of a step; returns the seconds that it charged."""
        charged_s, self._charged_s = self._charged_s, 0.0
        self.lost = []
        return charged_s

    def known(self, device: Any, method: str = "dispatch") -> int:
        """The device's number. Raises PluginError for what is none, or none of this fleet's."""
        try:
            number = index(device)
        except TypeError:
            raise PluginError(
                f"{method} was given {device!r}, expected a device's number"
            ) from None
        if not 0 <= number < self.devices:
            raise PluginError(
                f"{method} was given device {number}, the fleet has 0 to {self.devices - 1}"
            )
        return number

    def _open_task(
        self,
        device: int,
        epochs: float | None,
        steps: int | None,
        extras: Mapping[str, Any],
    ) -> Task:
        if type(device) is not int or not 0 <= device < self.devices:
            device = self.known(device)
        if not self.pool.take(device):
            there = self.is_member(device)
            why = "while it is busy with another" if there else "after it was retired"
            raise PluginError(f"device {device} was dispatched a task {why}")
        serial, count = self._serial, self._next_index[device]
        version, params = self.version, self.params
        self.versions.hold(version, params)
        task = self.tasks[serial] = Task(
            serial, device, count, version, params, self._clock.now, epochs, steps, extras
        )
        self._serial = serial + 1
        self._next_index[device] = count + 1
        return task

    def _leave(self, task: Task) -> None:
        if task.serial in self.tasks:  # it may have been cancelled meanwhile
            self.lifecycle.begin(task)

    def _close(self, serial: int, how: str) -> tuple[Task, Update]:
        entry = self.open.pop(serial, None)
        if entry is None:
            raise PluginError(
                f"the update of task {serial} was {how}, but it is not there to be used"
            )
        self.versions.release(entry[0].version)
        return entry

    def _publish(self, due_s: float) -> None:
        ready = (self.params, self.version)
        self._clock.at(due_s, Kind.STEP, 0, "server.publish", ready)

    def _make_public(self, ready: tuple[Any, int]) -> None:
        self.published = ready
