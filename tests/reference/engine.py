"""What happens next: at every instant all rates, levels and presences are computed from scratch.

Between two instants everything moves in straight lines: work, bytes and batteries. The next
instant is the first at which something is done, empty or over, or the world changes. At one
instant come, in this order: tasks by serial (a part done, else the battery empty, else the
lifetime over, else the device away), deadlines, what processes change, the strategy's step, what
leaves late, new rates.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import inf, nan, nextafter
from typing import Any

from reference.filling import fill
from reference.server import Server
from reference.trip import HOME, TRAIN, UPLOAD, Trip
from reference.world import World
from simfl.messages import Task
from simfl.streams import Streams

#: Moments as close as this, relatively, are one; rounding may move a moment by a hair.
CLOSE, HAIR = 1e-13, 1e-11

#: What is left of a part that is not done.
LEAST = 5e-324

#: A battery that has enough so soon, relatively, has enough.
SOON = 1e-11


class Engine:
    """One run. rows, versions: what happened; reason: why it ended. hints: see `_hinted`."""

    def __init__(
        self, world: World, strategy: Any, sizes: Any, streams: Streams, stop: Any,
        hints: Mapping[int, tuple[float, int]] | None = None,
    ) -> None:  # fmt: skip
        self.world, self.strategy, self.streams, self.stop = world, strategy, streams, stop
        self.hints, self.close = hints or {}, CLOSE if hints is None else 0.0
        self.now, self.reason = 0.0, ""
        self.rows: list[tuple[Task, str, dict[str, Any]]] = []
        self.versions: list[tuple[float, int]] = []
        self.trips: dict[int, Trip] = {}
        self.rates: dict[int, float] = {}
        self.agenda: list[tuple[float, str, Callable[[], None]]] = []
        self.server = Server(self, sizes)
        self.levels = (
            [] if world.fleet.energy.start_j is None else world.fleet.energy.start_j.tolist()
        )
        self.state, self.wait, self.arrived = strategy.init(self.server.params), None, list[Any]()
        self.free_s, self.step_due = 0.0, True
        self.wake: Any = None  # of the agenda: a step that waits for any device

    def play(self) -> Engine:
        """To the end; `reason` is "stalled" where nothing can happen any more."""
        self.later(self.stop.after_s, "stop", lambda: self.finish("after_s"))
        while not self.reason:
            self.instant()
            if not self.reason:
                self.move_on()
        for task in self.server.open.values():
            self.row(task, "discarded", "unused at the end")
        for task in self.server.tasks.values():
            self.book(task)
            self.row(task, "in_flight", used_s=self.now)
        return self

    def later(self, t: float, kind: str, call: Callable[[], None]) -> None:
        """Something to do at a time, in its turn there."""
        self.agenda.append((t, kind, call))

    def finish(self, reason: str) -> None:
        self.reason = self.reason or reason

    # One instant.

    def instant(self) -> None:
        """Everything that happens now, first things first."""
        shared = False
        while not self.reason:
            act = self._task_act() or self._due("wake") or self._due("deadline")
            act = act or self._due("world")
            act = act or (self.step if self.step_due else self._due("dispatch"))
            if not act and not shared:
                self.share()
            elif act := act or self._due("stop"):
                act()
            else:
                return
            shared = not act

    def _due(self, kind: str) -> Callable[[], None] | None:
        for entry in self.agenda:
            if entry[0] <= self.now and entry[1] == kind:
                self.agenda.remove(entry)
                return entry[2]
        return None

    def _task_act(self) -> Callable[[], None] | None:
        """What the first task does that has something to do now."""
        for _, trip in sorted(self.trips.items()):
            task, part, device = trip.task, trip.parts[0], trip.task.device
            if part.done or (self.works(trip) and (part.left <= 0.0 or self._at_once(trip))):
                return lambda: self.next_part(trip)
            if self.levels and self.levels[device] <= 0.0 and self.net_w(device) < 0.0:
                return lambda: self.end(task, "lost", "battery")
            if trip.hazard_s <= self.now:
                return lambda: self.end(task, "lost", "hazard")
            if trip.policy == "lost" and not self.world.present(device, self.now):
                there = self.world.connected(device, self.now)
                return lambda: self.end(task, "lost", "offline" if there else "outage")
        return None

    def works(self, trip: Trip) -> bool:
        """The task makes progress: its device does not pause."""
        there = trip.policy != "pause" or self.world.present(trip.task.device, self.now)
        return there or trip.parts[0].kind == "rest"

    def _at_once(self, trip: Trip) -> bool:
        """A message that nothing slows down."""
        free = trip.parts[0].kind == "flow" and trip.rate[trip.task.phase] == inf
        up, alone = trip.task.phase == UPLOAD, {trip.task.serial: trip.task.device}
        return free and not self.world.pipes(alone, up, self.now)

    def share(self) -> None:
        """The rate of whatever is under way: nominal seconds, or bytes that count, per second."""
        world, now = self.world, self.now
        working = {s: (t, t.task.device) for s, t in self.trips.items() if self.works(t)}
        trains = {s: t.parts[0].kind == "train" and not t.hangs for s, (t, _) in working.items()}
        self.rates = {s: world.speed(d, now) if trains[s] else 1.0 for s, (_, d) in working.items()}
        flows = {s: (t, d) for s, (t, d) in working.items() if t.parts[0].kind == "flow"}
        for leg, up in ((0, False), (UPLOAD, True)):
            mine = {s: (t, d) for s, (t, d) in flows.items() if t.task.phase == leg}
            caps = {s: world.cap(d, up, t.rate[leg], now) for s, (t, d) in mine.items()}
            pipes = world.pipes({s: d for s, (_, d) in mine.items()}, up, now)
            for serial, rate in fill(caps, pipes).items():
                self.rates[serial] = rate * world.fleet.link.goodput(mine[serial][1])

    # To the next instant.

    def move_on(self) -> None:
        """Everything moves in straight lines until something is due."""
        now, trips = self.now, self.trips
        on = {trip.task.device: s for s, trip in trips.items()}
        ends = {
            s: self._hinted(s, _after(now, trips[s].parts[0].left, rate), trips[s].task.phase)
            for s, rate in self.rates.items()
        }
        net_w = {d: self.net_w(d) for d in range(len(self.levels))}
        empty = {
            d: self._hinted(on[d], _after(now, self.levels[d], -net))
            for d, net in net_w.items()
            if net < 0.0 and self.levels[d] < inf
        }
        moments = [*ends.values(), *empty.values(), *(t for t, _, _ in self.agenda)]
        moments += [trip.hazard_s for trip in self.trips.values()]
        first = min([*moments, self.world.changes(set(on), now)])
        then = max((t for t in moments if t <= first * (1.0 + self.close)), default=first)
        for device, net in net_w.items():
            level = self.levels[device] + net * (then - now)
            full_j = self.world.fleet.energy.battery(device)[0]
            self.levels[device] = 0.0 if empty.get(device, inf) <= then else min(full_j, level)
        for serial, rate in self.rates.items():
            trip, part = self.trips[serial], self.trips[serial].parts[0]
            if part.kind != "rest":
                trip.task.phase_s[trip.task.phase] += then - now
            part.done = ends[serial] <= then
            part.left = 0.0 if part.done else max(LEAST, part.left - rate * (then - now))
        self.now = then

    def _hinted(self, serial: int, moment: float, phase: int = -1) -> float:
        """The moment, or the one at which the task is said to end if only rounding parts them:
        so it can be shown that nothing but rounding has decided what came first. phase: what
        would be over then, and is a hair later where the task is said to be cut off in it."""
        end_s, cut = self.hints.get(serial, (inf, -1))
        hint = max(self.now, end_s)
        if hint == inf or abs(hint - moment) > HAIR * max(1.0, hint):
            return moment
        return nextafter(hint, inf) if phase == cut else hint

    def net_w(self, device: int) -> float:
        """Watts that the device's battery gains."""
        energy = self.world.fleet.energy
        net_w: float = energy.battery(device)[1]
        for trip in (trip for trip in self.trips.values() if trip.task.device == device):
            if trip.parts[0].kind != "rest" and self.works(trip):
                net_w -= (energy.train_w if trip.task.phase == TRAIN else energy.radio_w)(device)
        return net_w

    def reachable_s(self, device: int) -> float:
        """When the device, idle until then, can be given a task."""
        enough_s = self.now
        if self.levels:
            _, charge_w, needed_j = self.world.fleet.energy.battery(device)
            enough_s = _after(self.now, needed_j - self.levels[device], charge_w)
            if enough_s <= self.now + SOON * max(1.0, self.now):
                enough_s = self.now
        return self.world.back_after(device, enough_s) if enough_s < inf else inf

    # Tasks.

    def leave(self, task: Task) -> None:
        """The task leaves the server now, if it was not cancelled before."""
        if task.serial in self.server.tasks:
            self.server.size_up(task)
            self.trips[task.serial] = Trip(task, self.world.fleet, self.streams, self.now)

    def next_part(self, trip: Trip) -> None:
        """The part at hand is done: the next one, the leg's failure, or the next leg."""
        task, faults = trip.task, self.world.fleet.faults
        del trip.parts[0]
        if trip.parts:
            return
        if trip.fails[0] == task.phase:
            again = None if trip.hangs else faults.again(task.device, trip.attempt + 1)
            if again is None:
                return self.end(task, "lost", "suspended" if trip.hangs else "drop-out")
            trip.charge()
            trip.again(self.streams, again[1])
            return trip.begin_leg(again[0])
        if task.phase != TRAIN:
            task.moved_bytes[task.phase == UPLOAD] += trip.nbytes[task.phase]
        task.phase += 1
        if task.phase < HOME:
            trip.begin_leg()
        else:
            del self.trips[task.serial]
            self._over(task, "delivered", "")

    def end(self, task: Task, outcome: str, cause: str) -> None:
        """The task ends here and now without an update."""
        self.book(task)
        self._over(task, outcome, cause)

    def book(self, task: Task) -> None:
        """The task stops where it is."""
        task.ended_s, trip = self.now, self.trips.pop(task.serial, None)
        if trip is not None:
            trip.charge()

    def hurry(self, task: Task) -> None:
        """The device is to send what it has."""
        trip = self.trips.get(task.serial)
        if trip and (steps := trip.shorten()):
            task.steps = steps
            self.server.size_up(task)

    def _over(self, task: Task, outcome: str, cause: str) -> None:
        server, wait = self.server, self.wait
        del server.tasks[task.serial]
        server.put(task.device)
        task.ended_s = self.now
        if outcome == "delivered":
            self.arrived.append(server.delivered(task))
        else:
            server.lost.append(task)
            self.row(task, outcome, cause)
        losses = outcome != "delivered" and wait.losses is not None
        arrivals = wait.arrivals is not None and len(self.arrived) >= wait.arrivals
        if not server.tasks or arrivals or (losses and len(server.lost) >= wait.losses):
            self.ask()

    # The strategy, and the ledger.

    def ask(self) -> None:
        """The strategy is asked now, or when the server's work is done."""
        if self.free_s > self.now:
            self.later(self.free_s, "wake", self.ask)
        else:
            self.step_due = True

    def step(self) -> None:
        """One decision."""
        server, arrived, self.arrived = self.server, self.arrived, []
        self.agenda = [entry for entry in self.agenda if entry[1] != "deadline"]
        self.wait = self.strategy.step(self.state, server, arrived)
        self.step_due, server.lost, self.wake = False, [], None
        self.free_s, server.charged_s = self.now + server.charged_s, 0.0
        server.steps += 1
        if self.wait.within is not None:
            self.later(self.free_s + self.wait.within, "deadline", self.ask)
        if server.over:
            self.later(self.free_s, "stop", lambda: self.finish(server.over))
        elif not server.tasks and self.wait.within is None:
            back_s = min(self.reachable_s(device) for device in range(server.devices))
            if back_s <= self.now:
                return self.finish("stalled")
            self.later(back_s, "wake", self.ask)
            self.wake = self.agenda[-1]

    def row(
        self, task: Task, outcome: str, cause: str = "", used_s: float = nan, weight: float = 0.0
    ) -> None:
        """The task's only row."""
        version, used = self.server.version, outcome in ("applied", "in_flight")
        self.rows.append((task, outcome, {
            "cause": cause,
            "applied_version": version + 1 if outcome == "applied" else None,
            "staleness": version - task.version if used else None,
            "staleness_s": used_s - task.dispatched_s,
            "weight": weight,
        }))  # fmt: skip


def _after(t: float, amount: float, rate: float) -> float:
    """When so much has passed at this rate, from t on."""
    if amount <= 0.0:
        return t
    return t + amount / rate if rate > 0.0 else inf
