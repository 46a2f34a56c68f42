"""What happens next: at every instant all rates, levels and presences are computed from scratch.

Between two instants everything moves in straight lines: work, bytes and batteries. The next
instant is the first at which something is done, empty or over, or the world changes. At one
instant come, in this order: tasks by serial (a part done, else the battery empty, else the
lifetime over, else the device away), deadlines, what processes change, the strategy's step, what
leaves.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan
from typing import Any

from reference.filling import fill
from reference.server import Server
from reference.trip import HOME, TRAIN, UPLOAD, Trip
from reference.world import World, inside
from simfl.messages import Task
from simfl.streams import Streams

#: What is left of a part that is not done.
LEAST = 5e-324

#: A battery that has enough so soon, relatively, has enough.
SOON = 1e-11


class Engine(Server):
    """One run. rows, versions: what happened; reason: why it ended."""

    #: Moments as close as this, relatively, are one.
    close = 1e-13

    def __init__(
        self, world: World, strategy: Any, sizes: Any, streams: Streams, stop: Any
    ) -> None:
        super().__init__(world, sizes, streams, stop)
        self.strategy, self.reason = strategy, ""
        #: task, outcome, cause, version then, when it was used, weight
        self.rows: list[tuple[Task, str, str, int, float, float]] = []
        self.versions: list[tuple[float, int]] = []
        self.trips: dict[int, Trip] = {}
        self.agenda: list[tuple[float, str, Callable[[], None]]] = []
        starts_j = self.fleet.energy.start_j
        self.levels = [] if starts_j is None else starts_j.tolist()
        self.state, self.wait, self.arrived = strategy.init(self.params), None, list[Any]()
        self.free_s, self.step_due = 0.0, True

    def play(self) -> Engine:
        """To the end; `reason` is "stalled" where nothing can happen any more."""
        self.later(self.stop.after_s, "stop", lambda: self.finish("after_s"))
        while not self.reason:
            if act := self.act():
                act()
            else:
                self.move_on()
        for task in self.open.values():
            self.row(task, "discarded", "unused at the end")
        for task in self.tasks.values():
            self.book(task)
            self.row(task, "in_flight", used_s=self.now_s)
        return self

    def later(self, t: float, kind: str, call: Callable[[], None]) -> None:
        """Something to do at a time, in its turn there."""
        self.agenda.append((t, kind, call))

    def finish(self, reason: str) -> None:
        self.reason = self.reason or reason

    # One instant.

    def act(self) -> Callable[[], None] | None:
        """The first of what is to be done now."""
        early = self.task_act() or self.due("wake", "back", "deadline", "world")
        return early or (self.step if self.step_due else self.due("dispatch", "stop"))

    def due(self, *kinds: str) -> Callable[[], None] | None:
        for entry in [one for kind in kinds for one in self.agenda if one[1] == kind]:
            if entry[0] <= self.now_s:
                self.agenda.remove(entry)
                return entry[2]
        return None

    def task_act(self) -> Callable[[], None] | None:
        """What the first task does that has something to do now."""
        for _, trip in sorted(self.trips.items()):
            task, part, device = trip.task, trip.parts[0], trip.task.device
            if part.done or (self.works(trip) and (part.left <= 0.0 or self.at_once(trip))):
                return lambda: self.next_part(trip)
            if self.levels and self.levels[device] <= 0.0 and self.net_w(device) < 0.0:
                return lambda: self.end(task, "lost", "battery")
            if trip.hazard_s <= self.now_s:
                return lambda: self.end(task, "lost", "hazard")
            if trip.policy == "lost" and not self.world.present(device, self.now_s):
                up = inside(self.world.cell(device), self.now_s)
                return lambda: self.end(task, "lost", "offline" if up else "outage")
        return None

    def works(self, trip: Trip) -> bool:
        """The task makes progress: its device does not pause."""
        there = trip.policy != "pause" or self.world.present(trip.task.device, self.now_s)
        return there or trip.parts[0].kind == "rest"

    def at_once(self, trip: Trip) -> bool:
        """A message that nothing slows down."""
        free = trip.parts[0].kind == "flow" and trip.rate[trip.task.phase] == inf
        up, alone = trip.task.phase == UPLOAD, {trip.task.serial: trip.task.device}
        return free and not self.world.pipes(alone, up, self.now_s)

    # To the next instant.

    def rates(self) -> dict[int, float]:
        """Of what is under way: nominal seconds, or bytes that count, per second."""
        world, working = self.world, {s: t for s, t in self.trips.items() if self.works(t)}
        rates = dict.fromkeys(working, 1.0)
        for serial, trip in working.items():
            if trip.parts[0].kind == "train" and not trip.hangs:
                rates[serial] = world.speeds.get(trip.task.device, 1.0)
        for leg, up in ((0, False), (UPLOAD, True)):
            flows = {
                s: t.task.device
                for s, t in working.items()
                if t.parts[0].kind == "flow" and t.task.phase == leg
            }
            caps = {s: world.cap(d, up, working[s].rate[leg], self.now_s) for s, d in flows.items()}
            for serial, rate in fill(caps, world.pipes(flows, up, self.now_s)).items():
                rates[serial] = rate * self.fleet.link.goodput(flows[serial])
        return rates

    def move_on(self) -> None:
        """Everything moves in straight lines until something is due."""
        now, rates, trips = self.now_s, self.rates(), self.trips
        on = {trip.task.device: s for s, trip in trips.items()}
        net_w = {d: self.net_w(d) for d in range(len(self.levels))}
        ends = {
            s: self.moment(trips[s], after(now, trips[s].parts[0].left, r), True)
            for s, r in rates.items()
        }
        empty = {
            d: self.moment(trips[on[d]], after(now, self.levels[d], -net))
            for d, net in net_w.items()
            if net < 0.0
        }
        ahead = [*ends.values(), *empty.values(), *(t for t, _, _ in self.agenda)]
        ahead += [trip.hazard_s for trip in trips.values()]
        first = min([*ahead, self.world.changes(on, now)])
        self.now_s = max((t for t in ahead if t <= first * (1.0 + self.close)), default=first)
        passed_s = self.now_s - now
        for device, net in net_w.items():
            level, full_j = (
                self.levels[device] + net * passed_s,
                self.fleet.energy.battery(device)[0],
            )
            self.levels[device] = (
                0.0 if empty.get(device, inf) <= self.now_s else min(full_j, level)
            )
        for serial, rate in rates.items():
            task, part = trips[serial].task, trips[serial].parts[0]
            task.phase_s[task.phase] += 0.0 if part.kind == "rest" else passed_s
            part.done = ends[serial] <= self.now_s
            part.left = 0.0 if part.done else max(LEAST, part.left - rate * passed_s)

    def moment(self, trip: Trip, t: float, done: bool = False) -> float:
        """When the trip's part is done, or its battery empty, as computed: t."""
        return t

    def net_w(self, device: int) -> float:
        """Watts that the device's battery gains."""
        energy, net_w = self.fleet.energy, self.fleet.energy.battery(device)[1]
        for trip in (trip for trip in self.trips.values() if trip.task.device == device):
            if trip.parts[0].kind != "rest" and self.works(trip):
                net_w -= (energy.train_w if trip.task.phase == TRAIN else energy.radio_w)(device)
        return net_w

    def reachable_s(self, device: int) -> float:
        """When the device, idle until then, can be given a task."""
        enough_s = self.now_s
        if self.levels:
            _, charge_w, needed_j = self.fleet.energy.battery(device)
            enough_s = after(self.now_s, needed_j - self.levels[device], charge_w)
            if enough_s <= self.now_s + SOON * max(1.0, self.now_s):
                enough_s = self.now_s
        return self.world.back_after(device, enough_s)

    # Tasks.

    def leave(self, task: Task) -> None:
        """The task leaves the server now, if it was not cancelled before."""
        if task.serial in self.tasks:
            self.sizes.start(task)
            self.trips[task.serial] = Trip(task, self.fleet, self.streams, self.now_s)

    def next_part(self, trip: Trip) -> None:
        """The part at hand is done: the next one, the leg's failure, or the next leg."""
        task = trip.task
        del trip.parts[0]
        if trip.parts:
            return
        if trip.fails[0] == task.phase:
            again = None if trip.hangs else self.fleet.faults.again(task.device, trip.attempt + 1)
            if again is None:
                return self.end(task, "lost", "suspended" if trip.hangs else "drop-out")
            return trip.again(*again)
        if task.phase != TRAIN:
            task.moved_bytes[task.phase == UPLOAD] += trip.nbytes[task.phase]
        task.phase += 1
        if task.phase < HOME:
            trip.begin_leg()
        else:
            del self.trips[task.serial]
            self.over_with(task, "delivered", "")

    def end(self, task: Task, outcome: str, cause: str) -> None:
        """The task ends here and now without an update."""
        self.book(task)
        self.over_with(task, outcome, cause)

    def book(self, task: Task) -> None:
        """The task stops where it is."""
        task.ended_s, trip = self.now_s, self.trips.pop(task.serial, None)
        if trip is not None:
            trip.charge()

    def hurry(self, task: Task) -> None:
        """The device is to send what it has."""
        trip = self.trips.get(task.serial)
        if trip and (steps := trip.shorten()):
            self.sizes.shorten(task, steps)

    def over_with(self, task: Task, outcome: str, cause: str) -> None:
        self.put(task.device, self.idle)
        del self.tasks[task.serial]
        task.ended_s = self.now_s
        if outcome == "delivered":
            self.open[task.serial] = task
            self.arrived.append(self.sizes.deliver(task, self))
        else:
            self.lost.append(task)
            self.row(task, outcome, cause)
        arrivals, _, losses = self.wait
        met = losses is not None and outcome != "delivered" and len(self.lost) >= losses
        met = met or (arrivals is not None and len(self.arrived) >= arrivals)
        if met or not self.tasks:
            self.ask()

    # The strategy, and the ledger.

    def ask(self) -> None:
        """The strategy is asked now, or when the server's work is done."""
        if self.free_s > self.now_s:
            self.later(self.free_s, "wake", self.ask)
        else:
            self.step_due = True

    def step(self) -> None:
        """One decision."""
        arrived, self.arrived = self.arrived, []
        self.agenda = [entry for entry in self.agenda if entry[1] not in ("deadline", "back")]
        self.wait = self.strategy.step(self.state, self, arrived)
        self.step_due, self.lost = False, []
        self.free_s, self.charged_s = self.now_s + self.charged_s, 0.0
        self.steps += 1
        if self.wait.within is not None:
            self.later(self.free_s + self.wait.within, "deadline", self.ask)
        if self.over:
            self.later(self.free_s, "stop", lambda: self.finish(self.over))
        elif not self.tasks and self.wait.within is None:
            back_s = min(self.reachable_s(device) for device in range(self.devices))
            self.later(back_s, "back", self.ask)
            if back_s <= self.now_s:
                self.finish("stalled")

    def row(
        self, task: Task, outcome: str, cause: str = "", used_s: float = nan, weight: float = 0.0
    ) -> None:
        """The task's only row."""
        self.rows.append((task, outcome, cause, self.version, used_s, weight))


def after(t: float, amount: float, rate: float) -> float:
    """When so much has passed at this rate, from t on."""
    if amount <= 0.0:
        return t
    return t + amount / rate if rate > 0.0 else inf
