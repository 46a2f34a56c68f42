"""Each group of a fleet with its classes and traces looked up."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from simfl.errors import ScenarioError, TraceError
from simfl.fleet.catalogue import DeviceClass, load_device, load_network
from simfl.fleet.columns import Group
from simfl.fleet.energy import PowerOptions
from simfl.fleet.laws import ComputeOptions, FlopRate
from simfl.fleet.network.link import LinkOptions
from simfl.fleet.options import GroupOptions
from simfl.fleet.presence.trace import RecordedOptions
from simfl.fleet.traces import Trace, load_trace

MB = 1e6  #: bytes


@dataclass(frozen=True)
class Folders:
    """Where device and network classes, and traces, are looked for; first match first."""

    classes: Sequence[Path]
    traces: Sequence[Path] = ()


@dataclass(frozen=True, eq=False)
class Plan:
    """One group, its classes and traces looked up.

    members: its devices.
    """

    options: GroupOptions
    members: range
    group: Group
    law: ComputeOptions
    link: LinkOptions | None
    power: PowerOptions
    capacity: Trace | None = None  #: a row of it for each device
    intervals: Trace | None = None  #: presence
    bandwidth: Trace | None = None
    charger: Trace | None = None


def plans_of(groups: Sequence[GroupOptions], folders: Folders) -> list[Plan]:
    """All groups, in order. Raises CatalogueError, TraceError."""
    stops = accumulate(options.count for options in groups)
    members = [range(stop - g.count, stop) for stop, g in zip(stops, groups, strict=True)]
    named = zip(groups, labels(groups), members, strict=True)
    return [_plan(options, label, mine, folders) for options, label, mine in named]


def labels(groups: Sequence[GroupOptions]) -> Iterator[str]:
    """What `device_class` calls each group; laws given in place are numbered from the second."""
    met: Counter[str] = Counter()
    for options in groups:
        label = options.name or options.device or options.capacity
        if label is None and options.compute is not None:
            kind = options.compute.kind
            met[kind] += 1
            label = kind if met[kind] == 1 else f"{kind}-{met[kind]}"
        yield str(label)


def _plan(options: GroupOptions, label: str, members: range, folders: Folders) -> Plan:
    entry = load_device(options.device, folders.classes) if options.device else None
    capacity = _trace(options.capacity, "capacity", folders)
    law, link = _law(options, entry, capacity), _link(options, entry, capacity, folders)
    recorded = isinstance(options.presence, RecordedOptions) and options.presence.trace
    return Plan(
        options,
        members,
        Group(
            options.count,
            label,
            _called(options, entry, capacity, link),
            options.presence.kind,
            round(entry.memory_mb.value * MB) if entry else 0,
        ),
        law,
        link,
        options.power or (entry.power() if entry else PowerOptions()),
        capacity,
        _trace(recorded or None, "presence", folders),
        _trace(link.trace if link else None, "bandwidth", folders),
        _trace(options.battery.charger if options.battery else None, "charger", folders),
    )


def _trace(name: str | None, kind: str, folders: Folders) -> Trace | None:
    return None if name is None else load_trace(name, kind, folders.traces)


def _law(
    options: GroupOptions, entry: DeviceClass | None, capacity: Trace | None
) -> ComputeOptions:
    """How the group trains; of a capacity trace, the median device."""
    law = options.compute or (entry.compute() if entry else None)
    if capacity is not None and "train_gflops" in capacity.columns:
        if not isinstance(law, FlopRate | None):
            raise ScenarioError(
                f"the trace {options.capacity!r} has train_gflops, so `compute` cannot be a law in "
                "seconds; leave one of them out"
            )
        median = {"gflops": _median(capacity, "train_gflops"), "spread_sigma": 0.0}
        return law.model_copy(update=median) if law else FlopRate.model_validate(median)
    if law is None:
        raise TraceError(
            f"the trace {options.capacity!r} has no train_gflops, so the group needs a `device` "
            "or `compute`"
        )
    return law


def _link(
    options: GroupOptions, entry: DeviceClass | None, capacity: Trace | None, folders: Folders
) -> LinkOptions | None:
    """The group's network; of a capacity trace, the median device's."""
    network = options.network or (entry.network if entry else None)
    if isinstance(network, str):
        network = None if network == "none" else load_network(network, folders.classes).link()
    if capacity is None:
        return network
    levels = {name: _median(capacity, name) for name in _RATES if name in capacity.columns}
    if not levels:
        return network
    flat = {"down_sigma": 0.0, "up_sigma": 0.0, **levels}
    if network is not None:
        return network.model_copy(update=flat)
    if len(levels) < len(_RATES):
        raise TraceError(
            f"the trace {options.capacity!r} has no rate for one direction, so the group needs a "
            "`network`"
        )
    return LinkOptions.model_validate(flat)


_RATES = ("down_mbps", "up_mbps")


def _called(
    options: GroupOptions,
    entry: DeviceClass | None,
    capacity: Trace | None,
    link: LinkOptions | None,
) -> str:
    """What the column `network` says."""
    if capacity is not None and set(_RATES) & set(capacity.columns):
        return str(options.capacity)
    network = options.network or (entry.network if entry else None)
    if isinstance(network, str):
        return network
    if link is None:
        return "none"
    levels = [link.trace or "?" if rate is None else f"{rate:g}" for rate in
              (link.down_mbps, link.up_mbps)]  # fmt: skip
    return f"{'/'.join(levels)} Mbit/s"


def _median(trace: Trace, column: str) -> float:
    return float(np.median(trace.columns[column]))
