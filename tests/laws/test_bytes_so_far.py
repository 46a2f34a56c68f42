"""Running totals of bytes are what tasks had moved at that instant, those in flight included."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scenes import group, same, scene

import simfl
from simfl.clock.workload import TimingOnly
from simfl.messages import FRAME_BYTES

WHOLE = 400 + FRAME_BYTES  #: bytes of the scenes' model in its frame
WAYS = ["down_bytes", "up_bytes"]

ALONE = {"down_mbps": 0.002, "up_mbps": 0.001, "latency_s": 0.25}  # 1.9 s and 3.7 s a message
PAUSES = {
    "presence": {"kind": "onoff", "mean_on_s": 4.0, "mean_off_s": 2.0},
    "faults": {"on_offline": "pause"},
}
LOST = {
    "presence": {"kind": "onoff", "mean_on_s": 20.0, "mean_off_s": 5.0},
    "faults": {"hazard_per_hour": 200.0},
}
RETRIES = {"faults": {"drop_probability": 0.5, "retry": {"wait_s": 1.5, "times": 2}}}
SHARED = {"sharing": "max-min", "down_mbps": 0.006, "up_mbps": 0.004}

SCENES: dict[str, dict[str, Any]] = {
    "links of their own": {},
    "jitter": {"network": {**ALONE, "jitter_sigma": 0.4, "latency_sigma": 0.5}},
    "pauses": PAUSES,
    "losses": LOST,
    "retries": RETRIES,
    "free links": {"network": {"down_mbps": 1e9, "up_mbps": 1e9, "latency_s": 0.5}, **RETRIES},
}


@pytest.fixture(autouse=True)
def evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations, and the totals in them, without learning anything."""
    monkeypatch.setattr(TimingOnly, "evaluate", lambda self, params: {"loss": 1.0})


def played(server: dict[str, Any], after_s: float, **of_group: Any) -> simfl.Result:
    groups = [group(6, 2.0, **{"network": ALONE, **of_group})]
    asked = {"kind": "overselect", "cohort": 3, "over_select": 1.4}
    sections = {"server": server, "evaluate": {"every_s": 1.7}, "stop": {"after_s": after_s}}
    return simfl.run(scene(groups, asked, **sections), seed=5)


@pytest.mark.parametrize("server", [{}, SHARED], ids=["alone", "shared"])
@pytest.mark.parametrize("of_group", SCENES.values(), ids=SCENES)
def test_a_run_that_ends_then_has_moved_as_much(
    server: dict[str, Any], of_group: dict[str, Any]
) -> None:
    """The end of a run charges what is under way by another road: task by task, in its rows."""
    seen = played(server, 30.0, **of_group).evaluations
    for row in seen.iloc[[1, 4, 8, 13, 17]].itertuples():
        ended = played(server, row.time_s, **of_group).tasks
        assert (row.down_bytes, row.up_bytes) == tuple(ended[WAYS].sum()), row.time_s


def from_rows(tasks: pd.DataFrame, t: float, latency_s: float) -> tuple[float, float]:
    """Bytes at t, from the tasks' rows alone: evenly from a message's first byte to its last."""
    starts = [tasks.dispatched_s, tasks.ended_s - tasks.upload_s]
    totals = []
    for start, length, way in zip(starts, ["download_s", "upload_s"], WAYS, strict=True):
        first, last = start + latency_s, start + tasks[length]
        flown = (t - first) / np.maximum(last - first, 1e-12)
        totals.append(float((tasks[way] * np.clip(flown, 0.0, 1.0)).sum()))
    return totals[0], totals[1]


def test_totals_follow_from_the_rows_of_the_tasks() -> None:
    run = played({}, 60.0, faults={"drop_probability": 0.2, "hazard_per_hour": 50.0})
    in_flight = 5
    assert len(run.evaluations) > 30
    for row in run.evaluations.itertuples():
        down, up = from_rows(run.tasks, row.time_s, ALONE["latency_s"])
        assert row.down_bytes == pytest.approx(down, abs=in_flight)
        assert row.up_bytes == pytest.approx(up, abs=in_flight)


def test_a_shared_link_has_moved_what_its_capacity_allows() -> None:
    link = {"down_mbps": 8.0, "up_mbps": 8.0, "latency_s": 0.5}
    server = {"sharing": "max-min", "down_mbps": 0.008, "up_mbps": 0.008}  # 1000 bytes a second
    groups = [same(5, 1000.0, network=link)]
    asked, sections = {"kind": "fedavg", "cohort": 5}, {"evaluate": {"every_s": 0.3}}
    run = simfl.run(scene(groups, asked, server=server, stop={"after_s": 6.0}, **sections), seed=1)
    for row in run.evaluations.itertuples():
        flown_s = max(0.0, row.time_s - 0.5)
        assert row.down_bytes == pytest.approx(min(5 * WHOLE, 1000.0 * flown_s), abs=5)
        assert row.up_bytes == 0


def test_downloads_count_before_their_tasks_end() -> None:
    """Many devices that train for long: nothing has ended, and everything has been sent."""
    groups = [same(50, 1e6, network=ALONE)]
    asked, sections = {"kind": "fedasync", "concurrency": 40}, {"evaluate": {"every_s": 10.0}}
    run = simfl.run(scene(groups, asked, stop={"after_s": 15.0}, **sections), seed=1)
    first, second = run.evaluations.iloc[0], run.evaluations.iloc[1]
    assert (first.time_s, first.down_bytes) == (0.0, 0)
    assert (second.time_s, second.tasks_ended, second.down_bytes) == (10.0, 0, 40 * WHOLE)
