"""Implements `strategy.edges.Cloud`: the server of a run whose devices talk to edges."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from math import inf
from typing import Any

from simfl.clock.edges.edge import EdgeServer
from simfl.clock.edges.marks import EdgeRows, Mark
from simfl.clock.edges.pools import EdgePools
from simfl.clock.handed import no_weight
from simfl.clock.server import Server
from simfl.clock.versions import EdgeVersions
from simfl.errors import PluginError
from simfl.fleet.edges import Edges
from simfl.messages import FRAME_BYTES, Task, Update


class CloudServer(Server):
    """The cloud's model and versions. Tasks leave from edges, and come back to them.

    edges: one server for each.
    message_bytes: of a model on a link between the cloud and an edge, framing included.
    """

    __snapshot__: tuple[str, ...] = (*Server.__snapshot__, "edge_versions", "woken")

    def __init__(self, edges: Edges, model_bytes: int, rows: EdgeRows, *parts: Any) -> None:
        super().__init__(*parts)
        self.message_bytes = model_bytes + FRAME_BYTES
        self.rows = rows
        self.workload, self.streams = self._workload, self._streams
        self.versions: EdgeVersions = EdgeVersions()
        self.pool: Any = EdgePools(edges.of_device, len(edges), self.presence, self._draws)
        self.pools.freed = self._freed
        self.edges = [EdgeServer(self, k, link) for k, link in enumerate(edges.links)]
        self.edge_versions = 0  #: of all edges together
        self.woken: set[int] = set()  #: edges to which a device has come back
        self._plan = edges
        rows.newest = self.edges

    @property
    def pools(self) -> EdgePools:
        """The devices of each edge."""
        found: EdgePools = self.pool
        return found

    # For the strategy of the cloud.

    def sort(self, updates: Iterable[Update]) -> set[int]:
        """Hands what has come and what was lost to its edges; returns which of them it concerns."""
        concerned, self.woken = self.woken, set()
        for update in updates:
            edge = self._edge_of(update.device)
            edge.deliver(update)
            concerned.add(edge.number)
        for task in self.lost:
            self.let_go(task)
            edge = self._edge_of(task.device)
            edge.lost.append(task)
            concerned.add(edge.number)
        return concerned

    def merge(self, params: Any, shares: Sequence[float]) -> float:
        """The next version is this model, to which each edge's gave a share; when it is ready."""
        if self.over:
            return self.now_s
        if self.aggregate is not None:
            self._charged_s = self.aggregate(self.now_s, self._charged_s)
        used_s, ages, weights = self.now_s + self._charged_s, list[int](), list[float]()
        for edge, share in zip(self.edges, shares, strict=True):
            for serial, used in edge.merged().items():
                task, update = self._close(serial, "applied")
                weight, age = used.weight * share, self.version - task.version
                if not weight < inf:
                    raise no_weight(serial, weight)
                ages.append(age)
                weights.append(weight)
                self._ledger.close(
                    task, "applied", self.version + 1, age, used_s, used.drift, used.cosine,
                    weight, update.loss,
                )  # fmt: skip
        self.enter(params, ages, float(sum(weights)), used_s)
        return used_s

    # For the edges.

    def opened(self, chosen: list[int], epochs: Any, steps: Any, extras: Any) -> list[Task]:
        """New tasks of these devices, as `dispatch` takes them; they have not left yet."""
        works = zip(chosen, self._works(len(chosen), epochs, steps), strict=True)
        return [self._open_task(device, *work, extras or {}) for device, work in works]

    def lighten(self, serial: int, version: int) -> None:
        """The update has entered this version of its edge: what it brought is not needed again."""
        task, update = self.open[serial]
        self.rows.marks[serial].entered = version
        self.let_go(task)
        self.open[serial] = (task, replace(update, base=None, delta=None))

    def renew(self, task: Task) -> None:
        """The task, which has waited, leaves now with its edge's model."""
        self.let_go(task)
        task.version, task.dispatched_s = self.version, self.now_s
        self._give_model(task)

    def let_go(self, task: Task) -> None:
        """The task needs its base no longer, if it still did."""
        if task.base is not None:
            mark = self.rows.marks[task.serial]
            self.versions.release_at(mark.edge, mark.version)
            task.base = None

    def noted(self, params: Any, updates: list[Update]) -> None:
        """An edge has made a version of these updates, which is looked at as any other."""
        super().noted(params, updates)
        self.edge_versions += 1

    # As a server.

    def _open_task(self, device: int, epochs: Any, steps: Any, extras: Mapping[str, Any]) -> Task:
        task = super()._open_task(device, epochs, steps, extras)
        self._give_model(task)
        return task

    def _give_model(self, task: Task) -> None:
        """The task carries its edge's model, which is kept for it."""
        edge = self._edge_of(task.device)
        task.base = edge.params
        self.rows.marks[task.serial] = Mark(edge.number, edge.version)
        self.versions.hold_at(edge.number, edge.version, edge.params)

    def _freed(self, device: int) -> None:
        """The device's task has ended; a delivered one needs its base for some time yet."""
        task = self._edge_of(device).flying.pop(device)
        if task.outcome != "delivered":
            self.let_go(task)

    def discard(self, updates: Iterable[Update], cause: str) -> None:
        """Says that these updates will not be used, and why; they count as waste."""
        gone = list(updates)
        for update in gone:
            if update.task in self.open:
                self.let_go(self.open[update.task][0])
        super().discard(gone, cause)

    def look_again(self, device: int) -> bool:
        """A device has come back: its edge may wait for one."""
        self.woken.add(self.pools.edge_of(device))
        return True

    def may_move(self, device: int, cell: int) -> None:
        """Raises PluginError for a move to the cell of another edge."""
        own, other = self._edge_of(device), self._plan.by_cell.get(cell)
        if other is not None and other != own.number:
            raise PluginError(
                f"move: device {device} is under edge {own.name}, and the cell under edge "
                f"{self.edges[other].name}: devices stay with their edge"
            )

    def join(self, group: int) -> None:
        """The fleet has one more device, of this group, for which the workload has made room."""
        edge = self._plan.of_newcomer(group, self.devices)
        self.grow()
        self.pools.join(edge)

    def close(self) -> None:
        """The run has ended."""
        for edge in self.edges:
            edge.close(self.now_s)

    def _edge_of(self, device: int) -> EdgeServer:
        return self.edges[self.pools.edge_of(device)]

    def _draws(self, edge: int, block: int) -> Any:
        own = (edge,) if edge else ()
        return self.streams.generator("sampling", block, *own)
