"""The law of edges: who is under which, and how long its link takes for the model."""

from __future__ import annotations

import numpy as np

from simfl.engine.build import stated_sizes
from simfl.engine.verify.world import World
from simfl.fleet.edges import Edges
from simfl.messages import FRAME_BYTES
from simfl.params import Layout
from simfl.results.verify import Unchecked
from simfl.results.verify.subject import apart, first
from simfl.scenario import TimingOptions
from simfl.scenario.checks.edges import edges_in
from simfl.wire.chain import chain


def links(w: World) -> str | None:
    """Tasks leave from their device's edge, and models take the edge's link."""
    edges = edges_in(w.scenario)
    if edges is None:
        return None
    names = np.array(edges.names, dtype=object)
    seen = set(w.run.edges["edge"].astype(str))
    if seen != set(edges.names):
        return f"the edges are {', '.join(sorted(seen))}, the scenario has others"
    tasks = w.run.tasks
    own = names[_edge_of_devices(w, edges)[tasks["device"].to_numpy()]]
    strange = first(tasks, tasks["edge"].astype(str) != own, "a task of another edge's device")
    return strange or _took(w, edges)


def _edge_of_devices(w: World, edges: Edges) -> np.ndarray:
    """The edge of every device, newcomers behind the others."""
    newcomers = range(len(edges.of_device), len(edges.of_device) + len(w.joined))
    later = [edges.of_newcomer(g, i) for g, i in zip(w.joined, newcomers, strict=True)]
    return np.concatenate([edges.of_device, np.array(later, dtype=np.int32)])


def _took(w: World, edges: Edges) -> str | None:
    """Latency and bytes over the rate; of a model that was cut off, as much as had passed."""
    rows, nbytes = w.run.edges, _message_bytes(w)
    of = {name: link for name, link in zip(edges.names, edges.links, strict=True)}
    for up, way in ((True, "up"), (False, "down")):
        took_s, moved = rows[f"{way}_s"].to_numpy(), rows[f"{way}_bytes"].to_numpy()
        mine = [of[name] for name in rows["edge"].astype(str)]
        due_s = np.array([link.seconds(nbytes, up=up) for link in mine])
        passed = np.array([
            link.passed(nbytes, s, up=up) for link, s in zip(mine, took_s.tolist(), strict=True)
        ])  # fmt: skip
        whole, there = moved == nbytes, ~np.isnan(took_s)
        wrong = there & whole & apart(took_s, due_s)
        wrong |= there & ~whole & ((took_s >= due_s) | (np.abs(moved - passed) > 1.0))
        problem = first(rows, wrong, f"a model did not take on its way {way} what its bytes take")
        if problem:
            return problem
    return None


def _message_bytes(w: World) -> int:
    """Of a model between an edge and the cloud. Raises Unchecked."""
    layout: Layout
    if isinstance(w.scenario.learning, TimingOptions):
        layout = stated_sizes(w.scenario).layout
    elif w.run.params is not None:
        layout = w.run.params.layout
    else:
        raise Unchecked("there is no model, whose size would be known")
    return FRAME_BYTES + (chain(()).nbytes(layout) or 0)
