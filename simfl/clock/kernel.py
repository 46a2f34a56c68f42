"""The kernel: a clock, tasks in flight, and a strategy that is asked when its Wait is met.

At one instant deliveries and losses come first, then the strategy's step, then what it sent out.
Nothing waits for ever: a run in which nothing can happen any more, or in which time stands
still, ends with `Stalled` and says why.
"""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf, isfinite, nan
from typing import Any

from simfl.clock import watchdog
from simfl.clock.events import Alarm, Clock, Kind
from simfl.clock.ledger import Append, Ledger
from simfl.clock.lifecycle import Journeys
from simfl.clock.network.sharing import SharedLink
from simfl.clock.network.transfer import Carrier
from simfl.clock.plan import Plan as Plan
from simfl.clock.plan import Status as Status
from simfl.clock.plan import glance
from simfl.clock.server import Limits as Limits
from simfl.clock.server import Server
from simfl.clock.workload import BY_DEVICE, Workload
from simfl.errors import Diverged, PluginError, SimflError, blaming, is_full, origin
from simfl.messages import Task, Update
from simfl.strategy.base import Strategy, Wait
from simfl.streams import Streams


class Kernel:
    """One run. `run()` plays it to the first limit and returns why it ended."""

    __snapshot__ = (
        "started",
        "state",
        "accuracy",
        "diverged",
        "_wait",
        "_arrived",
        "_deadline",
        "_step_due",
        "_free_s",
        "_lost_in_a_row",
        "_fruitful",
        "_evaluated_version",
    )  #: kept by checkpoints

    #: So many events at one instant, with time standing still, are a fault of the scenario.
    STANDSTILL = 1_000_000
    #: So many tasks lost in a row, with no delivery between them and no end in sight, likewise.
    HOPELESS = 10_000
    #: So many tasks lost in a row end a run that has a limit of time as well.
    LOST = 100_000
    #: So many steps in a row without a new version, where nothing else would end the run.
    FRUITLESS = 100_000
    #: Task ends between two tellings of progress, and where nothing is learnt, so that a look at
    #: the host's clock would be noticed, between two of these.
    GLANCE = 256

    def __init__(
        self,
        fleet: Any,
        workload: Workload,
        strategy: Strategy,
        streams: Streams,
        plan: Plan,
        append: Append,
        progress: Callable[[Status], None] | None = None,
    ) -> None:
        self.plan = plan
        self.strategy = strategy
        self.workload = workload
        self.clock = Clock()
        self.ledger = Ledger(fleet, append)
        self.server = Server(
            self.clock, fleet, workload, streams, self.ledger, plan.server_flops, plan.limits
        )
        carrier = self._carrier(fleet) if plan.shared_links or fleet.link.varying else None
        self.server.journeys = Journeys(
            self.clock, fleet, workload, streams, self._ended, carrier, self.server.batteries
        )
        self.clock.handlers |= {
            "run.step": self.ask,
            "run.stop": self._stop,
            "run.evaluate": self._evaluate,
            "run.evaluate_on_time": self._evaluate_on_time,
            "run.save_on_time": self._save_on_time,
        }
        self.state: Any = None
        self.started = False
        self.reason = ""  #: why the run ended; empty while it lives
        self.accuracy = self.loss = nan
        #: Called with every evaluation, if given.
        self.evaluated: Callable[[dict[str, float]], None] | None = None
        self.diverged = ""  #: what is not finite any more, and since when; empty if all is well
        self._progress = progress
        self._next_glance = self.GLANCE  # in ended tasks; a telling looks at all in flight
        self._wait = Wait()
        self._arrived: list[Update] = []
        self._deadline: Alarm | None = None
        self._step_due = False
        self._free_s = 0.0  # when the server's charged work is done
        self._lost_in_a_row = 0
        self._fruitful = 0  # the step that made the last version
        self._evaluated_version = -1
        #: Tasks take the host long beside a look at its clock, which then follows each of them.
        self.costly = workload.learning is not None and workload.learning.model is not None
        self._wall_end = time.monotonic() + plan.limits.wall_s
        self._next_save = time.monotonic() + plan.save_wall_s
        self._save_due = False
        self._met: Callable[[], bool] = _never
        #: Called between two events when a checkpoint is due.
        self.save: Callable[[], None] = _nothing

    def run(self) -> str:
        """Plays the run; returns the limit that ended it."""
        self.begin()
        self._play()
        return self.finish()

    # For whoever decides outside of a strategy, and is asked between two of its steps.

    def begin(self) -> None:
        """What happens before the first event, unless it has happened."""
        if not self.started:
            self._start()

    def ask(self, _: object = None) -> None:
        """The strategy is asked at this instant, or when its last step's work is done."""
        self._step_soon()

    def play(self, met: Callable[[], bool]) -> bool:
        """Plays on until a step leaves `met()` true; False if the run ended before that."""
        self._met = met
        try:
            self._play()
        finally:
            self._met = _never
        return not self.reason

    def finish(self, reason: str = "") -> str:
        """The end: the last model is evaluated; returns why the run ended (else: reason)."""
        self._stop(reason)
        if self._evaluated_version != self.server.published[1] and self.reason != "interrupted":
            self._evaluate()
        return self.reason

    def interrupt(self) -> None:
        """The run ends, with reason "interrupted", when the event at hand is over."""
        self._stop("interrupted")

    def _start(self) -> None:
        self.started = True
        with blaming(f"{type(self.strategy).__name__}.init"):
            self.state = self.strategy.init(self.server.params)
        if self.plan.evaluate_at_start:
            self._evaluate()
        self._evaluate_next()
        self._save_next()
        self.clock.at(self.plan.limits.after_s, Kind.STOP, 0, "run.stop", "after_s")
        self._step_soon()

    # The loop.

    def _play(self) -> None:
        with _calm_collector():
            self._loop()

    def _loop(self) -> None:
        clock, instant, events, turns = self.clock, -1.0, 0, 0
        while not self.reason:
            turns += 1
            if not turns % self.GLANCE:
                self._look()
            if self._step_due and clock.due(Kind.STEP):
                self._step()
                if self._met():
                    return
            elif not clock.advance():
                raise watchdog.nothing_due(clock.now, self.server.in_flight)
            if self._save_due:
                self._save()
            events += 1
            if clock.now != instant:
                instant, events = clock.now, 0
            elif events > self.STANDSTILL:
                raise watchdog.standstill(clock.now, events)

    def _stop(self, reason: str) -> None:
        self.reason = self.reason or reason

    def close(self) -> None:
        """Writes down what is still open, however the run ended."""
        for serial, (task, update) in sorted(self.server.open.items()):
            self.ledger.close(task, "discarded", cause="unused at the end", loss=update.loss)
            del self.server.open[serial]
        flying, self.server.tasks = self.server.tasks, {}
        for task in flying.values():
            self.server.journeys.book(task)
            task.ended_s = self.clock.now
            self.ledger.count(task)
            age = self.server.version - task.version
            self.ledger.close(task, "in_flight", staleness=age, used_s=self.clock.now)
        self.ledger.flush()

    # Tasks end; steps fall due.

    def _ended(self, task: Task) -> None:
        server = self.server
        del server.tasks[task.serial]
        server.pool.put(task.device)
        self.ledger.count(task)
        update = self.workload.deliver(task, server) if task.outcome == "delivered" else None
        if update is not None:
            server.open[task.serial] = (task, update)
            self._arrived.append(update)
            self._lost_in_a_row = 0
        else:
            if task.outcome == "delivered":
                task.outcome, task.cause = "discarded", "desynchronised"
            server.versions.release(task.version)
            self.ledger.close(task, task.outcome)
            server.lost.append(task)
            self._lost_in_a_row += task.outcome != "cancelled"
            bearable = self._wait.losses
            if bearable is not None and len(server.lost) >= bearable:
                self._step_soon()
        if self.ledger.ended >= self._next_glance:
            self._next_glance = self.ledger.ended + max(self.GLANCE, len(server.tasks))
            self._glance()
        elif self.costly:
            self._look()
        wanted = self._wait.arrivals
        if not server.tasks or (wanted is not None and len(self._arrived) >= wanted):
            self._step_soon()

    def _step_soon(self) -> None:
        if self._free_s > self.clock.now:
            self.clock.at(self._free_s, Kind.TASK, 0, "run.step")
        else:
            self._step_due = True

    def _step(self) -> None:
        server = self.server
        if self._lost_in_a_row >= self.HOPELESS:
            self._check_hope()
        if server.steps - self._fruitful >= self.FRUITLESS:
            self._check_fruit()
        updates, self._arrived = self._arrived, []
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        version = server.version
        wait = self._ask(updates)
        self._step_due = False
        self._free_s = self.clock.now + server.end_step()
        server.steps += 1
        self._wait = wait
        if wait.within is not None:
            due_s = self._free_s + wait.within
            self._deadline = self.clock.at(due_s, Kind.DEADLINE, 0, "run.step")
        if server.trouble:
            self._diverge(server.trouble)
        if server.version > version:
            self._fruitful = server.steps
            self._after_versions(version)
        if not (server.tasks or self._deadline or server.over):
            self._never_hang()

    def _ask(self, updates: list[Update]) -> Wait:
        try:
            wait = self.strategy.step(self.state, self.server, updates)
        except SimflError as error:
            raise type(error)(f"{self._where()}: {error}") from error
        except (Exception, SystemExit) as error:
            if is_full(error):
                raise
            devices = ", ".join(str(u.device) for u in updates[:5])
            given = f"{len(updates)} update(s)" + (f" from devices {devices}" if updates else "")
            raise PluginError(
                f"{self._where()} failed with {given}: {error!r}{origin(error)}"
            ) from error
        if not isinstance(wait, Wait):
            raise PluginError(f"{self._where()}: must return a Wait, not {wait!r}")
        arrivals, within, losses = wait
        if not ((arrivals or 0) >= 0 and (within or 0.0) >= 0.0 and (losses or 0) >= 0):
            raise PluginError(f"{self._where()}: nobody can wait for {wait!r}")
        return wait

    def _where(self) -> str:
        name, version = type(self.strategy).__name__, self.server.version
        return f"{name}.step at t = {self.clock.now:g} s, version {version}"

    def _never_hang(self) -> None:
        """After a step that left nothing in flight the next one waits for a device."""
        server, now_s = self.server, self.clock.now
        back_s = _next_presence(server.presence, server.devices, now_s)
        if back_s <= now_s:
            raise watchdog.nothing_sent(type(self.strategy).__name__, now_s)
        self.clock.at(back_s, Kind.TASK, 0, "run.step")

    def _check_hope(self) -> None:
        if self._lost_in_a_row < max(self.HOPELESS, 10 * self.server.devices):
            return
        ends = isfinite(self.plan.limits.after_s) and self.clock.now > 0
        if ends and self._lost_in_a_row < max(self.LOST, 10 * self.server.devices):
            return
        causes = (task.cause for task in self.server.lost)
        raise watchdog.all_lost(self.clock.now, self._lost_in_a_row, causes)

    def _check_fruit(self) -> None:
        steps = self.server.steps - self._fruitful
        if isfinite(self.plan.limits.after_s) or steps < 10 * self.server.devices:
            return
        raise watchdog.no_version(type(self.strategy).__name__, self.clock.now, steps)

    # Evaluation, limits, progress.

    def _after_versions(self, before: int) -> None:
        every, now = self.plan.evaluate_every_versions, self.server.version
        if every and now // every > before // every:
            self.clock.at(self._free_s, Kind.EVALUATE, 0, "run.evaluate")
        if self.server.over:
            self.clock.at(self._free_s, Kind.STOP, 0, "run.stop", self.server.over)

    def _evaluate_next(self) -> None:
        due_s = self._later(self.plan.evaluate_every_s, "evaluate.every_s")
        self.clock.at(due_s, Kind.EVALUATE, 1, "run.evaluate_on_time")

    def _evaluate_on_time(self, _: object) -> None:
        self._evaluate()
        self._evaluate_next()

    def _save_next(self) -> None:
        due_s = self._later(self.plan.save_every_s, "checkpoint.every_s")
        self.clock.at(due_s, Kind.SAVE, 0, "run.save_on_time")

    def _later(self, seconds: float, key: str) -> float:
        due_s = self.clock.now + seconds
        if due_s <= self.clock.now:
            raise watchdog.too_short(key, seconds, self.clock.now)
        return due_s

    def _save_on_time(self, _: object) -> None:
        self._save_next()
        self._save_due = True

    def _save(self) -> None:
        """Between two events, when nothing is half done."""
        self._save_due = False
        self._next_save = time.monotonic() + self.plan.save_wall_s
        self.save()

    def _evaluate(self, _: object = None) -> None:
        params, version = self.server.published
        metrics = self._metrics(params)
        self._evaluated_version = version
        if metrics:
            self.observe(metrics, version)

    def observe(self, metrics: Mapping[str, Any], version: int) -> None:
        """Writes down what is known of a version now, and stops the run if that was its target.

        metrics: numbers by name, and under BY_DEVICE columns by device, if there are any.
        """
        self._evaluated_version = version
        by_device = metrics.get(BY_DEVICE)
        metrics = {n: value for n, value in metrics.items() if not isinstance(value, Mapping)}
        self.ledger.evaluation(self.clock.now, version, metrics, self.moved_bytes())
        if by_device is not None:
            self.ledger.personal(self.clock.now, version, by_device)
        self.accuracy = metrics.get("accuracy", self.accuracy)
        self.loss = metrics.get("loss", self.loss)
        if self.evaluated is not None:
            self.evaluated(self._row(metrics, version))
        for name, value in self.plan.limits.target.items():
            found = metrics.get(name, nan)
            reached = found <= value if name == "loss" else found >= value
            if reached:
                self._stop("target")
        info = self.workload.learning
        if info is not None and info.model is not None:
            unsound = [n for n in ("loss", "accuracy") if not isfinite(metrics.get(n, 0.0))]
            if unsound:
                self._diverge(f"the {unsound[0]} of an evaluation is {metrics[unsound[0]]}")
        self._glance()

    def _row(self, metrics: Mapping[str, float], version: int) -> dict[str, float]:
        """An evaluation as callbacks get it."""
        status = self.status()
        return {
            "time_s": status.time_s,
            "version": version,
            "tasks_ended": status.tasks,
            "down_bytes": status.down_bytes,
            "up_bytes": status.up_bytes,
            **metrics,
            "staleness_p50": status.staleness_p50,
            "staleness_p95": status.staleness_p95,
        }

    def _diverge(self, what: str) -> None:
        """Learning went wrong: the run ends, or says so once and goes on."""
        if self.diverged:
            return
        self.diverged = watchdog.gone_wrong(what, self.clock.now, self.server)
        if self.plan.stop_diverged:
            raise Diverged(self.diverged)
        warnings.warn(self.diverged, stacklevel=2)

    def _metrics(self, params: Any) -> dict[str, Any]:
        """Of the server's model, unless the strategy has other models to show."""
        own = getattr(self.strategy, "metrics", None)
        if own is None:
            return self.workload.evaluate(params)
        with blaming(f"{type(self.strategy).__name__}.metrics"):
            shown: dict[str, Any] = own(self.state, self.server, self.workload.evaluate)
        return shown

    def _look(self) -> None:
        """At the host's clock, for `wall_s` of the run and of its checkpoints."""
        now = time.monotonic()
        if now > self._wall_end:
            self._stop("wall_s")
        self._save_due = self._save_due or now > self._next_save

    def _glance(self) -> None:
        self._look()
        if self._progress is not None:
            self._progress(self.status())

    def moved_bytes(self) -> tuple[int, int]:
        """Bytes down and up so far, of tasks that ended and of those in flight. A scan of these."""
        flying = [self.server.journeys.moved_bytes(task) for task in self.server.tasks.values()]
        down, up = zip(*flying, strict=True) if flying else ((), ())
        return self.ledger.down_bytes + sum(down), self.ledger.up_bytes + sum(up)

    def status(self) -> Status:
        """Where the run is now."""
        limits, moved = self.plan.limits, self.moved_bytes()
        seen = (self.accuracy, self.loss)
        return glance(self.clock.now, self.server, self.ledger, limits, seen, moved)

    def _carrier(self, fleet: Any) -> Carrier:
        shared = self.plan.shared_links
        rates = [self.plan.down_rate, self.plan.up_rate] if shared else [inf, inf]
        cells = fleet.cells.rates.T.tolist() if shared else [[], []]
        names = ("down", "up")
        down, up = (SharedLink(self.clock, *one) for one in zip(names, rates, cells, strict=True))
        return Carrier(self.clock, fleet, down, up, cells=shared)


def _nothing() -> None:
    pass


def _never() -> bool:
    return False


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
