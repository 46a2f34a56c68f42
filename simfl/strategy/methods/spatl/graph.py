"""The two-level graph by which the agent sees a network.

Level 1, one graph for each convolution: source → every input channel → its second stage → sink.
Level 2, the whole network: every convolution lies as parallel filters between a node and a join,
followed by its norm or activation; shortcuts are edges. Edges into filters carry what level 1
says of their layer, the others a fixed vector of their type.

Node features are drawn once, so that a state is a function of the widths that are left: the
graph of a thinner network is the full one without the nodes of the missing channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from simfl.lazy import torch
from simfl.structure import ModelStructure

if TYPE_CHECKING:
    from torch import Tensor

FEATURES = 20  #: entries of a node's or an edge's vector
CONCAT, NORM, RELU, IDENTITY, RESIZED, LINEAR = range(6)
_SEED = 2102  # of the features, the same on every device


@dataclass(frozen=True, eq=False)
class Graph:
    """Some graphs side by side.

    x: (n, 20) features of the nodes.
    ends: (2, m) from, to.
    member: (n,) whose node it is.
    kind: (m,) what an edge is: below L the layer it leads into, above a type; none in level 1.
    """

    x: Tensor
    ends: Tensor
    member: Tensor
    count: int
    kind: Tensor


@dataclass(frozen=True, eq=False)
class State:
    """A network with so many channels left in each layer."""

    layers: Graph  #: level 1, `count` of them
    net: Graph  #: level 2, one


@dataclass(frozen=True, eq=False)
class _Level:
    """A graph of the full widths. A node is there while its layer has more than `rank` channels."""

    x: Tensor
    ends: Tensor
    kind: Tensor
    member: Tensor
    layer: Tensor  #: (n,) whose channels the node is one of
    rank: Tensor  #: (n,) its place among them; -1: it is always there

    def thinned(self, widths: Tensor, count: int) -> Graph:
        """The nodes that are there with these widths, and the edges between them."""
        alive = self.rank < widths[self.layer]
        place = alive.cumsum(0) - 1
        kept = alive[self.ends].all(0)
        ends = place[self.ends[:, kept]]
        return Graph(self.x[alive], ends, self.member[alive], count, self.kind[kept])


class Blueprint:
    """Makes the graph of a network from the keep ratios of its layers."""

    def __init__(self, structure: ModelStructure) -> None:
        self.count = len(structure.convs)
        self._inputs = np.array([conv.inputs for conv in structure.convs])
        self._outputs = np.array([conv.outputs for conv in structure.convs])
        self._layers = _first_level(structure)
        self._net = _second_level(structure)

    def state(self, ratios: np.ndarray) -> State:
        """The network when every layer keeps this share of its filters, rounded down."""
        before = np.concatenate(([1.0], ratios[:-1]))
        inputs, outputs = (
            torch.from_numpy(np.maximum(1, np.floor(width * share + 1e-9).astype(np.int64)))
            for width, share in ((self._inputs, before), (self._outputs, ratios))
        )
        return State(self._layers.thinned(inputs, self.count), self._net.thinned(outputs, 1))


@cache
def blueprint(structure: ModelStructure) -> Blueprint:
    """The blueprint of a network, made once."""
    return Blueprint(structure)


def side_by_side(graphs: Sequence[Graph], layers: int) -> Graph:
    """Many graphs as one. layers: L, by which kinds below L move on from graph to graph."""
    nodes = np.cumsum([0, *(len(graph.x) for graph in graphs)]).tolist()
    members = np.cumsum([0, *(graph.count for graph in graphs)]).tolist()
    kinds = [
        torch.where(g.kind < layers, g.kind + i * layers, g.kind + (len(graphs) - 1) * layers)
        for i, g in enumerate(graphs)
    ]
    return Graph(
        torch.cat([g.x for g in graphs]),
        torch.cat([g.ends + nodes[i] for i, g in enumerate(graphs)], 1),
        torch.cat([g.member + members[i] for i, g in enumerate(graphs)]),
        members[-1],
        torch.cat(kinds),
    )


def _features(n: int, seed: int) -> Tensor:
    return torch.randn(n, FEATURES, generator=torch.Generator().manual_seed(_SEED + seed))


def _level(
    nodes: list[tuple[int, int, int]], edges: list[tuple[int, int, int]], seed: int
) -> _Level:
    """A level of one graph.

    nodes: (member, layer, rank).
    edges: (from, to, kind).
    """
    member, layer, rank = torch.tensor(nodes).T
    links = torch.tensor(edges).T
    return _Level(_features(len(nodes), seed), links[:2], links[2], member, layer, rank)


def _first_level(structure: ModelStructure) -> _Level:
    nodes: list[tuple[int, int, int]] = []
    edges: list[tuple[int, int, int]] = []
    for at, conv in enumerate(structure.convs):
        source, sink, first = len(nodes), len(nodes) + 1, len(nodes) + 2
        nodes += [(at, at, -1), (at, at, -1)]
        for j in range(conv.inputs):
            nodes += [(at, at, j), (at, at, j)]
            one, two = first + 2 * j, first + 2 * j + 1
            edges += [(source, one, 0), (one, two, 0), (two, sink, 0)]
    return _level(nodes, edges, 1)


def _second_level(structure: ModelStructure) -> _Level:
    count = len(structure.convs)
    nodes, edges, passed = [(0, 0, -1)], [], [0]  # passed[l]: the node before layer l
    for at, conv in enumerate(structure.convs):
        here, first = passed[-1], len(nodes)
        join, after = first + conv.outputs, first + conv.outputs + 1
        nodes += [(0, at, f) for f in range(conv.outputs)] + [(0, at, -1)] * 2
        for filter_ in range(first, join):
            edges += [(here, filter_, at), (filter_, join, count + CONCAT)]
        edges.append((join, after, count + (NORM if conv.normed else RELU)))
        passed.append(after)
    for way in structure.shortcuts:
        kind = count + (RESIZED if way.resized else IDENTITY)
        edges.append((passed[way.first], passed[way.last + 1], kind))
    if structure.shortcuts:
        nodes.append((0, 0, -1))
        edges.append((passed[-1], len(nodes) - 1, count + LINEAR))
    return _level(nodes, edges, 2)


@cache
def types() -> Tensor:
    """(6, 20) fixed vectors of the edges' types."""
    return _features(6, 3)
