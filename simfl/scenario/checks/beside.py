"""The files beside a scenario that it uses: traces, and device classes of its own folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simfl.errors import CatalogueError, TraceError
from simfl.fleet.catalogue import catalogue_dirs, class_files, load_device, load_network
from simfl.fleet.traces import FOLDER, find_trace
from simfl.scenario.complain import KeyPath, Problem

if TYPE_CHECKING:
    from simfl.scenario import Scenario


def missing_traces(scenario: Scenario) -> Iterator[Problem]:
    """Traces that are not there."""
    for path, name in _trace_names(scenario):
        try:
            find_trace(name, trace_dirs(scenario))
        except TraceError as error:
            yield Problem(path, f": {error}", TraceError)


def traces(scenario: Scenario) -> list[Path]:
    """Files of the traces that the scenario uses."""
    dirs = trace_dirs(scenario)
    return list(dict.fromkeys(find_trace(name, dirs) for _, name in _trace_names(scenario)))


def trace_dirs(scenario: Scenario) -> list[Path]:
    """Where the scenario's traces are looked for."""
    return [(_folder(scenario) or Path()) / FOLDER]


def _trace_names(scenario: Scenario) -> Iterator[tuple[KeyPath, str]]:
    for i, group in enumerate(scenario.fleet.group):
        named: dict[str, Any] = {
            "capacity": group.capacity,
            "presence": getattr(group.presence, "trace", None),
            "network": getattr(group.network, "trace", None),
            "battery": group.battery and group.battery.charger,
        }
        for key, name in named.items():
            if name is not None:
                yield ("fleet", "group", i, key), name
    for i, cell in enumerate(scenario.network.cell):
        if cell.trace is not None:
            yield ("network", "cell", i, "trace"), cell.trace


def own_classes(scenario: Scenario) -> list[Path]:
    """Files of classes that the scenario uses and that lie in its own folder's `devices`."""
    folder = _folder(scenario)
    if folder is None:
        return []
    dirs, names = catalogue_dirs(folder), []
    for group in scenario.fleet.group:
        default = load_device(group.device, dirs).network if group.device else None
        names += [group.device, group.network or default]
    known = [name for name in names if isinstance(name, str) and name != "none"]
    files = [path for name in known for path in class_files(name, dirs)]
    return [path for path in dict.fromkeys(files) if path.parent == folder / "devices"]


def _folder(scenario: Scenario) -> Path | None:
    return scenario.path.parent if scenario.path else None


def unknown_classes(scenario: Scenario) -> Iterator[Problem]:
    """Classes of devices and networks that are not in the catalogue, nor in files beside it."""
    dirs = catalogue_dirs(_folder(scenario))
    for i, group in enumerate(scenario.fleet.group):
        for key, load in (("device", load_device), ("network", load_network)):
            name = getattr(group, key)
            if isinstance(name, str) and (key, name) != ("network", "none"):
                try:
                    load(name, dirs)
                except CatalogueError as error:
                    yield Problem(("fleet", "group", i, key), f": {error}", CatalogueError)
