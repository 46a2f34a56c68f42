"""Cells: who is behind which, how much they carry, and what their outages do to a run."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from pydantic import ValidationError

import simfl
from simfl.errors import ScenarioError, TraceError
from simfl.fleet.build import build
from simfl.fleet.network.cells import CellOptions
from simfl.fleet.options import GroupOptions
from simfl.fleet.traces import Trace, write_trace
from simfl.streams import Streams

LAW = {"compute": {"kind": "constant", "s": 1.0}, "network": {"down_mbps": 8.0, "up_mbps": 8.0}}


def fleet_of(groups, cells, **more):
    options = [GroupOptions.model_validate({**LAW, **group}) for group in groups]
    return build(options, Streams(7), cells=[CellOptions.model_validate(c) for c in cells], **more)


def test_devices_are_dealt_to_alike_cells_in_turn():
    """Over all groups that name them; a group that names none is behind none."""
    named = [(3, "b"), (2, None), (4, "b"), (1, "a")]
    groups = [{"count": n} | ({"cell": cell} if cell else {}) for n, cell in named]
    fleet = fleet_of(groups, [{"name": "a"}, {"name": "b", "count": 2}])
    assert [fleet.cells.of(i) for i in range(10)] == [1, 2, 1, -1, -1, 2, 1, 2, 1, 0]
    assert fleet.columns()["cell"].tolist() == [
        *("b-0", "b-1", "b-0", "", "", "b-1", "b-0", "b-1", "b-0", "a"),
    ]


def test_without_cells_there_is_no_column():
    assert "cell" not in fleet_of([{"count": 2}], []).columns()


def test_a_cell_carries_what_it_says_and_no_end_of_what_it_does_not():
    cells = [{"name": "a", "down_mbps": 80.0}, {"name": "b", "up_mbps": 8.0}]
    fleet = fleet_of([{"count": 2, "cell": "a"}], cells)
    assert fleet.cells.rates.tolist() == [[1e7, inf], [inf, 1e6]]
    assert fleet.cells.rate(0, 5.0, up=False) == (1e7, inf)


def test_an_unknown_cell_is_named(tmp_path):
    with pytest.raises(ScenarioError, match=r"fleet\.group\.0\.cell = 'twon'.*did you mean 'town'"):
        fleet_of([{"count": 2, "cell": "twon"}], [{"name": "town"}])


@pytest.fixture
def moving(tmp_path):
    """8 Mbit/s for a second, nothing for a second, one way only."""
    columns = {"trace": np.zeros(2, int), "t_s": np.array([1.0, 2.0])}
    trace = Trace("bandwidth", {**columns, "down_mbps": np.array([8.0, 0.0])})
    write_trace(tmp_path / "moving.parquet", trace)
    return [tmp_path]


def test_a_cell_may_move_as_a_trace_says(moving):
    cells = [{"name": "a", "trace": "moving", "up_mbps": 8.0}]
    fleet = fleet_of([{"count": 2, "cell": "a"}], cells, traces=moving)
    assert fleet.cells.rates.tolist() == [[5e5, 1e6]]
    seen = {fleet.cells.rate(0, t, up=False)[0] for t in np.arange(0.0, 4.0, 0.25).tolist()}
    assert seen == {1e6, 0.0}
    assert {fleet.cells.rate(0, t, up=True)[0] for t in (0.0, 1.0)} == {2e6, 0.0}


def test_a_rate_that_nobody_says_is_an_error(moving):
    with pytest.raises(TraceError, match="no up_mbps"):
        fleet_of([{"count": 2, "cell": "a"}], [{"name": "a", "trace": "moving"}], traces=moving)


def scene(groups, cells, **more):
    return {
        "fleet": {"group": [{**LAW, **group} for group in groups]},
        "network": {"cell": cells},
        "learning": {
            "dataset": "none",
            "parameters": 249_984,  # 1,000,000 bytes with their frame
            "examples": 10,
            "flops_per_example": 1.0,
        },
        "strategy": {"kind": "fedavg", "cohort": 4},
        "stop": {"versions": 1},
        **more,
    }


def test_devices_of_a_cell_share_it_and_others_do_not():
    """A megabyte each at 8 Mbit/s: a second alone, two where two share 8 Mbit/s."""
    groups = [{"count": 2, "cell": "town"}, {"count": 2}]
    cells = [{"name": "town", "down_mbps": 8.0, "up_mbps": 16.0}]
    tasks = simfl.run(scene(groups, cells, server={"sharing": "max-min"})).tasks
    took = tasks.set_index("device").sort_index()
    assert took.download_s.tolist() == pytest.approx([2.0, 2.0, 1.0, 1.0], rel=1e-3)
    assert took.upload_s.tolist() == pytest.approx([1.0] * 4, rel=1e-3)


def test_lost_packets_take_a_cells_capacity_too():
    """Half of what two devices send is lost: each gets a quarter of 8 Mbit/s, and pays for it."""
    lossy = {"network": {"down_mbps": 8.0, "up_mbps": 8.0, "loss": 0.5}, "cell": "town"}
    cells = [{"name": "town", "down_mbps": 8.0}]
    whole = scene([{"count": 2, **lossy}], cells, server={"sharing": "max-min"})
    whole["strategy"]["cohort"] = 2
    tasks = simfl.run(whole).tasks
    assert tasks.download_s.tolist() == pytest.approx([4.0, 4.0], rel=1e-3)
    assert tasks.upload_s.tolist() == pytest.approx([2.0, 2.0], rel=1e-3)
    assert set(tasks.down_bytes) == {1_000_000}


@pytest.mark.parametrize("sharing", ["none", "max-min"])
def test_an_outage_loses_all_tasks_of_its_cell_at_once(sharing):
    outages = {"mean_up_s": 30.0, "mean_down_s": 30.0}
    cells = [{"name": "town", "count": 2, "outages": outages}]
    whole = scene([{"count": 8, "cell": "town"}], cells, server={"sharing": sharing})
    whole["stop"] = {"after_s": 600.0}
    whole["strategy"] = {"kind": "fedasync", "concurrency": 8}
    result = simfl.run(whole)
    lost = result.tasks[result.tasks.outcome == "lost"]
    assert set(lost.cause) == {"outage"}
    together = lost.groupby("ended_s").device
    assert together.size().max() >= 3
    for devices in together.unique():
        assert len({int(device) % 2 for device in devices}) == 1


@pytest.mark.parametrize("policy", ["pause", "finish"])
def test_an_outage_stops_or_spares_work_as_on_offline_says(policy):
    outages = {"mean_up_s": 5.0, "mean_down_s": 5.0}
    group = {"count": 4, "cell": "town", "faults": {"on_offline": policy}}
    whole = scene([group], [{"name": "town", "outages": outages}], stop={"versions": 5})
    tasks = simfl.run(whole).tasks
    assert set(tasks.outcome) == {"applied"}
    spent = tasks.download_s + tasks.train_s + tasks.upload_s
    assert spent.to_numpy() == pytest.approx(np.full(len(tasks), 3.0))
    longest = (tasks.ended_s - tasks.dispatched_s).max()
    assert longest > 3.5 if policy == "pause" else longest == pytest.approx(3.0)


def test_a_link_that_moves_carries_what_its_trace_says(tmp_path):
    """8 Mbit/s every other second: a megabyte takes two seconds, but for where it begins."""
    (tmp_path / "traces").mkdir()
    columns = {"trace": np.zeros(2, int), "t_s": np.array([1.0, 2.0])}
    both = {name: np.array([8.0, 0.0]) for name in ("down_mbps", "up_mbps")}
    write_trace(tmp_path / "traces" / "blink.parquet", Trace("bandwidth", {**columns, **both}))
    whole = scene([{"count": 4, "network": {"trace": "blink"}}], [])
    whole["learning"]["parameters"] = 2_499_984  # ten megabytes
    import tomli_w

    path = tmp_path / "blink.toml"
    path.write_text(tomli_w.dumps(whole), encoding="utf-8")
    tasks = simfl.run(path, out=tmp_path / "run").tasks
    assert tasks.download_s.between(19.0, 20.0).all()
    assert tasks.upload_s.between(19.0, 20.0).all()
    assert tasks.download_s.nunique() > 1
    again = simfl.run(tmp_path / "run" / "scenario.toml").tasks
    assert again.ended_s.tolist() == tasks.ended_s.tolist()


def test_there_are_not_more_cells_than_anybody_can_mean():
    with pytest.raises(ValidationError, match="less than or equal to 100000"):
        CellOptions(name="town", count=10**9)
