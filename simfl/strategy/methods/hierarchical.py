"""Edges between devices and cloud, each with a strategy of its own.

Liu, Zhang, Song and Letaief, "Client-edge-cloud hierarchical federated learning", ICC 2020, arXiv
1905.06641 (HierFAVG): devices make κ₁ steps between aggregations at their edge, and after every
κ₂ of these the cloud merges the edges' models:

    w = Σ_l (|D_l| / |D|) w_l,   D_l all examples of the devices under edge l,

which all edges, and by them all devices, go on from. Here κ₁ is the local work that the strategy
at the edges asks for (`steps` or `epochs`) and κ₂ is `k2`. The paper averages at the edges, with
all devices; any strategy may run there, on devices of the edge alone, with versions and staleness
of the edge. The paper's links take no part in its algorithm: here a model takes time on the edge's
link both ways, and the cloud waits for all edges. An edge whose model is on the way works no
further: what arrives meanwhile waits for its next step, and what it sends leaves with the cloud's
model. Where the link takes no time the cloud's model is there within the same step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from math import inf
from typing import Any, ClassVar, Literal

from simfl.errors import ScenarioError
from simfl.messages import Update
from simfl.strategy.base import Change, LocalRule, Strategy, Wait, checked_wait
from simfl.strategy.edges import Cloud, Edge
from simfl.units import Count


@dataclass(slots=True)
class AtEdge:
    """An edge between one model of the cloud and the next.

    inner: running state of its strategy, which asked to `wait`.
    place: where its model is: it "works", is on the link "up" or "down", or with the "cloud".
    since: the edge's version when it last had the cloud's model.
    due_s: when a model on the link is there.
    wake_s: when the strategy decides again, whatever has come; `sleeps`: if a device is present.
    free_s: when its charged work is done.
    next_s: when the edge is next looked at.
    """

    inner: Any
    wait: Wait = field(default_factory=Wait)
    place: Literal["works", "up", "cloud", "down"] = "down"
    since: int = 0
    due_s: float = inf
    wake_s: float = inf
    sleeps: bool = False
    free_s: float = 0.0
    next_s: float = inf


@dataclass(slots=True)
class HierarchicalState:
    """edges: by number, from the first step on.

    agenda: a heap of (when, edge); entries that are not the edge's `next_s` are void.
    look: a heap of the edges to look at in this step.
    reported: edges whose model the cloud has.
    free_s: when the cloud's charged work is done.
    """

    edges: list[AtEdge] = field(default_factory=list)
    agenda: list[tuple[float, int]] = field(default_factory=list)
    look: list[int] = field(default_factory=list)
    reported: int = 0
    free_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Hierarchical:
    """A strategy at each edge; the cloud merges the edges' models after every k2 versions.

    edge: the strategy that runs at every edge on the devices under it.
    k2: κ₂, versions of an edge between two models of the cloud.
    weights: of the edges: "examples" of their devices, or "uniform". One edge on a link that takes
        no time, with `k2 = 1`, is its strategy without edges.
    """

    reference: ClassVar[str] = "Liu et al., ICC 2020, arXiv 1905.06641"
    tiered: ClassVar[bool] = True  #: needs [[edge]]

    edge: Strategy
    k2: Count = 1
    weights: Literal["examples", "uniform"] = "examples"

    def __post_init__(self) -> None:
        why = getattr(self.edge, "unfit_for_edges", "")
        if getattr(self.edge, "tiered", False):
            why = "the devices of an edge have no further edges between them and it"
        if why:
            raise ScenarioError(f"edge: {type(self.edge).__name__} cannot run at an edge: {why}")

    @property
    def local(self) -> LocalRule:
        """How devices learn is the affair of their edge's strategy."""
        rule: LocalRule = getattr(self.edge, "local", LocalRule())
        return rule

    def check_learning(self, learning: Any) -> None:
        """As the strategy at the edges does."""
        check = getattr(self.edge, "check_learning", None)
        if check is not None:
            check(learning)

    def init(self, params: Any) -> HierarchicalState:
        return HierarchicalState()

    def step(self, state: HierarchicalState, cloud: Cloud, updates: list[Update]) -> Wait:
        if not state.edges:
            state.edges = [AtEdge(self.edge.init(cloud.params)) for _ in cloud.edges]
            self._send_down(state, cloud, cloud.now_s)
        for number in sorted(cloud.sort(updates)):
            heappush(state.look, number)
        while state.agenda and state.agenda[0][0] <= cloud.now_s:
            heappush(state.look, heappop(state.agenda)[1])
        while state.look:
            self._look(state, cloud, heappop(state.look))
        return _wait(state, cloud.now_s)

    def _look(self, state: HierarchicalState, cloud: Cloud, number: int) -> None:
        """Does what is due at an edge, and says when to look again."""
        at, edge, now_s = state.edges[number], cloud.edges[number], cloud.now_s
        if at.due_s <= now_s:
            self._arrive(state, cloud, number)
        if at.place == "works" and _is_met(at, edge):
            self._work(state, cloud, number)
            if at.due_s <= now_s:
                self._arrive(state, cloud, number)
        before_s, at.next_s = at.next_s, _next_s(at, now_s)
        if at.next_s < inf and (at.next_s != before_s or before_s <= now_s):
            heappush(state.agenda, (at.next_s, number))

    def _work(self, state: HierarchicalState, cloud: Cloud, number: int) -> None:
        """One step of the strategy at an edge."""
        at, edge = state.edges[number], cloud.edges[number]
        name = type(self.edge).__name__
        server: Any = _Reporting(edge, partial(self._made, state, cloud, number))
        wait = self.edge.step(at.inner, server, edge.begin_step())
        at.wait = checked_wait(wait, lambda: f"{name}.step of edge {edge.name}")
        at.wake_s, at.sleeps = inf, False
        at.free_s = edge.now_s + edge.end_step()
        if at.place == "up":
            at.due_s = edge.begin_passage(at.free_s, up=True)
        if at.wait.within is not None:
            at.wake_s = at.free_s + at.wait.within
        elif at.place == "works" and not edge.in_flight and not cloud.over:
            at.wake_s, at.sleeps = edge.back_s(), True
            if at.wake_s <= edge.now_s:
                raise edge.nothing_sent(name)

    def _made(self, state: HierarchicalState, cloud: Cloud, number: int) -> None:
        """An edge has made a version; after every k2 of them its model goes to the cloud."""
        at, edge = state.edges[number], cloud.edges[number]
        if at.place != "works" or edge.version - at.since < self.k2:
            return
        edge.hold()
        at.place, at.due_s = "up", edge.begin_passage(edge.free_s, up=True)
        if at.due_s <= edge.now_s and state.reported == len(state.edges) - 1:
            self._arrive(state, cloud, number)  # and the cloud has them all

    def _arrive(self, state: HierarchicalState, cloud: Cloud, number: int) -> None:
        """A model has passed an edge's link."""
        at, edge = state.edges[number], cloud.edges[number]
        edge.end_passage()
        at.due_s = inf
        if at.place == "down":
            at.place, at.since = "works", edge.version
            if not edge.in_flight:
                at.wake_s = edge.now_s
            return
        at.place = "cloud"
        state.reported += 1
        if state.reported == len(state.edges):
            self._merge(state, cloud)

    def _merge(self, state: HierarchicalState, cloud: Cloud) -> None:
        """The cloud's next version, which then goes down to all edges."""
        masses = [edge.mass if self.weights == "examples" else 1 for edge in cloud.edges]
        shares = [mass / sum(masses) for mass in masses]
        pairs = zip(cloud.edges, shares, strict=True)
        first, *others = [edge.params * share for edge, share in pairs]
        state.reported, state.free_s = 0, cloud.merge(sum(others, first), shares)
        if not cloud.over:
            self._send_down(state, cloud, state.free_s)

    def _send_down(self, state: HierarchicalState, cloud: Cloud, since_s: float) -> None:
        for number, (at, edge) in enumerate(zip(state.edges, cloud.edges, strict=True)):
            at.place, at.due_s = "down", edge.begin_passage(since_s, up=False)
            if at.due_s <= cloud.now_s:
                self._arrive(state, cloud, number)
            heappush(state.look, number)


class _Reporting:
    """An edge as its strategy sees it, with an ear for the versions that it makes."""

    def __init__(self, edge: Edge, made: Callable[[], None]) -> None:
        self._edge, self._made = edge, made

    def apply(self, change: Change) -> None:
        self._edge.apply(change)
        self._made()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._edge, name)


def _is_met(at: AtEdge, edge: Edge) -> bool:
    """Whether the strategy at the edge decides now: as for a server, its `Wait` has come true."""
    if edge.now_s < at.free_s:
        return False
    if at.sleeps:
        at.wake_s = edge.back_s()
    if edge.now_s >= at.wake_s:
        return True
    arrived, lost = len(edge.arrived), len(edge.lost)
    if not arrived + lost:
        return False
    arrivals, _, losses = at.wait
    enough = arrivals is not None and arrived >= arrivals
    return enough or not edge.in_flight or (losses is not None and lost >= losses)


def _next_s(at: AtEdge, now_s: float) -> float:
    """When something is due at the edge even if nothing arrives; inf: never."""
    if at.place != "works":
        return at.due_s
    return at.free_s if at.free_s > now_s else at.wake_s


def _wait(state: HierarchicalState, now_s: float) -> Wait:
    """Whatever ends, and whatever is due at an edge."""
    agenda = state.agenda
    while agenda and agenda[0][0] != state.edges[agenda[0][1]].next_s:
        heappop(agenda)
    if not agenda:
        return Wait(arrivals=1, losses=1)
    begins_s = max(now_s, state.free_s)  # a wait begins when the charged work is done
    return Wait(arrivals=1, within=max(0.0, agenda[0][0] - begins_s), losses=1)
