from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simfl.results import costs
from simfl.results.tables import OUTCOMES, USEFUL

some_s = st.floats(0.0, 1e5)
some_bytes = st.integers(0, 10**9)


@st.composite
def rows(draw):
    """Tasks with whatever times, bytes and fates; a task ends when its phases do."""
    n = draw(st.integers(1, 12))
    made = []
    for task in range(n):
        outcome = draw(st.sampled_from(OUTCOMES))
        row = {name: draw(some_s) for name in ("dispatched_s", "download_s", "train_s", "upload_s")}
        row["ended_s"] = math.fsum(row.values())
        row |= {"task": task, "down_bytes": draw(some_bytes), "up_bytes": draw(some_bytes)}
        cause = "" if outcome == "applied" else draw(st.sampled_from(["", "offline", "late"]))
        made.append(row | {"outcome": outcome, "cause": cause})
    return made


@given(rows())
def test_useful_and_wasted_are_everything(frame, made) -> None:
    """Bytes to the last one, device-seconds to rounding; no cause hides any of them."""
    tasks = frame("tasks", *made)
    spent, wasted = costs.spent(tasks), costs.waste(costs.spent(tasks))
    useful = spent[spent["outcome"].isin(USEFUL)]
    moved = sum(row["down_bytes"] + row["up_bytes"] for row in made)
    busy_s = [row[f"{phase}_s"] for row in made for phase in ("download", "train", "upload")]
    assert useful["bytes"].sum() + wasted["bytes"].sum() == moved
    total_s = useful["device_s"].sum() + wasted["device_s"].sum()
    assert total_s == pytest.approx(math.fsum(busy_s))


@given(rows(), st.floats(1.0, 1e4))
def test_traffic_moves_every_byte_once(frame, made, bin_s) -> None:
    flow = costs.traffic(frame("tasks", *made), bin_s)
    for way in ("down_bytes", "up_bytes"):
        assert (flow[way] >= -1e-6).all()
        assert flow[way].sum() == pytest.approx(sum(row[way] for row in made))


def test_evaluations_on_devices_are_no_waste(frame) -> None:
    tasks = frame("tasks", {}, {"outcome": "evaluated", "cause": "evaluate"}, {"outcome": "lost"})
    assert set(costs.waste(costs.spent(tasks))["outcome"]) == {"lost"}
    assert costs.wasted_share(costs.spent(tasks)) == pytest.approx(1 / 3)
    assert costs.energy(tasks)["wasted_j"].tolist() == [4.0]


def test_waste_is_split_by_cause_and_phase(frame) -> None:
    """A lost task: a second of download, two of training; half its download was charged."""
    lost = {"outcome": "lost", "cause": "offline", "upload_s": 0.0, "up_bytes": 0, "down_bytes": 5}
    tasks = frame("tasks", {}, lost, {"outcome": "in_flight"})
    table = costs.waste(costs.spent(tasks))
    found = {(r.cause, r.phase): (r.device_s, r.bytes) for r in table.itertuples()}
    assert found == {
        ("offline", "download"): (1.0, 5),
        ("offline", "train"): (2.0, 0),
        ("offline", "upload"): (0.0, 0),
        ("in_flight", "download"): (1.0, 10),
        ("in_flight", "train"): (2.0, 0),
        ("in_flight", "upload"): (3.0, 20),
    }
    assert costs.wasted_share(costs.spent(frame("tasks", {}, lost))) == 3.0 / 9.0


def test_nothing_spent_has_no_share_of_waste(frame) -> None:
    assert math.isnan(costs.wasted_share(costs.spent(frame("tasks"))))


def test_utilisation_is_busy_time_over_what_was_to_be_had(frame) -> None:
    """Two tasks of six seconds on two places for ten."""
    tasks = frame("tasks", {}, {"outcome": "lost"})
    assert costs.utilisation(tasks, concurrency=2, horizon_s=10.0) == 0.6


def test_energy_is_what_was_spent_and_what_of_it_in_vain(frame) -> None:
    tasks = frame("tasks", {}, {"outcome": "lost", "energy_j": 1.5}, {"device_class": "board"})
    table = costs.energy(tasks)
    assert table.loc["phone"].tolist() == [5.5, 1.5]
    assert table.loc["board"].tolist() == [4.0, 0.0]


def test_traffic_is_spread_over_the_seconds_of_a_transfer(frame) -> None:
    """Ten bytes down in [0, 1], twenty up in [3, 6]; two-second bins."""
    flow = costs.traffic(frame("tasks", {}), bin_s=2.0)
    assert flow["time_s"].tolist() == [0.0, 2.0, 4.0]
    np.testing.assert_allclose(flow["down_bytes"], [10, 0, 0])
    np.testing.assert_allclose(flow["up_bytes"], [0, 20 / 3, 40 / 3])


def test_a_transfer_without_length_moves_its_bytes_at_once(frame) -> None:
    """Also at the very end, where no further bin begins."""
    tasks = frame("tasks", {"download_s": 0.0, "upload_s": 0.0, "ended_s": 4.0})
    flow = costs.traffic(tasks, bin_s=2.0)
    assert flow["down_bytes"].tolist() == [10, 0]
    assert flow["up_bytes"].tolist() == [0, 20]
