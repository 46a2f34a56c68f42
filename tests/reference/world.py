"""What holds at an instant: who is present, how fast devices work, what links carry.

Every question has the time in it and is answered from all there is. A process that changes the
world alters what the questions find and puts its own next instant among the `changes`; the engine
asks anew at every instant, so nothing else has to know.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any

from simfl.fleet.presence.onoff import Poisson
from simfl.fleet.traces import load_trace
from simfl.scenario import Scenario
from simfl.scenario.checks import trace_dirs
from simfl.streams import Streams
from simfl.units import MBPS

Spans = list[tuple[float, float]]
ALWAYS: Spans = [(-inf, inf)]


class World:
    """One scenario's fleet and network, up to its end. own, cells: when each is there."""

    def __init__(self, scenario: Scenario, fleet: Any, streams: Streams) -> None:
        self.fleet, self.speeds, server = fleet, dict[int, float](), scenario.server
        self.shared = server.sharing == "max-min"
        self.rates = [(server.down_mbps or inf) * MBPS, (server.up_mbps or inf) * MBPS]
        self.factors, self.left = dict[int, tuple[float, float]](), set[int]()
        self.set_rates = dict[tuple[int, bool], float]()
        self.own, self.cells, end_s = list[Spans](), list[Spans](), scenario.stop.after_s
        for group in scenario.fleet.group:
            for k in range(group.count):
                self.own.append(_spans(group.presence, len(self.own), k, scenario, streams, end_s))
        for cell in (alike for alike in scenario.network.cell for _ in range(alike.count)):
            means = cell.outages and (cell.outages.mean_up_s, cell.outages.mean_down_s)
            turns = means and _turns(streams, "cell ", len(self.cells), *means, end_s)
            self.cells.append(turns or ALWAYS)

    def present(self, device: int, t: float) -> bool:
        """The device is there itself and its cell is up."""
        there = device not in self.left and _inside(self.own[device], t)
        return there and self.connected(device, t)

    def connected(self, device: int, t: float) -> bool:
        """The device's cell is up, if it has one."""
        cell = self.fleet.cells.of(device)
        return cell < 0 or _inside(self.cells[cell], t)

    def edges(self, device: int) -> Iterator[float]:
        """When the device or its cell comes or goes."""
        cell = self.fleet.cells.of(device)
        for spans in (self.own[device], self.cells[cell] if cell >= 0 else ALWAYS):
            for span in spans:
                yield from span

    def back_after(self, device: int, t: float) -> float:
        """The first moment from t on at which the device is present."""
        if self.present(device, t):
            return t
        later = (edge for edge in self.edges(device) if t < edge < inf)
        return min((edge for edge in later if self.present(device, edge)), default=inf)

    def speed(self, device: int, t: float) -> float:
        """Nominal seconds of training that pass in one second."""
        return self.speeds.get(device, 1.0)

    def cap(self, device: int, up: bool, rate: float, t: float) -> float:
        """Bytes per second of a transfer that is alone, lost packets included. rate: its draw."""
        factor, _ = self.fleet.link.swing(device, t, up=up)
        own = self.factors.get(device, (1.0, 1.0))[up]
        return rate * factor * own / self.fleet.link.goodput(device)

    def pipes(self, flows: dict[int, int], up: bool, t: float) -> list[tuple[float, set[int]]]:
        """(capacity, flows) of the server and the cells. flows: serial -> device."""
        if not self.shared or not flows:
            return []
        pipes = [(self.rates[up], set(flows))]
        for cell in {self.fleet.cells.of(device) for device in flows.values()} - {-1}:
            inside = {s for s, device in flows.items() if self.fleet.cells.of(device) == cell}
            own = self.set_rates.get((cell, up))
            rate = self.fleet.cells.rate(cell, t, up=up)[0] if own is None else own
            pipes.append((rate, inside))
        return [pipe for pipe in pipes if pipe[0] < inf]

    def changes(self, devices: set[int], t: float) -> float:
        """The next moment after t at which anything here may change for these devices."""
        moments = [edge for device in devices for edge in self.edges(device) if edge > t]
        for device in devices:
            cell = self.fleet.cells.of(device)
            for up in (False, True):
                moments.append(self.fleet.link.swing(device, t, up=up)[1])
                if cell >= 0:
                    moments.append(self.fleet.cells.rate(cell, t, up=up)[1])
        return min(moments, default=inf)


def _inside(spans: Spans, t: float) -> bool:
    return any(start <= t < end for start, end in spans)


def _spans(
    options: Any, device: int, k: int, scenario: Scenario, streams: Streams, end_s: float
) -> Spans:
    """Of the k-th device of a group: by chance, as recorded, or always."""
    if options.kind == "onoff":
        return _turns(streams, "", device, options.mean_on_s, options.mean_off_s, end_s)
    if options.kind == "always":
        return ALWAYS
    trace = load_trace(options.trace, "presence", trace_dirs(scenario))
    row, spans, base_s = k % trace.about["devices"], list[tuple[float, float]](), 0.0
    period_s = trace.periods_s()[row]
    while base_s <= end_s:
        for whose, *span in zip(
            *(trace.columns[c] for c in ("device", "start_s", "end_s")), strict=True
        ):
            if whose == row:  # times of traces are multiples of 1/1024 s
                start_s, stop_s = (base_s + round(t * 1024) / 1024 for t in span)
                spans.append((start_s, stop_s))
        base_s += period_s
    return spans


def _turns(
    streams: Streams, prefix: str, device: int, mean_on_s: float, mean_off_s: float, end_s: float
) -> Spans:
    """On from an arrival to the next departure, both at random, from long before 0 on."""
    points = []
    for purpose, mean_s in (("arrivals", mean_off_s), ("departures", mean_on_s)):
        process = Poisson(streams, prefix + purpose, mean_s)
        cells = range(-20, int(end_s // process._cell_s) + 2)
        points.append([t for cell in cells for t in process._draw(device, cell)])
    spans: Spans = []
    for t in points[0]:
        if not spans or t >= spans[-1][1]:
            spans.append((t, next((left for left in points[1] if left > t), inf)))
    return spans
