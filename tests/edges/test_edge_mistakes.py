"""Scenarios whose edges cannot be are refused, in one paragraph with the key and what would do."""

from __future__ import annotations

from typing import Any

import pytest
from edge_toys import timed

import simfl
from simfl.errors import PluginError, ScenarioError

ROUNDS = {"kind": "fedavg", "cohort": 2}
A, B = {"name": "north", "cells": ["a"]}, {"name": "south", "cells": ["b"]}

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no edges": (timed(ROUNDS), "strategy.kind = 'hierarchical' needs edges"),
    "a flat strategy": (
        {**timed(ROUNDS, A, B), "strategy": ROUNDS},
        "edge: the strategy fedavg asks devices itself",
    ),
    "an unknown cell": (
        timed(ROUNDS, {"name": "north", "cells": ["aa"]}),
        "edge.0.cells.0 = 'aa' is not the name of a [[network.cell]] (did you mean 'a'?",
    ),
    "an unknown group": (
        timed(ROUNDS, {"name": "north", "groups": ["bb"]}),
        "edge.0.groups.0 = 'bb' is not the name or the device class of a [[fleet.group]] (did you",
    ),
    "a cell twice": (
        timed(ROUNDS, A, {"name": "south", "cells": ["b", "a"]}),
        "edge.1.cells.1: cell 'a' is under edge 'north' already",
    ),
    "a group twice": (
        timed(ROUNDS, {"name": "north", "groups": ["a", "b"]}, {"name": "south", "groups": ["a"]}),
        "edge.1.groups.0: group 'a' is under edge 'north' already",
    ),
    "a device under two edges": (
        timed(ROUNDS, A, {"name": "south", "groups": ["a", "b"]}),
        "fleet.group.0: the group is named at edge 'south', and its cell 'a' at 'north'",
    ),
    "a device under none": (
        timed(ROUNDS, A),
        "fleet.group.1: 2 of its devices are under no edge",
    ),
    "two names": (timed(ROUNDS, A, {**B, "name": "north"}), "'north' is the name of another edge"),
    "two that take the rest": (
        timed(ROUNDS, {"name": "north"}, {"name": "south"}),
        "edge.1: edge 'north' takes all devices that are under no other",
    ),
    "an edge without devices": (
        timed(ROUNDS, {"name": "many", "count": 5}),
        "edge.0: there is no device for edge 'many-4'",
    ),
    "a cap on the server": (
        timed(ROUNDS, A, B, server={"down_mbps": 5.0}),
        "server.down_mbps is about what devices and server exchange",
    ),
    "too many at once": (
        timed({"kind": "fedbuff", "concurrency": 3}, A, B),
        "strategy.edge.concurrency = 3 is impossible concurrency: no edge has more than 2 devices",
    ),
    "edges of edges": (
        timed({"kind": "hierarchical", "edge": ROUNDS}, A, B),
        "Hierarchical cannot run at an edge",
    ),
    "tiers of the whole fleet": (timed({"kind": "fedat"}, A, B), "FedAt cannot run at an edge"),
    "an option that there is not": (
        timed({**ROUNDS, "cohrt": 2}, A, B),
        "strategy.edge.cohrt is not an option of fedavg (did you mean 'cohort'?",
    ),
    "an option of an edge that there is not": (
        timed(ROUNDS, {**A, "downmbps": 2.0}, B),
        "edge.0.downmbps is not an option of [edge] (did you mean 'down_mbps'?",
    ),
    "no strategy at the edges": (
        {**timed(ROUNDS, A, B), "strategy": {"kind": "hierarchical"}},
        "strategy.edge is missing",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_edges_that_cannot_be_are_refused(what: str) -> None:
    table, said = WRONG[what]
    with pytest.raises(ScenarioError) as refused:
        simfl.run(table)
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


class Prying:
    """Asks for a device under another edge."""

    local = simfl.LocalRule()

    def __init__(self, how: str) -> None:
        self.how = how

    def init(self, params: Any) -> None:
        return None

    def step(self, state: None, server: Any, updates: list[Any]) -> Any:
        others = [3 - device for device in server.candidates().tolist()]
        getattr(self, self.how)(server, others)
        return simfl.Wait()

    def sent(self, server: Any, others: list[int]) -> None:
        server.dispatch(others)

    def drawn(self, server: Any, others: list[int]) -> None:
        server.sample(1, among=others)

    def waits(self, server: Any, others: list[int]) -> None:
        return None


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("sent", r"dispatch was given device 3, which is not under edge north"),
        ("drawn", r"sample was given device 3, which is not under edge north"),
    ],
)
def test_a_strategy_that_reaches_beyond_its_edge_is_stopped(how: str, said: str) -> None:
    with pytest.raises(PluginError, match=said):
        simfl.run(timed(Prying(how), A, B))


def test_an_edge_that_sends_nothing_ends_the_run() -> None:
    with pytest.raises(simfl.errors.Stalled, match="Prying of edge north sent nothing"):
        simfl.run(timed(Prying("waits"), A, B))
