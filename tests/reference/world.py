"""What holds at an instant: who is present, how fast devices work, what links carry.

Every question has the time in it and is answered from all there is. A process that changes the
world alters what the questions find and puts its own next instant among the `changes`; the engine
asks anew at every instant, so nothing else has to know.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf, log, log2
from typing import Any

from simfl.fleet.traces import load_trace
from simfl.scenario import Scenario
from simfl.scenario.checks import trace_dirs
from simfl.streams import Streams
from simfl.units import MBPS

Spans = list[tuple[float, float]]
ALWAYS: Spans = [(-inf, inf)]


@dataclass
class World:
    """One scenario's fleet and network. own, cells: when each device and each cell is there."""

    fleet: Any
    shared: bool
    rates: tuple[float, float]  #: of the server, down and up
    own: list[Spans]
    cells: list[Spans]
    speeds: dict[int, float] = field(default_factory=dict)  #: of devices, where not 1

    def present(self, device: int, t: float) -> bool:
        """The device is there itself and its cell is up."""
        return _inside(self.own[device], t) and self.connected(device, t)

    def connected(self, device: int, t: float) -> bool:
        """The device's cell is up, if it has one."""
        cell = self.fleet.cells.of(device)
        return cell < 0 or _inside(self.cells[cell], t)

    def back_after(self, device: int, t: float) -> float:
        """The first moment from t on at which the device is present."""
        moments = [t, *(edge for edge in self.edges(device) if edge > t)]
        return min((each for each in moments if self.present(device, each)), default=inf)

    def edges(self, device: int) -> Iterator[float]:
        """When the device or its cell comes or goes."""
        cell = self.fleet.cells.of(device)
        for spans in (self.own[device], self.cells[cell] if cell >= 0 else ALWAYS):
            for span in spans:
                yield from span

    def speed(self, device: int, t: float) -> float:
        """Nominal seconds of training that pass in one second."""
        return self.speeds.get(device, 1.0)

    def cap(self, device: int, up: bool, rate: float, t: float) -> float:
        """Payload bytes per second of a transfer that is alone. rate: as drawn for its task."""
        return rate * self.fleet.link.swing(device, t, up=up)[0]

    def pipes(self, flows: dict[int, int], up: bool, t: float) -> list[tuple[float, set[int]]]:
        """(capacity, flows) of the server and the cells. flows: serial -> device."""
        if not self.shared:
            return []
        pipes = [(self.rates[up], set(flows))]
        for cell in range(len(self.cells)):
            inside = {s for s, device in flows.items() if self.fleet.cells.of(device) == cell}
            pipes.append((self.fleet.cells.rate(cell, t, up=up)[0], inside))
        return [pipe for pipe in pipes if pipe[0] < inf]

    def changes(self, devices: set[int], t: float) -> float:
        """The next moment after t at which anything here may change for these devices."""
        moments = [edge for device in devices for edge in self.edges(device) if edge > t]
        for up in (False, True):
            moments += [self.fleet.link.swing(device, t, up=up)[1] for device in devices]
            moments += [self.fleet.cells.rate(c, t, up=up)[1] for c in range(len(self.cells))]
        return min(moments, default=inf)


def world_of(scenario: Scenario, fleet: Any, streams: Streams) -> World:
    """The world of a scenario, up to its end."""
    end_s, own, first = scenario.stop.after_s or 0.0, [], 0
    for group in scenario.fleet.group:
        devices = range(first, first + group.count)
        own += _spans(group.presence, devices, scenario, streams, end_s)
        first = devices.stop
    cells = []
    for cell in scenario.network.cell:
        for _ in range(cell.count):
            means = cell.outages and (cell.outages.mean_up_s, cell.outages.mean_down_s)
            up = means and _turns(streams, "cell ", len(cells), *means, end_s)
            cells.append(up or ALWAYS)
    server = scenario.server
    rates = ((server.down_mbps or inf) * MBPS, (server.up_mbps or inf) * MBPS)
    return World(fleet, server.sharing == "max-min", rates, own, cells)


def _inside(spans: Spans, t: float) -> bool:
    return any(start <= t < end for start, end in spans)


def _spans(
    options: Any, devices: range, scenario: Scenario, streams: Streams, end_s: float
) -> list[Spans]:
    if options.kind == "onoff":
        means = options.mean_on_s, options.mean_off_s
        return [_turns(streams, "", device, *means, end_s) for device in devices]
    if options.kind == "trace":
        trace = load_trace(options.trace, "presence", trace_dirs(scenario))
        return [_recorded(trace, k % trace.about["devices"], end_s) for k in range(len(devices))]
    assert options.kind == "always"
    return [ALWAYS for _ in devices]


def _recorded(trace: Any, row: int, end_s: float) -> Spans:
    """The rows of one recorded device, as often as they repeat before the end."""
    columns, period_s = trace.columns, round(trace.periods_s()[row] * 1024) / 1024 \
        if trace.periods_s()[row] < inf else inf
    rows = [k for k, device in enumerate(columns["device"]) if device == row]
    spans, base_s = [], 0.0
    while base_s <= end_s:
        for k in rows:
            start, end = (round(columns[name][k] * 1024) / 1024 for name in ("start_s", "end_s"))
            spans.append((base_s + start, base_s + end))
        base_s += period_s
    return spans


def _turns(
    streams: Streams, prefix: str, device: int, mean_on_s: float, mean_off_s: float, end_s: float
) -> Spans:
    """On from an arrival to the next departure, the last event before 0 included."""
    arrivals = _points(streams, f"{prefix}arrivals", device, mean_off_s, end_s)
    departures = _points(streams, f"{prefix}departures", device, mean_on_s, end_s)
    spans: Spans = []
    for t in arrivals:
        if not spans or t >= spans[-1][1]:
            spans.append((t, next((left for left in departures if left > t), inf)))
    return spans


def _points(
    streams: Streams, purpose: str, device: int, mean_s: float, end_s: float
) -> list[float]:
    """A Poisson process from long before 0 to after the end, block by block of draws."""
    cell_s, points = 2.0 ** round(log2(2.0 * mean_s)), []
    for cell in range(-20, int(end_s // cell_s) + 2):
        t, block = cell * cell_s, 0
        while t < (cell + 1) * cell_s:
            for u in streams.uniforms(purpose, device, cell * 256 + block):
                t -= mean_s * log(u)
                if t >= (cell + 1) * cell_s:
                    break
                points.append(t)
            block += 1
    return points
