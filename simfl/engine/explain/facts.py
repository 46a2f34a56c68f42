"""The sentences of `simfl explain`: one for each thing that a scenario settles."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import numpy as np

from simfl.clock.workload import TimingOnly
from simfl.engine import footprint
from simfl.fleet.build import unused
from simfl.fleet.columns import Fleet
from simfl.fleet.edges import EdgeOptions, edges_of
from simfl.fleet.network.cells import CellOptions
from simfl.learn.loops.base import called
from simfl.messages import FRAME_BYTES
from simfl.results import formatting
from simfl.scenario import Scenario, TimingOptions
from simfl.scenario.checks.edges import worked_for
from simfl.scenario.parts import kind_of, plain
from simfl.wire.codec import StatefulCodec
from simfl.world import PROCESSES
from simfl.world.base import kind_of as process_kind

if TYPE_CHECKING:
    from simfl.engine.workload import Learning


def asked(scenario: Scenario) -> tuple[float | None, int | None]:
    """Epochs and steps that the strategy's options ask for; one epoch if they do not say."""
    strategy = worked_for(scenario)[1]
    steps, epochs = (getattr(strategy, name, None) for name in ("steps", "epochs"))
    return (None, steps) if steps is not None else (1.0 if epochs is None else epochs, None)


def learning(scenario: Scenario, load: TimingOnly) -> str:
    """The data set, the model, and how many examples devices have."""
    sizes, learning = load.examples, scenario.learning
    spread = f"{sizes.min()} to {sizes.max()} examples a device (median {np.median(sizes):g})"
    if isinstance(learning, TimingOptions):
        return f"nothing, timing only; {spread}"
    parts = (learning.dataset, learning.model, learning.partition)
    dataset, model, partition = (plain(part)["kind"] for part in parts)
    return f"{dataset} by {model}; {partition} partition: {spread}"


def task(scenario: Scenario, steps: np.ndarray, flops: np.ndarray) -> str:
    """How many steps and FLOP a task has."""
    epochs, fixed = asked(scenario)
    amount = f"{fixed} steps" if fixed is not None else f"{epochs:g} epoch(s)"
    batch = scenario.learning.batch_size
    median = formatting.number(float(np.median(steps)))
    cost = formatting.amount(float(np.median(flops)), "FLOP")
    own = getattr(scenario.learning, "train", None)
    other = f", unless {called(own)} reports others" * (own is not None)
    return f"{amount} in batches of {batch}: in the median {median} steps and {cost}{other}"


def sent(load: TimingOnly, bare: TimingOnly) -> str:
    """Bytes of a message down and up."""
    parts = []
    for way in ("down", "up"):
        now, before = (getattr(one, f"{way}_bytes") for one in (load, bare))
        saved = f" ({formatting.share(now / before)} of dense)" if now != before else ""
        parts.append(f"{formatting.amount(now + FRAME_BYTES, 'B')} {way}{saved}")
    return ", ".join(parts) + ", framing included, extras not"


def _concurrency(scenario: Scenario) -> tuple[str, int] | None:
    """The option that says how many devices work at once, if there is one, and how many at most."""
    strategy, servers = worked_for(scenario)[1], sum(edge.count for edge in scenario.edge) or 1
    found = {name: getattr(strategy, name, None) for name in ("concurrency", "cohort")}
    return next(((name, n * servers) for name, n in found.items() if isinstance(n, int)), None)


def at_once(scenario: Scenario) -> str:
    """How many devices work at a time."""
    found = _concurrency(scenario)
    if found is None:
        return f"as the strategy decides; there are {scenario.fleet.devices} devices"
    name, n = found
    servers = sum(edge.count for edge in scenario.edge)
    each = f"{name} = {n // servers} at each of {servers} edge(s)" if servers else f"{name} = {n}"
    return f"{each} of {scenario.fleet.devices} devices"


def server(scenario: Scenario) -> str:
    """What transfers share."""
    server = scenario.server
    if server.sharing == "none":
        return "every transfer has its device's own rate"
    caps = [(way, getattr(server, f"{way}_mbps")) for way in ("down", "up")]
    parts = [f"{way} {mbps:g} Mbit/s" for way, mbps in caps if mbps is not None]
    what = " and ".join(parts) or ("their cells" if scenario.network.cell else "no cap")
    return f"transfers share {what} by max-min fairness"


def beyond(scenario: Scenario, fleet: Fleet) -> dict[str, str]:
    """What not every scenario has: loops of a deployment, cells, settings without effect."""
    cells = scenario.network.cell
    idle = unused(scenario.fleet.group, cells, fleet)
    deployment = getattr(scenario.strategy, "deployment", None)
    extras = {
        "deployment": "" if deployment is None else deployment.facts(),
        "processes": ", ".join(PROCESSES.name_of(process_kind(one)) for one in scenario.process),
        "edges": _edges(scenario),
        "cells": "; ".join(map(_cell, cells)),
        "without effect": "; ".join(idle),
    }
    return {subject: text for subject, text in extras.items() if text}


def _edges(scenario: Scenario) -> str:
    """Who is under them, their links, and what runs there; empty without edges."""
    if not scenario.edge:
        return ""
    edges = edges_of(scenario.edge, scenario.fleet.group, scenario.network.cell)
    sizes = np.bincount(edges.of_device, minlength=len(edges)).tolist()
    parts, first = [], 0
    for edge in scenario.edge:
        parts.append(_edge(edge, sizes[first : first + edge.count]))
        first += edge.count
    return "; ".join(parts) + _at_edges(scenario)


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


def _at_edges(scenario: Scenario) -> str:
    inner, k2 = (getattr(scenario.strategy, name, None) for name in ("edge", "k2"))
    if inner is None or k2 is None:
        return ""
    merged = "every version" if k2 == 1 else f"every {k2} versions"
    return f"; {kind_of(type(inner))} at each, merged by the cloud after {merged} of theirs"


def _cell(cell: CellOptions) -> str:
    parts = [
        f"{way} {mbps:g} Mbit/s" for way in ("down", "up") if (mbps := getattr(cell, f"{way}_mbps"))
    ]
    parts += [f"as the trace {cell.trace} moves"] if cell.trace else []
    if cell.outages:
        up, down = (
            formatting.seconds(s) for s in (cell.outages.mean_up_s, cell.outages.mean_down_s)
        )
        parts.append(f"down for {down} after {up} on average")
    return f"{cell.count} x {cell.name}" + (f" ({', '.join(parts)})" if parts else "")


def faults(scenario: Scenario) -> str:
    """Faults of each group."""
    parts = []
    for i, group in enumerate(scenario.fleet.group):
        faults = group.faults.model_dump(exclude_defaults=True)
        if group.presence.kind != "always":
            faults["on_offline"] = group.faults.on_offline
        if faults:
            listed = ", ".join(f"{key} = {value}" for key, value in faults.items())
            parts.append(f"{group.name or group.device or f'group {i}'}: {listed}")
    return "; ".join(parts) or "none"


def evaluated(scenario: Scenario) -> str:
    """When the model is evaluated."""
    evaluate = scenario.evaluate
    parts = ["at the start"] if evaluate.at_start else []
    if evaluate.every_s is not None:
        parts.append(f"every {formatting.seconds(evaluate.every_s)}")
    if evaluate.every_versions is not None:
        parts.append(f"every {evaluate.every_versions} version(s)")
    return ", ".join([*parts, "at the end"])


def ends(scenario: Scenario) -> str:
    """When the run ends."""
    stop, parts = scenario.stop, []
    if stop.after_s is not None:
        parts.append(f"after {formatting.seconds(stop.after_s)}")
    parts += [f"after {n} {word}" for word in ("versions", "updates") if (n := getattr(stop, word))]
    if stop.target is not None:
        parts += [f"at {metric} {value:g}" for metric, value in stop.target.wanted.items()]
    if stop.wall_s is not None:
        parts.append(f"after {formatting.seconds(stop.wall_s)} of computing")
    return ", or ".join(parts)


def memory(scenario: Scenario, bare: TimingOnly, trainer: Learning) -> str:
    """The total and a verdict; memories of codecs are counted, those of strategies are not."""
    from simfl.engine.overflow import LEAST_BYTES, budget_of

    devices = scenario.fleet.devices
    found = _concurrency(scenario)
    at_once = devices if found is None else min(found[1], devices)
    codecs = [*scenario.wire.down, *scenario.wire.up]
    remembering = devices if any(isinstance(one, StatefulCodec) for one in codecs) else 0
    tasks = min(at_once, trainer.trainer.width)
    waiting = (at_once + 1) * (2 if scenario.wire.down else 1)  # as it was sent, as it arrived
    budget = budget_of(None) if bare.down_bytes >= LEAST_BYTES else inf
    parts = footprint.parts_of(bare.down_bytes, waiting, tasks, remembering, budget)
    moved = max(0.0, waiting * bare.down_bytes - budget)
    total = footprint.in_words(parts, footprint.machine_bytes(), moved)
    worker = footprint.PROCESS_BYTES + tasks * footprint.PER_TASK * bare.down_bytes
    return (
        f"{total}; each of --workers {formatting.amount(worker, 'B')} more; without what a "
        "strategy remembers of each device"
    )


def held(scenario: Scenario, bare: TimingOnly, trainer: Learning | None) -> str:
    """How many versions of the model are in memory."""
    if trainer is None:
        return "no models are held"
    model = formatting.amount(bare.down_bytes, "B")
    found = _concurrency(scenario)
    if found is None:
        return (
            f"one model of {model} for each version that a task in flight started from, and "
            f"results of at most {trainer.trainer.width} task(s) that wait to be used"
        )
    waiting = min(found[1], trainer.trainer.width)
    return (
        f"at most {found[1] + 1} versions of the model, {model} each, and results of {waiting} "
        "task(s) that wait to be used"
    )
