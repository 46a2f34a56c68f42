"""Implements `strategy.edges.Edge`: one edge, as a strategy sees a server, on the cloud's parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from simfl.clock.edges.marks import EdgeVersion
from simfl.clock.handed import a_charge, no_change, no_weight, whole
from simfl.clock.watchdog import nothing_sent
from simfl.errors import PluginError
from simfl.fleet.edges import EdgeLink
from simfl.messages import Task, Update
from simfl.strategy.base import Change

if TYPE_CHECKING:
    from simfl.clock.edges.cloud import CloudServer


@dataclass(slots=True)
class Used:
    """What an update has given to its edge's model."""

    weight: float
    drift: float
    cosine: float


@dataclass(slots=True)
class Passage:
    """A model on the link with the cloud."""

    up: bool
    since_s: float
    due_s: float


class EdgeServer:
    """A model, versions and tasks of its own, for the devices under one edge.

    number: of the edge; the first has the random draws of a server without edges.
    """

    __snapshot__ = (
        *("version", "params", "steps", "arrived", "lost", "flying", "used", "row"),
        *("_open", "_held", "_holds", "_charged_s", "_passage"),
    )  #: kept by checkpoints

    def __init__(self, cloud: CloudServer, number: int, link: EdgeLink) -> None:
        self.cloud, self.number, self.link = cloud, number, link
        self.name = link.name
        self.version = 0
        self.params = cloud.params
        self.steps = 0
        self.arrived: list[Update] = []  #: since the last step
        self.lost: list[Task] = []
        self.flying: dict[int, Task] = {}  #: in flight, by device
        self.used: dict[int, Used] = {}  #: that have not reached the cloud's model, by serial
        self.row = EdgeVersion(self.name, 0, 0.0, cloud_version=0)
        self._open: dict[int, Update] = {}  # delivered, neither applied nor discarded
        self._held: list[Task] = []  # dispatched while the edge had no model to send
        self._holds = False
        self._charged_s = 0.0
        self._passage: Passage | None = None

    def __repr__(self) -> str:
        return f"<edge {self.name}, version {self.version}>"

    # As a strategy sees a server.

    @property
    def now_s(self) -> float:
        return self.cloud.now_s

    @property
    def in_flight(self) -> int:
        return len(self.flying)

    @property
    def devices(self) -> int:
        """How many there are under the edge."""
        return len(self.cloud.pools.members[self.number])

    @property
    def examples(self) -> np.ndarray:
        """(devices,) int64, of the whole fleet: devices keep their numbers at an edge."""
        return self.cloud.examples

    @property
    def fleet(self) -> Any:
        """Columns of the whole fleet."""
        return self.cloud.fleet

    @property
    def learning(self) -> Any:
        """Facts of local training; None where the server has none."""
        return self.cloud.learning

    @property
    def flops_per_s(self) -> float:
        """An edge computes as fast as the cloud."""
        return self.cloud.flops_per_s

    def sample(self, n: int, among: Sequence[int] | None = None) -> list[int]:
        """Up to n distinct devices, uniform among those under the edge that are idle and there."""
        among = None if among is None else [self._known(device, "sample") for device in among]
        return self.cloud.pools.sample_at(self.number, whole(n), self.now_s, among)

    def candidates(self) -> np.ndarray:
        """All devices under the edge that are idle and present now, ascending."""
        return self.cloud.pools.candidates_at(self.number, self.now_s)

    def dispatch(
        self,
        devices: Iterable[int],
        *,
        epochs: float | Sequence[float] | None = None,
        steps: int | Sequence[int] | None = None,
        extras: Mapping[str, Any] | None = None,
    ) -> list[int]:
        """Sends the edge's model to devices, or holds the tasks until there is one to send."""
        chosen = [self._known(device, "dispatch") for device in devices]
        if self.cloud.over:
            return self.cloud.never(len(chosen))
        tasks = self.cloud.opened(chosen, epochs, steps, extras)
        self.flying.update((task.device, task) for task in tasks)
        if self._holds:
            self._held += tasks
        else:
            self.cloud.send(tasks, self._charged_s)
        return [task.serial for task in tasks]

    def apply(self, change: Change) -> None:
        """Adds a change to the edge's model and makes the edge's next version."""
        if not isinstance(change, Change):
            raise no_change(change)
        if self.cloud.over:
            return
        version, params, workload = self.version, self.params, self.cloud.workload
        updates = [self._use(serial, weight) for serial, weight in change.weights.items()]
        ages = [version - update.version for update in updates]
        params = workload.applied(params, change, updates)
        self.cloud.noted(params, updates)
        self.params, self.version = params, version + 1
        self._put_row(ages, float(sum(change.weights.values())))

    def discard(self, updates: Iterable[Update], cause: str) -> None:
        """Says that these updates will not be used, and why; they count as waste."""
        gone = list(updates)
        for update in gone:
            self._taken(update.task, "discarded")
        self.cloud.discard(gone, cause)

    def cancel(self, devices: Iterable[int] | None = None, cause: str = "cancelled") -> None:
        """Ends the tasks of these devices (default: all in flight) at once."""
        mine = list(self.flying) if devices is None else [self._known(d, "cancel") for d in devices]
        self.cloud.cancel(mine, cause)

    def request_partial(self, devices: Iterable[int]) -> None:
        """Tells these devices to end training with the mini-batch at hand and send what is done."""
        self.cloud.request_partial([self._known(d, "request_partial") for d in devices])

    def charge(self, flops: float = 0.0, seconds: float = 0.0) -> None:
        """Work of the edge: what this step sends or applies takes effect when it is done."""
        self._charged_s += a_charge(flops, seconds, self.flops_per_s)

    def generator(self, purpose: str) -> np.random.Generator:
        """A random generator for this step of the edge's strategy and this purpose."""
        own = (self.number,) if self.number else ()
        return self.cloud.streams.generator(f"step {purpose}", self.steps, *own)

    # For the strategy of the cloud.

    def begin_step(self) -> list[Update]:
        """What has arrived since the last step."""
        arrived, self.arrived = self.arrived, []
        return arrived

    def end_step(self) -> float:
        """Closes the books of a step; returns the seconds that it charged."""
        charged_s, self._charged_s = self._charged_s, 0.0
        self.lost = []
        self.steps += 1
        return charged_s

    def hold(self) -> None:
        """Tasks that are dispatched from now on wait for a model."""
        self._holds = True

    def begin_passage(self, since_s: float, *, up: bool) -> float:
        """The edge's model leaves for the cloud, or the cloud's for the edge; when it is there."""
        due_s = since_s + self.link.seconds(self.cloud.message_bytes, up=up)
        self._passage = Passage(up, since_s, due_s)
        return due_s

    def end_passage(self) -> None:
        """The model is there: an edge has the cloud's from now on, and what waited leaves."""
        self._book_passage(self.now_s)
        passage, self._passage = self._passage, None
        if passage is None or passage.up:
            return
        self.params, self._holds = self.cloud.params, False
        tasks = [task for task in self._held if self.flying.get(task.device) is task]
        self._held = []
        for task in tasks:
            self.cloud.renew(task)
        self.cloud.send(tasks, 0.0)

    def back_s(self) -> float:
        """When the first device under the edge is present: now, later, or never (inf). A scan."""
        presence, now_s = self.cloud.presence, self.now_s
        members = self.cloud.pools.members[self.number]
        if presence.always or presence.mask(now_s)[np.array(members)].any():
            return now_s
        return min((presence.on_after(device, now_s) for device in members), default=inf)

    def nothing_sent(self, strategy: str) -> Exception:
        """What to raise where a step sent nothing although devices are present."""
        return nothing_sent(f"{strategy} of edge {self.name}", self.now_s)

    @property
    def free_s(self) -> float:
        """Now, or when what this step has charged is done."""
        return self.now_s + self._charged_s

    @property
    def mass(self) -> int:
        """Examples that the devices under the edge hold."""
        members = self.cloud.pools.members[self.number]
        mine = [device for device in members if self.cloud.is_member(device)]
        return int(self.cloud.examples[np.array(mine, dtype=np.int64)].sum())

    # For the cloud.

    def deliver(self, update: Update) -> None:
        """An update has arrived, which the edge's strategy sees in versions of the edge."""
        version = self.cloud.rows.marks[update.task].version
        mine = replace(update, version=version, server=self)
        self._open[update.task] = mine
        self.arrived.append(mine)

    def merged(self) -> dict[int, Used]:
        """What has entered the cloud's model with this edge's."""
        used, self.used = self.used, {}
        self.row.cloud_version = self.cloud.version + 1
        return used

    def close(self, now_s: float) -> None:
        """The run ends: what is on the link is charged pro rata, and the last row written."""
        self._book_passage(now_s)
        self.cloud.rows.put(self.row)

    def _book_passage(self, now_s: float) -> None:
        passage, nbytes = self._passage, self.cloud.message_bytes
        if passage is None:
            return
        spent_s = max(0.0, min(now_s, passage.due_s) - passage.since_s)
        whole_way = now_s >= passage.due_s
        passed = nbytes if whole_way else round(self.link.passed(nbytes, spent_s, up=passage.up))
        if passage.up:
            self.row.up_bytes, self.row.up_s = passed, spent_s
        else:
            self.row.down_bytes, self.row.down_s = passed, spent_s

    def _use(self, serial: int, weight: float) -> Update:
        """The update enters the edge's next version with this weight."""
        update = self._taken(serial, "applied")
        if not 0.0 <= weight < inf:
            raise no_weight(serial, weight)
        drift, cosine = self.cloud.workload.measure(update, self.params)
        self.used[serial] = Used(weight, drift, cosine)
        self.cloud.lighten(serial, self.version + 1)
        return update

    def _taken(self, serial: int, how: str) -> Update:
        update = self._open.pop(serial, None)
        if update is None:
            raise PluginError(
                f"the update of task {serial} was {how} at edge {self.name}, but it is not there "
                "to be used"
            )
        return update

    def _put_row(self, ages: list[int], weight_sum: float) -> None:
        self.cloud.rows.put(self.row)
        self.row = EdgeVersion(
            self.name,
            self.version,
            self.free_s,
            len(ages),
            sum(ages) / len(ages) if ages else float("nan"),
            max(ages, default=None),
            weight_sum,
            self._charged_s,
        )

    def _known(self, device: Any, method: str) -> int:
        number = self.cloud.known(device, method)
        if self.cloud.pools.edge_of(number) != self.number:
            raise PluginError(
                f"{method} was given device {number}, which is not under edge {self.name}"
            )
        return number
