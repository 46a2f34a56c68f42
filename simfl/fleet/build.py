"""From the options of groups to a fleet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from simfl.errors import ScenarioError
from simfl.fleet.catalogue import catalogue_dirs, load_device, load_network
from simfl.fleet.columns import Fleet, Group
from simfl.fleet.compute import Compute
from simfl.fleet.energy import Energy, PowerOptions
from simfl.fleet.faults import Faults
from simfl.fleet.laws import ComputeOptions
from simfl.fleet.link import Link, LinkOptions, rates, spread
from simfl.fleet.options import GroupOptions
from simfl.fleet.presence import Presence
from simfl.streams import Streams

MB = 1e6  #: bytes


@dataclass(frozen=True)
class Plan:
    """One group, its classes looked up."""

    group: Group
    law: ComputeOptions
    link: LinkOptions | None
    power: PowerOptions


def build(
    groups: Sequence[GroupOptions], streams: Streams, dirs: Sequence[Path] | None = None
) -> Fleet:
    """The fleet of these groups, in their order. dirs: where classes are looked for.

    What sets devices apart depends on the seed and on their numbers alone, so a group added at
    the end moves nobody. Raises CatalogueError, and ScenarioError where there is no group.
    """
    if not groups:
        raise ScenarioError("fleet.group: a fleet needs at least one group of devices")
    folders = catalogue_dirs() if dirs is None else dirs
    named = zip(groups, _labels(groups), strict=True)
    plans = [plan(options, label, folders) for options, label in named]
    members = _members(groups)
    group = np.repeat(np.arange(len(groups), dtype=np.int32), [len(m) for m in members])
    draws = [streams.generator("fleet", m.start).standard_normal((len(m), 3)) for m in members]
    speeds = [rates(p.link, z[:, :2]) for p, z in zip(plans, draws, strict=True)]
    slowness = [spread(p.law.spread_sigma, z[:, 2]) for p, z in zip(plans, draws, strict=True)]
    parts = [g.presence.part(streams, m) for g, m in zip(groups, members, strict=True)]
    return Fleet(
        groups=tuple(p.group for p in plans),
        group=_fixed(group),
        compute=Compute([p.law for p in plans], group, _joined(slowness)),
        link=Link(
            [p.link for p in plans],
            group,
            _joined([down for down, _ in speeds]),
            _joined([up for _, up in speeds]),
        ),
        presence=Presence(parts, [m.start for m in members], group),
        faults=Faults([g.faults for g in groups], group),
        energy=Energy([p.power for p in plans], group),
    )


def plan(options: GroupOptions, label: str, dirs: Sequence[Path]) -> Plan:
    """The group with its classes looked up. Raises CatalogueError."""
    entry = load_device(options.device, dirs) if options.device else None
    law = options.compute or (entry.compute() if entry else None)
    assert law is not None  # GroupOptions sees to it
    link, network = _network(options.network or (entry.network if entry else None), dirs)
    power = options.power or (entry.power() if entry else PowerOptions())
    memory_bytes = round(entry.memory_mb.value * MB) if entry else 0
    group = Group(options.count, label, network, options.presence.kind, memory_bytes)
    return Plan(group, law, link, power)


def _network(
    network: str | LinkOptions | None, dirs: Sequence[Path]
) -> tuple[LinkOptions | None, str]:
    """The link of a group and what the column `network` calls it."""
    if network is None or network == "none":
        return None, "none"
    if isinstance(network, str):
        return load_network(network, dirs).link(), network
    return network, f"{network.down_mbps:g}/{network.up_mbps:g} Mbit/s"


def _labels(groups: Sequence[GroupOptions]) -> Iterator[str]:
    """What `device_class` calls each group; laws given in place are numbered from the second."""
    met: Counter[str] = Counter()
    for options in groups:
        label = options.name or options.device
        if label is None and options.compute is not None:
            kind = options.compute.kind
            met[kind] += 1
            label = kind if met[kind] == 1 else f"{kind}-{met[kind]}"
        yield str(label)


def _members(groups: Sequence[GroupOptions]) -> list[range]:
    stops = accumulate(options.count for options in groups)
    return [range(stop - g.count, stop) for stop, g in zip(stops, groups, strict=True)]


def _joined(columns: Sequence[np.ndarray]) -> np.ndarray:
    return _fixed(np.concatenate(columns))


def _fixed(column: np.ndarray) -> np.ndarray:
    column.setflags(write=False)
    return column
