"""What holds at an instant: who is present, how fast devices work, what links carry.

Every question has the time in it and is answered from all there is. A process that changes the
world sets what the questions find; the engine asks anew at every instant.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Any

from simfl.fleet.presence.onoff import Poisson
from simfl.fleet.traces import load_trace
from simfl.scenario import Scenario
from simfl.scenario.checks.beside import trace_dirs
from simfl.streams import Streams
from simfl.units import MBPS

Spans = list[tuple[float, float]]
ALWAYS: Spans = [(-inf, inf)]


class World:
    """One scenario's fleet and network, up to its end. own, cells: when each is there.

    speeds, factors, left, set_rates, moved: what processes have set, of devices and (cell, up).
    """

    def __init__(self, scenario: Scenario, fleet: Any, streams: Streams) -> None:
        self.fleet, server, end_s = fleet, scenario.server, scenario.stop.after_s
        self.shared = server.sharing == "max-min"
        self.rates = [(server.down_mbps or inf) * MBPS, (server.up_mbps or inf) * MBPS]
        self.speeds, self.factors = dict[int, float](), dict[int, tuple[float, float]]()
        self.left, self.set_rates = set[int](), dict[tuple[int, bool], float]()
        self.moved = dict[int, int]()
        members = [(group, k) for group in scenario.fleet.group for k in range(group.count)]
        self.own = [
            _spans(group.presence, device, k, scenario, streams)
            for device, (group, k) in enumerate(members)
        ]
        self.cells = list[Spans]()
        for cell in (alike for alike in scenario.network.cell for _ in range(alike.count)):
            means = cell.outages and (cell.outages.mean_up_s, cell.outages.mean_down_s)
            turns = means and _turns(streams, "cell ", len(self.cells), *means, end_s)
            self.cells.append(turns or ALWAYS)

    def cell_of(self, device: int) -> int:
        """The number of the device's cell; -1 if it has none."""
        return self.moved.get(device, self.fleet.cells.of(device))

    def cell(self, device: int) -> Spans:
        """When the device's cell is up; always, if it has none."""
        number = self.cell_of(device)
        return self.cells[number] if number >= 0 else ALWAYS

    def present(self, device: int, t: float) -> bool:
        """The device is there itself and its cell is up."""
        spans = self.own[device], self.cell(device)
        return device not in self.left and all(inside(one, t) for one in spans)

    def back_after(self, device: int, t: float) -> float:
        """The first moment from t on at which the device is present."""
        edges = (t, *(edge for span in self.own[device] + self.cell(device) for edge in span))
        return min((s for s in edges if t <= s and self.present(device, s)), default=inf)

    def cap(self, device: int, up: bool, rate: float, t: float) -> float:
        """Bytes per second of a transfer that is alone, lost packets included. rate: its draw."""
        factor, _ = self.fleet.link.swing(device, t, up=up)
        own = self.factors.get(device, (1.0, 1.0))[up]
        return rate * factor * own / self.fleet.link.goodput(device)

    def pipes(self, flows: dict[int, int], up: bool, t: float) -> list[tuple[float, set[int]]]:
        """(capacity, flows) of the server and the cells. flows: serial -> device."""
        of, pipes = self.cell_of, [(self.rates[up], set(flows))]
        for cell in {of(device) for device in flows.values()} - {-1}:
            rate = self.set_rates.get((cell, up), self.fleet.cells.rate(cell, t, up=up)[0])
            pipes.append((rate, {s for s, device in flows.items() if of(device) == cell}))
        return [pipe for pipe in pipes if pipe[0] < inf] if self.shared else []

    def changes(self, devices: Iterable[int], t: float) -> float:
        """The next moment after t at which anything here may change for these devices."""
        moments = [inf]
        for device in devices:
            moments += [e for span in self.own[device] + self.cell(device) for e in span if e > t]
            moments += [self.fleet.link.swing(device, t, up=up)[1] for up in (False, True)]
            if (cell := self.cell_of(device)) >= 0:
                moments += [self.fleet.cells.rate(cell, t, up=up)[1] for up in (False, True)]
        return min(moments)


def inside(spans: Spans, t: float) -> bool:
    """Whether one of these spans holds the moment."""
    return any(start <= t < end for start, end in spans)


def _spans(options: Any, device: int, k: int, scenario: Scenario, streams: Streams) -> Spans:
    """Of the k-th device of a group: by chance, as recorded, or always."""
    end_s = scenario.stop.after_s
    if options.kind == "onoff":
        return _turns(streams, "", device, options.mean_on_s, options.mean_off_s, end_s)
    if options.kind == "always":
        return ALWAYS
    trace = load_trace(options.trace, "presence", trace_dirs(scenario))
    row = k % trace.about["devices"]
    period_s, columns = trace.periods_s()[row], (trace.columns[c] for c in ("start_s", "end_s"))
    spells = zip(*(column[trace.columns["device"] == row] for column in columns), strict=True)
    kept = [tuple(round(t * 1024) / 1024 for t in spell) for spell in spells]  # whole ticks
    bases = [n * period_s for n in range(int(end_s // period_s) + 1)] if period_s < inf else [0.0]
    return [(base + start_s, base + stop_s) for base in bases for start_s, stop_s in kept]


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
