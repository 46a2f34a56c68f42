"""Edges in words, for `simfl explain`."""

from __future__ import annotations

import numpy as np

from simfl.fleet.edges import EdgeOptions, edges_of
from simfl.results import formatting
from simfl.scenario import Scenario
from simfl.scenario.parts import kind_of


def explained(scenario: Scenario) -> str:
    """Who is under them, their links, and what runs there; empty without edges."""
    if not scenario.edge:
        return ""
    edges = edges_of(scenario.edge, scenario.fleet.group, scenario.network.cell)
    sizes = np.bincount(edges.of_device, minlength=len(edges)).tolist()
    parts, first = [], 0
    for edge in scenario.edge:
        parts.append(_edge(edge, sizes[first : first + edge.count]))
        first += edge.count
    return "; ".join(parts) + _strategy(scenario)


def _edge(edge: EdgeOptions, sizes: list[int]) -> str:
    least, most = min(sizes), max(sizes)
    devices = f"{most} devices" if least == most else f"{least} to {most} devices"
    parts = [devices + (" each" if edge.count > 1 else "")]
    rates = [
        f"{way} {mbps:g} Mbit/s" for way in ("down", "up") if (mbps := getattr(edge, f"{way}_mbps"))
    ]
    parts += rates or ["the cloud at once"]
    parts += [f"latency {formatting.seconds(edge.latency_s)}"] * bool(edge.latency_s)
    count = f"{edge.count} x " if edge.count > 1 else ""
    return f"{count}{edge.name} ({', '.join(parts)})"


def _strategy(scenario: Scenario) -> str:
    inner, k2 = (getattr(scenario.strategy, name, None) for name in ("edge", "k2"))
    if inner is None or k2 is None:
        return ""
    merged = "every version" if k2 == 1 else f"every {k2} versions"
    return f"; {kind_of(type(inner))} at each, merged by the cloud after {merged} of theirs"
