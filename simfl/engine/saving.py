"""What of a living run goes into a checkpoint, and how it comes back.

The fleet, the data and the options are made anew from the scenario. What changes while a run
lives is listed here, part by part; it is put back into the parts of a fresh kernel, so that the
restored run meets the same events, at the same instants, in the same order.
"""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import numpy as np

from simfl.clock.kernel import Kernel
from simfl.engine import checkpoint
from simfl.engine.snapshot import Reader, Writer
from simfl.errors import InputError
from simfl.results.store import Store, check_parts
from simfl.scenario import Scenario

Saved = tuple[dict[str, Any], dict[str, np.ndarray]]

#: Attributes that change, by part. Parts that a run does not have are left out.
CHANGING = {
    "kernel": (
        *("started", "state", "accuracy", "_wait", "_arrived", "_deadline", "_step_due"),
        *("_free_s", "_lost_in_a_row", "_fruitful", "_evaluated_version"),
    ),
    "server": (
        *("version", "params", "lost", "tasks", "open", "published", "steps", "over"),
        *("_charged_s", "_serial", "_index"),
    ),
    "pool": ("idle", "_order", "_where", "_block", "_draws"),
    "versions": ("_held", "peak"),
    "ledger": ("down_bytes", "up_bytes", "ended", "applied", "recent"),
    "carrier": ("_under_way", "_minded"),
    "batteries": ("_levels_j", "_booked_s"),
    "down": (
        *("flows", "_root", "_cells", "_finite", "_asked", "_dirty", "_fresh", "_started"),
        *("_stale", "_next"),
    ),
    "workload": ("_untrained", "_trained"),
    "exchange": ("totals", "memories", "_latest"),
}
CHANGING["up"] = CHANGING["down"]


def parts_of(kernel: Kernel) -> dict[str, Any]:
    """The parts of a run by name: those that change, and those that they refer to."""
    server, carrier = kernel.server, kernel.server.journeys.carrier
    down, up = (None, None) if carrier is None else carrier.shared
    named = {
        "kernel": kernel,
        "server": server,
        "pool": server.pool,
        "versions": server.versions,
        "ledger": kernel.ledger,
        "journeys": server.journeys,
        "carrier": carrier,
        "down": down,
        "up": up,
        "batteries": server.batteries,
        "workload": kernel.workload,
        "exchange": getattr(kernel.workload, "exchange", None),
        "clock": kernel.clock,
        "fleet": server.fleet,
        "strategy": kernel.strategy,
        "local": kernel.strategy.local,
    }
    return {name: part for name, part in named.items() if part is not None}


def save(kernel: Kernel, store: Store, scenario: Scenario, timing: bool) -> None:
    """Writes a checkpoint into the run folder. Raises PluginError where state cannot be kept."""
    kernel.ledger.flush()
    parts = parts_of(kernel)
    writer = Writer(parts)
    changing = {
        name: {key: getattr(parts[name], key) for key in keys if hasattr(parts[name], key)}
        for name, keys in CHANGING.items()
        if name in parts
    }
    tree = writer.tree({"pending": kernel.clock.pending(), "parts": changing})
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
    return checkpoint.load(folder, check=lambda state: check_parts(folder, state["parts"]))


def restore(kernel: Kernel, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Puts a checkpoint into a kernel that has not started. Raises InputError."""
    try:
        _restore(kernel, state, arrays)
    except InputError:
        raise
    except Exception as error:  # whole, and yet not what this simfl writes
        raise InputError(f"a checkpoint that does not fit its scenario: {error!r}") from error


def _restore(kernel: Kernel, state: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    parts = parts_of(kernel)
    whole = Reader(parts, arrays).value(state["tree"])
    for name, values in whole["parts"].items():
        if not values.keys() <= set(CHANGING[name]):
            raise InputError(f"a checkpoint that changes more of the {name} than a run does")
        for key, value in values.items():
            _put(parts[name], key, value)
    kernel.clock.restore(state["now_s"], whole["pending"])


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
