"""What changes while a run lives is what a checkpoint keeps."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simfl.clock.kernel import Kernel
from simfl.clock.ledger import Ledger
from simfl.engine.build import fleet_of, plan_of, workload_of
from simfl.engine.checkpoints.saving import parts_of
from simfl.engine.loading import problem_of
from simfl.results.store import Store
from simfl.scenario import parse
from simfl.streams import Streams

CELL = {"name": "hall", "count": 2, "down_mbps": 2.0, "up_mbps": 1.0}
GROUP = {
    "count": 12,
    "compute": {"kind": "exponential", "mean_s": 5.0},
    "network": {"down_mbps": 4.0, "up_mbps": 2.0},
    "cell": "hall",
    "presence": {"kind": "onoff", "mean_on_s": 300.0, "mean_off_s": 30.0},
    "faults": {"drop_probability": 0.1, "on_offline": "pause"},
    "power": {"train_w": 5.0, "radio_w": 1.0},
    "battery": {"capacity_j": 2000.0, "charge_w": 2.0},
}
SCENARIO = {
    "fleet": {"group": [GROUP]},
    "network": {"cell": [CELL]},
    "server": {"sharing": "max-min", "down_mbps": 10.0, "up_mbps": 10.0},
    "learning": {
        "dataset": "none",
        "parameters": 50_000,
        "examples": 40,
        "flops_per_example": 1e6,
    },
    "strategy": {"kind": "fedbuff", "concurrency": 6, "buffer": 2},
    "evaluate": {"every_versions": 2},
    "stop": {"versions": 30},
}

#: Of the host's clock.
HOST = {"_turns", "_next_glance", "_wall_end", "_next_save", "save_due"}
#: Rows are written out before a checkpoint is; events are counted anew at each instant.
NOT_KEPT = HOST | {"_met", "_tasks", "_versions", "_instant", "_events"}


def kernel_of(tmp_path: Path) -> Kernel:
    whole = parse(SCENARIO)
    streams = Streams(whole.seed)
    fleet = fleet_of(whole, streams)
    load = workload_of(whole, problem_of(whole, streams), streams, timing=True)
    store = Store(tmp_path)
    return Kernel(fleet, load, whole.strategy, streams, plan_of(whole), store.append)


def seen(value: Any) -> Any:
    """A plain value as text; what holds objects of its own is looked at by its own class."""
    if isinstance(value, np.ndarray | array):
        return value.tobytes()
    if isinstance(value, list | tuple | set | dict):
        return len(value)
    return repr(value) if isinstance(value, int | float | str | bool | None) else None


def unlisted(kernel: Kernel) -> dict[tuple[str, str], Any]:
    """Attributes of the saved parts that no checkpoint keeps, as they are now."""
    return {
        (name, key): seen(value)
        for name, part in parts_of(kernel).items()
        for key, value in vars(part).items()
        if hasattr(part, "__snapshot__") and key not in part.__snapshot__
    }


def test_every_attribute_that_changes_is_kept_by_checkpoints(tmp_path: Path) -> None:
    kernel = kernel_of(tmp_path)
    kernel.begin()
    before = unlisted(kernel)
    assert kernel.play(lambda: kernel.server.version >= 12)
    after = unlisted(kernel)
    changed = {name for name, value in after.items() if before.get(name) != value}
    assert {key for _, key in changed} <= NOT_KEPT, sorted(changed)


def test_the_comparison_sees_an_attribute_that_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list without the running totals would lose bytes in silence."""
    left = tuple(
        name for name in type(kernel_of(tmp_path).ledger).__snapshot__ if "down" not in name
    )
    monkeypatch.setattr(Ledger, "__snapshot__", left)
    with pytest.raises(AssertionError, match="down_bytes"):
        test_every_attribute_that_changes_is_kept_by_checkpoints(tmp_path)


def test_what_is_to_come_can_be_printed(tmp_path: Path) -> None:
    kernel = kernel_of(tmp_path)
    kernel.begin()
    kernel.play(lambda: kernel.server.version >= 3)
    names = {alarm.handler for _, _, alarm in kernel.clock.pending()}
    assert names <= kernel.clock.handlers.keys()
    assert any(name.startswith(("task.", "transfer.", "down.", "up.")) for name in names)
