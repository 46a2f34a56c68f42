"""The kernel: a clock, tasks in flight, and a strategy that is asked when its Wait is met.

At one instant deliveries and losses come first, then the strategy's step, then what it sent out.
Nothing waits for ever: a run in which nothing can happen any more, or in which time stands
still, ends with `Stalled` and says why.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import inf
from typing import Any

from simfl.clock.driver import Driver
from simfl.clock.edges.cloud import CloudServer
from simfl.clock.edges.marks import EdgeRows
from simfl.clock.evaluations import Evaluations
from simfl.clock.events import Alarm, Clock, Kind
from simfl.clock.ingest import Ingest
from simfl.clock.ledger import Append, Ledger
from simfl.clock.living.altered import AlteredFleet
from simfl.clock.living.meter import Meter
from simfl.clock.living.processes import Processes
from simfl.clock.living.rescaling import LivingLifecycle
from simfl.clock.network.sharing import SharedLink
from simfl.clock.network.transfer import Transfers
from simfl.clock.plan import Plan as Plan
from simfl.clock.plan import Status as Status
from simfl.clock.server import Limits as Limits
from simfl.clock.server import Server
from simfl.clock.tasks.lifecycle import Lifecycle
from simfl.clock.watchdog import Watchdog, nothing_due, nothing_sent
from simfl.clock.workload import Workload
from simfl.errors import PluginError, SimflError, is_full, origin, plugin_errors
from simfl.messages import Task, Update
from simfl.strategy.base import Strategy, Wait, checked_wait
from simfl.streams import Streams

_STEP = int(Kind.STEP)  # as a plain number, at hand: looked up once a step


class Kernel:
    """One run. `run()` plays it to the first limit and returns why it ended."""

    __snapshot__ = (
        "started",
        "state",
        "_wait",
        "_arrived",
        "_deadline",
        "_step_due",
        "_free_s",
        "_wake",
        "_wake_s",
    )  #: kept by checkpoints

    def __init__(
        self,
        fleet: Any,
        workload: Workload,
        strategy: Strategy,
        streams: Streams,
        plan: Plan,
        append: Append,
        progress: Callable[[Status], None] | None = None,
        processes: Sequence[Any] = (),
    ) -> None:
        fleet = AlteredFleet(fleet) if processes else fleet
        self.plan = plan
        self.strategy = strategy
        self.workload = workload
        self.clock = Clock()
        meter = Meter(append)
        rows = meter.append if processes else append
        self.edge_rows = None if plan.edges is None else EdgeRows(plan.edges.names, rows)
        self.ledger = Ledger(fleet, rows if self.edge_rows is None else self.edge_rows.append)
        parts = (
            self.clock, fleet, workload, streams, self.ledger, plan.server_flops, plan.limits
        )  # fmt: skip
        self.server = (
            Server(*parts)
            if plan.edges is None or self.edge_rows is None
            else CloudServer(plan.edges, plan.model_bytes, self.edge_rows, *parts)
        )
        transfers = self._transfers(fleet) if plan.shared_links or fleet.link.varying else None
        lifecycle = LivingLifecycle if processes else Lifecycle
        works = plan.ingest or plan.aggregate_s
        self.ingest = Ingest(self.clock, plan.ingest, self._ended, self._waits) if works else None
        if self.ingest is not None and plan.aggregate_s:
            self.server.aggregate = partial(self.ingest.occupy, work_s=plan.aggregate_s)
        ended = self.ingest.enter if self.ingest is not None and plan.ingest else self._ended
        self.server.lifecycle = lifecycle(
            self.clock, fleet, workload, streams, ended, transfers, self.server.batteries
        )
        self.clock.handlers |= {
            "run.step": self.ask,
            "run.stop": self.stop,
        }
        self.watchdog = Watchdog(plan, self.server, type(strategy).__name__)
        self.evaluations = Evaluations(self)
        self.driver = Driver(self, progress)
        self.state: Any = None
        self.started = False
        self.reason = ""  #: why the run ended; empty while it lives
        self._wait = Wait()
        self._arrived: list[Update] = []
        self._deadline: Alarm | None = None
        self._step_due = False
        self._free_s = 0.0  # when the server's charged work is done
        self._met: Callable[[], bool] | None = None  # what `play` waits for
        self._wake: Alarm | None = None  # the next step, when it waits for a device
        self._wake_s = inf
        self.processes = Processes(self, processes, streams, append, meter) if processes else None

    def run(self) -> str:
        """Plays the run; returns the limit that ended it."""
        self.begin()
        self._play()
        return self.finish()

    # For what decides outside of a strategy, between two of its steps (an app of Flower).

    def begin(self) -> None:
        """What happens before the first event, unless it has happened."""
        if not self.started:
            self._start()

    def ask(self, _: object = None) -> None:
        """The strategy is asked at this instant, or when its last step's work is done."""
        if self._free_s > self.clock.now:
            self.clock.at(self._free_s, Kind.TASK, 0, "run.step")
        else:
            self._step_due = True

    def play(self, met: Callable[[], bool]) -> bool:
        """Plays on until a step leaves `met()` true; False if the run ended before that."""
        self._met = met
        try:
            self._play()
        finally:
            self._met = None
        return not self.reason

    def finish(self, reason: str = "") -> str:
        """The end: the last model is evaluated; returns why the run ended (else: reason)."""
        self.stop(reason)
        if self.reason != "interrupted":
            self.evaluations.finish()
        return self.reason

    def interrupt(self) -> None:
        """The run ends, with reason "interrupted", when the event at hand is over."""
        self.stop("interrupted")

    def stop(self, reason: str) -> None:
        """The run ends when the event at hand is over; the first reason stands."""
        self.reason = self.reason or reason

    def _start(self) -> None:
        self.started = True
        with plugin_errors(f"{type(self.strategy).__name__}.init"):
            self.state = self.strategy.init(self.server.params)
        self.evaluations.begin()
        self.driver.save_next()
        if self.processes is not None:
            self.processes.begin()
        self.clock.at(self.plan.limits.after_s, Kind.STOP, 0, "run.stop", "after_s")
        self.ask()

    # The loop.

    def _play(self) -> None:
        with _calm_collector():
            self._loop()

    def _loop(self) -> None:
        clock, driver, met, turns = self.clock, self.driver, self._met, 0
        queue, play_next = clock.ahead, clock.step
        left = 1  # turns until more than the next event is looked at
        while not self.reason:
            left -= 1
            if not left:
                self.watchdog.turned(clock.now, turns)
                left = turns = driver.look()
            if self._step_due and clock.due(_STEP):
                self._step()
                if met is not None and met():
                    return
            elif queue:
                clock.now = queue[0][0]
                play_next()
            else:
                raise nothing_due(clock.now, self.server.in_flight)
            if driver.save_due:
                driver.save_now()

    def close(self) -> None:
        """Writes down what is still open, however the run ended."""
        for serial, (task, update) in sorted(self.server.open.items()):
            self.ledger.close(task, "discarded", cause="unused at the end", loss=update.loss)
            del self.server.open[serial]
        flying, self.server.tasks = self.server.tasks, {}
        for task in flying.values():
            if task.outcome == "delivered":  # it has not been taken in
                self.ledger.count(task)
                self.ledger.close(task, "discarded", cause="unused at the end")
                continue
            self.server.lifecycle.book(task)
            task.ended_s = self.clock.now
            self.ledger.count(task)
            age = self.server.version - task.version
            self.ledger.close(task, "in_flight", staleness=age, used_s=self.clock.now)
        self.server.close()
        self.flush()

    def flush(self) -> None:
        """Hands on the rows that are still held."""
        self.ledger.flush()
        if self.edge_rows is not None:
            self.edge_rows.flush()
        if self.processes is not None:
            self.processes.journal.flush()

    # Tasks end; steps fall due.

    def _ended(self, task: Task) -> None:
        server = self.server
        serial, delivered = task.serial, task.outcome == "delivered"
        del server.tasks[serial]
        server.pool.put(task.device)
        self.ledger.count(task)
        update = self.workload.deliver(task, server) if delivered else None
        if update is not None:
            server.open[serial] = (task, update)
            self._arrived.append(update)
            self.watchdog.lost_in_a_row = 0
        else:
            if delivered:
                task.outcome, task.cause = "discarded", "desynchronised"
            server.versions.release(task.version)
            self.ledger.close(task, task.outcome)
            server.lost.append(task)
            self.watchdog.lost_in_a_row += task.outcome != "cancelled"
            bearable = self._wait.losses
            if bearable is not None and len(server.lost) >= bearable:
                self.ask()
        wanted = self._wait.arrivals
        if not server.tasks or (wanted is not None and len(self._arrived) >= wanted):
            if self._free_s > self.clock.now:
                self.ask()
            else:
                self._step_due = True

    def _waits(self, task: Task) -> bool:
        return task.serial in self.server.tasks and task.outcome == "delivered"

    def _step(self) -> None:
        server = self.server
        if not self._arrived or server.steps != self.watchdog.fruitful:  # else all goes well
            self.watchdog.check(self.clock.now)
        updates, self._arrived = self._arrived, []
        self._wake = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        version = server.version
        try:
            wait = self.strategy.step(self.state, server, updates)
        except (Exception, SystemExit) as error:
            failure = self._failure(error, updates)
            if failure is None:
                raise
            raise failure from error
        if wait is not self._wait:  # else it was looked at before
            self._wait = checked_wait(wait, self._where)
        self._step_due = False
        self._free_s = self.clock.now + server.end_step()
        server.steps += 1
        if wait.within is not None:
            due_s = self._free_s + wait.within
            self._deadline = self.clock.at(due_s, Kind.DEADLINE, 0, "run.step")
        if server.trouble:
            self.evaluations.diverge(server.trouble)
        if server.version > version:
            self.watchdog.fruitful = server.steps
            if self.plan.evaluate_every_versions:
                self.evaluations.after_versions(version, self._free_s)
            if server.over:
                self.clock.at(self._free_s, Kind.STOP, 0, "run.stop", server.over)
        if not (server.tasks or self._deadline or server.over):
            self._never_hang()

    def _failure(self, error: BaseException, updates: list[Update]) -> Exception | None:
        """What says where a step has raised this; None for what is no fault of the step."""
        if isinstance(error, SimflError):
            return type(error)(f"{self._where()}: {error}")
        if is_full(error):
            return None
        devices = ", ".join(str(u.device) for u in updates[:5])
        given = f"{len(updates)} update(s)" + (f" from devices {devices}" if updates else "")
        return PluginError(f"{self._where()} failed with {given}: {error!r}{origin(error)}")

    def _where(self) -> str:
        name, version = type(self.strategy).__name__, self.server.version
        return f"{name}.step at t = {self.clock.now:g} s, version {version}"

    def _never_hang(self) -> None:
        """After a step that left nothing in flight the next one waits for a device."""
        server, now_s = self.server, self.clock.now
        back_s = _next_presence(server.presence, server.devices, now_s)
        if back_s <= now_s:
            raise nothing_sent(type(self.strategy).__name__, now_s)
        self._wake_at(back_s)

    def look_again(self, device: int) -> None:
        """An idle device may be given tasks earlier than it seemed, if a step waits for one."""
        if self.server.look_again(device):
            self.ask()
        if self._wake is None:
            return
        back_s = self.server.presence.on_after(device, self.clock.now)
        if back_s < self._wake_s:
            self._wake.cancel()
            self._wake_at(back_s)

    def _wake_at(self, due_s: float) -> None:
        self._wake, self._wake_s = self.clock.at(due_s, Kind.TASK, 0, "run.step"), due_s

    def _transfers(self, fleet: Any) -> Transfers:
        shared = self.plan.shared_links
        rates = [self.plan.down_rate, self.plan.up_rate] if shared else [inf, inf]
        cells = fleet.cells.rates.T.tolist() if shared else [[], []]
        names = ("down", "up")
        down, up = (SharedLink(self.clock, *one) for one in zip(names, rates, cells, strict=True))
        return Transfers(self.clock, fleet, down, up, cells=shared)


@contextmanager
def _calm_collector() -> Iterator[None]:
    """Tasks die by reference counts; looking for cycles after each 700 of them costs 7 %."""
    before = gc.get_threshold()
    gc.set_threshold(50_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _next_presence(presence: Any, devices: int, now_s: float) -> float:
    """When the first device can be given a task: now, later, or never (inf). A rare scan."""
    if presence.always or presence.mask(now_s).any():
        return now_s
    return min(presence.on_after(device, now_s) for device in range(devices))
