"""Saves the state of a kernel as a checkpoint, and restores it.

The fleet, the data and the options are made anew from the scenario. What changes while a run
lives each part names itself, in `__snapshot__`; it is put back into the parts of a fresh kernel,
so that the restored run meets the same events, at the same instants, in the same order.
"""

from __future__ import annotations

from array import array
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from simfl.clock.edges.cloud import CloudServer
from simfl.clock.kernel import Kernel
from simfl.engine.checkpoints import checkpoint
from simfl.engine.checkpoints.snapshot import Reader, Writer
from simfl.errors import InputError, plugin_errors, shorten
from simfl.results.store import Store, check_parts
from simfl.results.tables import TABLES
from simfl.scenario import Scenario

Saved = tuple[dict[str, Any], dict[str, np.ndarray]]

#: Seconds of virtual time, and numbers of any kind, stay below these.
MOST_TIME_S, MOST_NUMBER = 1e15, 2.0**62


def parts_of(kernel: Kernel) -> dict[str, Any]:
    """The parts of a run by name: those that change, and those that they refer to."""
    server, transfers = kernel.server, kernel.server.lifecycle.transfers
    down, up = (None, None) if transfers is None else transfers.shared
    fleet, living = server.fleet, kernel.processes is not None
    named = {
        "kernel": kernel,
        "watchdog": kernel.watchdog,
        "evaluations": kernel.evaluations,
        "server": server,
        "pool": server.pool,
        "versions": server.versions,
        "ledger": kernel.ledger,
        "lifecycle": server.lifecycle,
        "transfers": transfers,
        "down": down,
        "up": up,
        "batteries": server.batteries,
        "workload": kernel.workload,
        "exchange": getattr(kernel.workload, "exchange", None),
        "clock": kernel.clock,
        "ingest": kernel.ingest,
        "fleet": fleet,
        "fleet.members": fleet.members if living else None,
        "fleet.link": fleet.link if living else None,
        "fleet.presence": fleet.presence if living else None,
        "fleet.cells": fleet.cells if living else None,
        "processes": kernel.processes,
        "processes.meter": kernel.processes.meter if kernel.processes is not None else None,
        "processes.draws": kernel.processes.draws if kernel.processes is not None else None,
        **_edges(kernel),
        "strategy": kernel.strategy,
        "local": kernel.strategy.local,
    }
    return {name: part for name, part in named.items() if part is not None}


def _edges(kernel: Kernel) -> dict[str, Any]:
    """The edges, if the run has any: their servers, pools and rows."""
    server = kernel.server
    if not isinstance(server, CloudServer):
        return {}
    both = zip(server.edges, server.pools.pools, strict=True)
    parts = {f"edges.{edge.name}": (edge, pool) for edge, pool in both}
    servers = {name: edge for name, (edge, _) in parts.items()}
    pools = {f"{name}.pool": pool for name, (_, pool) in parts.items()}
    return {"edges.rows": server.rows, **servers, **pools}


def save(kernel: Kernel, store: Store, scenario: Scenario, timing: bool) -> None:
    """Writes a checkpoint into the run folder. Raises PluginError where state cannot be kept."""
    kernel.flush()
    parts = parts_of(kernel)
    writer = Writer(parts)
    changing = {
        name: {key: getattr(part, key) for key in part.__snapshot__}
        for name, part in parts.items()
        if hasattr(part, "__snapshot__")
    }
    try:
        tree = writer.tree({"pending": kernel.clock.pending(), "parts": changing})
    except Exception as error:
        with plugin_errors(f"the state of {type(kernel.strategy).__name__}"):
            Writer(parts).tree(kernel.state)
        raise error  # of something else
    state = {
        "scenario": mark_of(scenario, timing),
        "now_s": kernel.clock.now,
        "rows": store.mark(),
        "parts": store.digests(),
        "tree": tree,
    }
    checkpoint.save(store.folder, state, writer.arrays)


def found(folder: Path) -> Saved | None:
    """The newest whole checkpoint of a run folder, and its rows; None if there is none."""
    return checkpoint.load(folder, check=lambda state: _check(folder, state))


def _check(folder: Path, state: dict[str, Any]) -> None:
    """Raises InputError if a state counts parts of tables that are not there."""
    rows, parts = state["rows"], state["parts"]
    if rows.keys() != TABLES.keys() or sum(rows.values()) != len(parts) or min(rows.values()) < 0:
        raise InputError(f"counts {shorten(str(rows))} parts of tables, and names {len(parts)}")
    check_parts(folder, parts)


def _check_numbers(tree: Any) -> None:
    """No number of a run is as large; infinity and NaN stand for what is not there."""
    if isinstance(tree, list):
        for item in tree:
            _check_numbers(item)
    elif isinstance(tree, dict):
        _check_numbers(list(tree.values()))
    elif isinstance(tree, int | float) and MOST_NUMBER <= abs(tree) < inf:
        raise InputError(f"a checkpoint that holds the number {tree:g}")


def restore(kernel: Kernel, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Puts a checkpoint into a kernel that has not started. Raises InputError."""
    try:
        _restore(kernel, state, arrays)
    except InputError:
        raise
    except Exception as error:  # whole, and yet not what this simfl writes
        raise InputError(f"a checkpoint that does not fit its scenario: {error!r}") from error


def _restore(kernel: Kernel, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    if not 0.0 <= state["now_s"] < MOST_TIME_S:
        raise InputError(f"a checkpoint of t = {state['now_s']} s")
    _check_numbers(state["tree"])
    parts = parts_of(kernel)
    whole = Reader(parts, arrays).value(state["tree"])
    if kernel.processes is not None:
        kernel.processes.make_room(whole["parts"]["fleet.members"]["groups"])
    for name, values in whole["parts"].items():
        if not values.keys() <= set(parts[name].__snapshot__):
            raise InputError(f"a checkpoint that changes more of the {name} than a run does")
        for key, value in values.items():
            _put(parts[name], key, value)
    _check_restored(kernel, state["now_s"], whole["pending"])
    kernel.clock.restore(state["now_s"], whole["pending"])


def _check_restored(kernel: Kernel, now_s: float, pending: list[Any]) -> None:
    """Raises InputError where counts contradict each other, or times run backwards."""
    server = kernel.server
    counts = {"versions": server.version, "steps": server.steps, "tasks": server._serial}
    absurd = [name for name, count in counts.items() if type(count) is not int or count < 0]
    if absurd or len(server.tasks) > server._serial:
        raise InputError(f"a checkpoint whose counts cannot be: {counts}")
    handlers = kernel.clock.handlers
    if not all(alarm.handler in handlers for _, _, alarm in pending):
        raise InputError("a checkpoint with an event that no part of a run handles")
    if not all(now_s <= due_s < MOST_TIME_S and order >= 0 for due_s, order, _ in pending):
        raise InputError(f"a checkpoint of t = {now_s:g} s with something to come before it")


def mark_of(scenario: Scenario, timing: bool) -> str:
    """What a checkpoint calls its scenario."""
    return scenario.hash + ("-timing" if timing else "")


def _put(part: Any, key: str, value: Any) -> None:
    """Arrays are filled in place: others hold views of them."""
    there = getattr(part, key)
    if isinstance(there, np.ndarray | array):
        there[:] = value
    else:
        setattr(part, key, value)
