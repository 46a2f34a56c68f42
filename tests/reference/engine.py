"""What happens next: at every instant all rates, levels and presences are computed from scratch.

Between two instants everything moves in straight lines: work, bytes and batteries. The next
instant is the first at which something is done, empty or over, or the world changes. At one
instant come, in this order: tasks by serial (a part done, else the battery empty, else the
lifetime over, else the device away), deadlines, the strategy's step, what leaves late, new rates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf, nan
from typing import Any

from reference.filling import fill
from reference.server import Server
from reference.trip import DOWNLOAD, HOME, TRAIN, UPLOAD, Trip, trip_of
from reference.world import World

from simfl.messages import FRAME_BYTES, PHASES, Task
from simfl.streams import Streams

#: Moments as close as this, relatively, are one.
CLOSE = 1e-13

#: What rounding may do to a moment.
HAIR = 1e-11

#: Levels this close to what a task needs are enough for it.
ENOUGH = 1.0 - 1e-12


class Engine:
    """One run. rows, versions: what happened; reason: why it ended."""

    def __init__(
        self, world: World, strategy: Any, sizes: Any, streams: Streams, stop: Any,
        hints: Mapping[int, float] | None = None,
    ) -> None:  # fmt: skip
        self.world, self.strategy, self.streams, self.stop = world, strategy, streams, stop
        self.now, self.reason = 0.0, ""
        self.rows: dict[int, dict[str, Any]] = {}
        self.versions: list[tuple[float, list[int]]] = []
        self.trips: dict[int, Trip] = {}
        self.rates: dict[int, float] = {}
        self.agenda: list[tuple[float, str, Callable[[], None]]] = []
        self.server = Server(self, sizes)
        self.levels = [] if world.fleet.energy.start_j is None else list(world.fleet.energy.start_j)
        self.hints, self.close = hints or {}, CLOSE if hints is None else 0.0
        self.state, self.wait, self.arrived = strategy.init(self.server.params), None, []
        self.free_s, self.step_due, self.stale = 0.0, True, True

    def play(self) -> Engine:
        """To the end; `reason` is "stalled" where nothing can happen any more."""
        self.later(self.stop.after_s or inf, "stop", lambda: self.finish("after_s"))
        while not self.reason:
            self.instant()
            if not self.reason:
                self.move_on()
        self.server.close()
        return self

    def later(self, t: float, kind: str, call: Callable[[], None]) -> None:
        """Something to do at a time, in its turn there."""
        if t < inf:
            self.agenda.append((t, kind, call))

    def finish(self, reason: str) -> None:
        self.reason = self.reason or reason

    # One instant.

    def instant(self) -> None:
        """Everything that happens now, first things first."""
        self.stale = True
        while not self.reason:
            if act := self._task_act() or self._due("wake") or self._due("deadline"):
                act()
            elif self.step_due:
                self.step()
            elif act := self._due("dispatch"):
                act()
            elif self.stale:
                self.share()
            elif act := self._due("stop"):
                act()
            else:
                return

    def _due(self, kind: str) -> Callable[[], None] | None:
        for entry in self.agenda:
            if entry[0] <= self.now and entry[1] == kind:
                self.agenda.remove(entry)
                return entry[2]
        return None

    def _task_act(self) -> Callable[[], None] | None:
        """What the first task does that has something to do now."""
        for serial in sorted(self.trips):
            trip = self.trips[serial]
            task, part = trip.task, trip.part
            if part.done or (self.works(trip) and (part.left <= 0.0 or self._takes_no_time(trip))):
                return lambda: self.next_part(trip)
            if self.levels and self.levels[task.device] <= 0.0 and self.net_w(task.device) < 0.0:
                return lambda: self.end(task, "lost", "battery")
            if trip.hazard_s <= self.now:
                return lambda: self.end(task, "lost", "hazard")
            if trip.policy == "lost" and not self.world.present(task.device, self.now):
                there = self.world.connected(task.device, self.now)
                return lambda: self.end(task, "lost", "offline" if there else "outage")
        return None

    def works(self, trip: Trip) -> bool:
        """The task makes progress: its device does not pause."""
        there = trip.policy != "pause" or self.world.present(trip.task.device, self.now)
        return there or trip.part.kind == "rest"

    def share(self) -> None:
        """The rate of whatever is under way: nominal seconds, or bytes, per second."""
        self.stale, self.rates = False, {}
        working = {s: trip for s, trip in self.trips.items() if self.works(trip)}
        for serial, trip in working.items():
            trains = trip.part.kind == "train"
            self.rates[serial] = self.world.speed(trip.task.device, self.now) if trains else 1.0
        for up in (False, True):
            flows = {
                serial: trip.task.device
                for serial, trip in working.items()
                if trip.part.kind == "flow" and trip.up == up
            }
            caps = {s: self._cap(self.trips[s]) for s in flows}
            self.rates |= self._goodput(fill(caps, self.world.pipes(flows, up, self.now)))

    def _takes_no_time(self, trip: Trip) -> bool:
        if trip.part.kind != "flow" or trip.rate[trip.task.phase] < inf:
            return False
        return not self.world.pipes({trip.task.serial: trip.task.device}, trip.up, self.now)

    def _cap(self, trip: Trip) -> float:
        """Bytes per second on the link, those that are lost and sent again included."""
        device, rate = trip.task.device, trip.rate[trip.task.phase]
        cap = self.world.cap(device, trip.up, rate, self.now)
        return cap / self.world.fleet.link.goodput(device)

    def _goodput(self, rates: dict[int, float]) -> dict[int, float]:
        goodput = self.world.fleet.link.goodput
        return {s: rate * goodput(self.trips[s].task.device) for s, rate in rates.items()}

    # To the next instant.

    def move_on(self) -> None:
        """Everything moves in straight lines until something is due."""
        left = {s: self.trips[s].part.left for s in self.rates}
        ends = {s: self._hinted(s, _after(self.now, left[s], r)) for s, r in self.rates.items()}
        on = {trip.task.device: s for s, trip in self.trips.items()}
        empty = {
            d: self._hinted(on[d], _after(self.now, self.levels[d], -self.net_w(d)))
            for d in self._drained()
        }
        moments = [*ends.values(), *empty.values(), *(entry[0] for entry in self.agenda)]
        moments += [trip.hazard_s for trip in self.trips.values()]
        busy = {trip.task.device for trip in self.trips.values()}
        first = min([*moments, self.world.changes(busy, self.now)])
        if first == inf:
            return self.finish("stalled")
        then = max([each for each in moments if each <= first * (1.0 + self.close)], default=first)
        self._charge(then - self.now, {d for d, moment in empty.items() if moment <= then})
        for serial, rate in self.rates.items():
            trip = self.trips[serial]
            if trip.part.kind != "rest":
                trip.task.phase_s[trip.task.phase] += then - self.now
            trip.part.done = ends[serial] <= then
            left = trip.part.left - rate * (then - self.now)
            trip.part.left = 0.0 if trip.part.done else max(0.0, left)
        self.now = then

    def net_w(self, device: int) -> float:
        """Watts that the device's battery gains."""
        energy = self.world.fleet.energy
        net_w: float = energy.battery(device)[1]
        for trip in self.trips.values():
            if trip.task.device == device and trip.part.kind != "rest" and self.works(trip):
                trains = trip.task.phase == TRAIN
                net_w -= energy.train_w(device) if trains else energy.radio_w(device)
        return net_w

    def _drained(self) -> list[int]:
        return [d for d, level in enumerate(self.levels) if level < inf and self.net_w(d) < 0.0]

    def _charge(self, seconds: float, empty: set[int]) -> None:
        for device, level in enumerate(self.levels):
            full_j = self.world.fleet.energy.battery(device)[0]
            level = min(full_j, level + self.net_w(device) * seconds)
            self.levels[device] = 0.0 if device in empty else max(0.0, level)

    def reachable_s(self, device: int) -> float:
        """When the device, idle until then, can be given a task."""
        enough_s = self.now
        if self.levels:
            _, charge_w, needed_j = self.world.fleet.energy.battery(device)
            if self.levels[device] < needed_j * ENOUGH:
                enough_s = _after(self.now, needed_j - self.levels[device], charge_w)
        return self.world.back_after(device, enough_s)

    # Tasks.

    def _hinted(self, serial: int, moment: float) -> float:
        """The moment, or the one at which the task is said to end, if that is the same but for
        rounding: so it can be shown that nothing but rounding decides a tie."""
        hint = max(self.now, self.hints.get(serial, inf))
        return hint if abs(hint - moment) <= HAIR * max(1.0, moment) else moment

    def leave(self, task: Task) -> None:
        """The task leaves the server now, if it was not cancelled before."""
        if task.serial in self.server.tasks:
            self.server.size_up(task)
            task.down_bytes = self.server.sizes.down_bytes
            task.up_bytes = self.server.sizes.up_bytes
            fleet = self.world.fleet
            trip = trip_of(task, fleet, self.streams, self.now)
            self.trips[task.serial] = trip
            trip.begin_leg()
            self.stale = True

    def next_part(self, trip: Trip) -> None:
        """The part at hand is done."""
        self.stale, task = True, trip.task
        del trip.parts[0]
        if trip.parts:
            return
        if trip.fails and trip.fails[0] == task.phase:
            return self._fail(trip)
        if task.phase != TRAIN:
            task.moved_bytes[trip.up] += trip.nbytes()
        task.phase += 1
        if task.phase == HOME:
            del self.trips[task.serial]
            self._over(task, "delivered", "")
        else:
            trip.begin_leg()

    def _fail(self, trip: Trip) -> None:
        task, faults = trip.task, self.world.fleet.faults
        again = None if trip.hangs else faults.again(task.device, trip.attempt + 1)
        if again is None:
            return self.end(task, "lost", "suspended" if trip.hangs else "drop-out")
        trip.charge()
        wait_s, probability = again
        trip.again(self.streams, probability)
        trip.begin_leg(wait_s)

    def end(self, task: Task, outcome: str, cause: str) -> None:
        """The task ends here and now without an update."""
        self.book(task)
        self._over(task, outcome, cause)

    def book(self, task: Task) -> None:
        """What the task's last leg has moved is charged."""
        trip = self.trips.pop(task.serial, None)
        if trip is not None:
            trip.charge()

    def hurry(self, task: Task) -> None:
        """The device is to send what it has."""
        trip = self.trips.get(task.serial)
        steps = trip and trip.shorten()
        if steps:
            task.steps = steps
            self.server.size_up(task)
            self.stale = True

    def _over(self, task: Task, outcome: str, cause: str) -> None:
        server = self.server
        self.stale = True
        del server.tasks[task.serial]
        server.pool.put(task.device)
        task.ended_s, task.cause = self.now, cause
        if outcome == "delivered":
            self.arrived.append(server.delivered(task))
        else:
            server.lost.append(task)
            self.row(task, outcome, cause, server.version)
            if self.wait.losses is not None and len(server.lost) >= self.wait.losses:
                self.ask()
        enough = self.wait.arrivals is not None and len(self.arrived) >= self.wait.arrivals
        if not server.tasks or enough:
            self.ask()

    # The strategy.

    def ask(self) -> None:
        """The strategy is asked now, or when the server's work is done."""
        if self.free_s > self.now:
            self.later(self.free_s, "wake", self.ask)
        else:
            self.step_due = True

    def step(self) -> None:
        """One decision."""
        server, arrived = self.server, self.arrived
        self.arrived = []
        self.agenda = [entry for entry in self.agenda if entry[1] != "deadline"]
        self.wait = self.strategy.step(self.state, server, arrived)
        self.step_due, self.stale = False, True
        server.lost, server.steps = [], server.steps + 1
        self.free_s, server.charged_s = self.now + server.charged_s, 0.0
        if self.wait.within is not None:
            self.later(self.free_s + self.wait.within, "deadline", self.ask)
        if server.over:
            self.later(self.free_s, "stop", lambda: self.finish(server.over))
        elif not server.tasks and self.wait.within is None:
            back_s = min(self.reachable_s(device) for device in range(server.devices))
            if back_s <= self.now:
                return self.finish("stalled")
            self.later(back_s, "wake", self.ask)

    # The ledger.

    def row(
        self, task: Task, outcome: str, cause: str, version: int, weight: float = 0.0,
        used_s: float = nan,
    ) -> None:  # fmt: skip
        """The task's only row."""
        used = outcome in ("applied", "in_flight")
        self.rows[task.serial] = {
            "device": task.device,
            "version": task.version,
            "applied_version": version + 1 if outcome == "applied" else None,
            "outcome": outcome,
            "cause": cause or task.cause,
            "phase": PHASES[min(task.phase, UPLOAD)],
            "down_bytes": task.moved_bytes[0],
            "up_bytes": task.moved_bytes[1],
            "examples": task.examples,
            "staleness": version - task.version if used else None,
            "epochs": task.epochs,
            "dispatched_s": task.dispatched_s,
            "download_s": task.phase_s[DOWNLOAD],
            "train_s": task.phase_s[TRAIN],
            "upload_s": task.phase_s[UPLOAD],
            "ended_s": task.ended_s,
            "staleness_s": used_s - task.dispatched_s,
            "weight": weight,
        }


def _after(t: float, amount: float, rate: float) -> float:
    """When so much has passed at this rate, from t on."""
    if amount <= 0.0:
        return t
    return t + amount / rate if rate > 0.0 else inf
