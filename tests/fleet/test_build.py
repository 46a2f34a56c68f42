from __future__ import annotations

import numpy as np
import pytest

from simfl.errors import CatalogueError, ScenarioError
from simfl.fleet.build import build
from simfl.fleet.options import GroupOptions
from simfl.streams import Streams

PHONES = {"device": "phone-mid", "network": "lte", "count": 80}
BOARDS = {
    "device": "raspberry-pi-4",
    "network": "home-broadband",
    "count": 20,
    "presence": {"kind": "diurnal", "mean_hours": 8},
    "faults": {"hazard_per_hour": 0.02, "on_offline": "pause"},
}
LAW = {
    "compute": {"kind": "exponential", "mean_s": 30.0},
    "network": {"down_mbps": 20.0, "up_mbps": 5.0, "latency_s": 0.05},
    "count": 10,
}
CHANCE = {**PHONES, "presence": {"kind": "onoff", "mean_on_s": 600.0, "mean_off_s": 1800.0}}


def fleet_of(*groups, seed=7):
    return build([GroupOptions.model_validate(group) for group in groups], Streams(seed))


def same(a: dict[str, np.ndarray], b: dict[str, np.ndarray], n: int) -> bool:
    return all(np.array_equal(a[k][:n], b[k][:n], equal_nan=a[k].dtype.kind == "f") for k in a)


def test_a_fleet_numbers_its_groups_one_after_the_other():
    fleet = fleet_of(PHONES, BOARDS, LAW)
    columns = fleet.columns()
    assert len(fleet) == 110
    assert all(len(column) == 110 for column in columns.values())
    assert columns["device_class"].tolist() == (
        ["phone-mid"] * 80 + ["raspberry-pi-4"] * 20 + ["exponential"] * 10
    )
    assert [fleet.device_classes[k] for k in fleet.class_id] == columns["device_class"].tolist()
    assert columns["network"][[0, 80, 100]].tolist() == ["lte", "home-broadband", "20/5 Mbit/s"]
    assert columns["presence"][[0, 80, 100]].tolist() == ["always", "diurnal", "always"]


def test_the_parts_answer_for_the_device_they_are_asked_about():
    fleet = fleet_of(PHONES, BOARDS, LAW)
    assert [fleet.faults.on_offline(i) for i in (79, 80, 99, 100)] == [
        "lost", "pause", "pause", "lost",
    ]  # fmt: skip
    assert fleet.compute.train_s(100, 1e9, 5, 0.5) == pytest.approx(30.0 * np.log(2.0))
    assert fleet.link.down(105, 0.5, 0.5) == (0.05, 2.5e6)
    assert (fleet.energy.train_w(0), fleet.energy.train_w(100)) == (2.5, 0.0)
    assert not fleet.presence.always
    assert fleet_of(PHONES, LAW).presence.always


def test_expected_seconds_are_the_mean_of_what_tasks_take():
    fleet = fleet_of(PHONES, LAW)
    quantiles = (np.arange(4000) + 0.5) / 4000
    flops, steps = np.linspace(1e9, 9e9, len(fleet)), np.arange(1, len(fleet) + 1)
    expected_s = fleet.compute.expected_s(flops, steps)
    for i in (0, 40, 79, 85):
        taken = [fleet.compute.train_s(i, flops[i], int(steps[i]), u) for u in quantiles]
        assert expected_s[i] == pytest.approx(np.mean(taken), rel=1e-3)


def test_a_build_repeats_and_another_seed_is_another_fleet():
    first, again, other = fleet_of(PHONES), fleet_of(PHONES), fleet_of(PHONES, seed=8)
    assert same(first.columns(), again.columns(), 80)
    assert not same(first.columns(), other.columns(), 80)


@pytest.mark.parametrize("first", [PHONES, BOARDS, CHANCE], ids=["always", "diurnal", "onoff"])
def test_what_is_added_at_the_end_moves_nobody(first):
    """Neither a further group nor a larger last group."""
    alone = fleet_of(first)
    n = len(alone)
    for grown in (fleet_of(first, LAW), fleet_of({**first, "count": n + 30})):
        assert same(alone.columns(), grown.columns(), n)
        for t in np.linspace(0.0, 3e5, 13).tolist():
            assert np.array_equal(alone.presence.mask(t), grown.presence.mask(t)[:n])


def test_devices_of_a_class_spread_as_the_class_says():
    columns = fleet_of({**PHONES, "count": 50_000}).columns()
    assert np.log(columns["train_gflops"]).std() == pytest.approx(0.35, rel=0.02)
    assert np.median(columns["train_gflops"]) == pytest.approx(6.0, rel=0.01)
    down, up = np.log(columns["down_bytes_per_s"]), np.log(columns["up_bytes_per_s"])
    assert np.corrcoef(down, up)[0, 1] == pytest.approx(0.39, abs=0.02)
    assert np.corrcoef(down, columns["train_gflops"])[0, 1] == pytest.approx(0.0, abs=0.02)


def test_fast_devices_may_have_fast_links():
    columns = fleet_of({**PHONES, "count": 50_000, "correlation": 0.3}).columns()
    gflops, down = np.log(columns["train_gflops"]), np.log(columns["down_bytes_per_s"])
    assert np.corrcoef(gflops, down)[0, 1] == pytest.approx(0.3, abs=0.02)
    assert gflops.std() == pytest.approx(0.35, rel=0.02)


def test_the_network_is_the_groups_or_the_classs_or_none():
    by_default = {"device": "phone-mid", "count": 1}
    assert fleet_of(by_default)[0]["network"] == "lte"
    assert fleet_of({**by_default, "network": "none"}).link.down(0, 0.5, 0.5) == (0.0, np.inf)
    assert fleet_of({"compute": {"gflops": 5.0}, "count": 1})[0]["network"] == "none"


def test_what_is_given_in_place_overrides_the_class():
    group = {**PHONES, "compute": {"gflops": 50.0}, "power": {"train_w": 9.0}}
    row = fleet_of(group)[3]
    assert (row["train_gflops"], row["train_w"], row["radio_w"]) == (50.0, 9.0, 0.0)
    assert (row["device_class"], row["memory_bytes"]) == ("phone-mid", 4_000_000_000)


def test_laws_in_place_can_be_told_apart():
    slow = {**LAW, "compute": {"kind": "exponential", "mean_s": 300.0}}
    fleet = fleet_of(LAW, slow, PHONES, {**LAW, "name": "sensors"})
    assert fleet.device_classes == ("exponential", "exponential-2", "phone-mid", "sensors")


@pytest.mark.parametrize("group", [PHONES, BOARDS, CHANCE, LAW])
def test_a_device_takes_little_memory(group):
    """110 bytes at most, kept answers about presence included."""
    fleet = fleet_of({**group, "count": 10_000})
    fleet.presence.mask(1e5)
    assert fleet.nbytes <= 110 * len(fleet)


def test_columns_cannot_be_written_to():
    fleet = fleet_of(PHONES)
    with pytest.raises(ValueError, match="read-only"):
        fleet.columns()["down_bytes_per_s"][0] = 1.0


def test_people_see_rows_and_a_table():
    fleet = fleet_of(PHONES, PHONES, LAW)
    assert fleet[0]["device_class"] == "phone-mid"
    assert type(fleet[0]["down_bytes_per_s"]) is float
    assert repr(fleet) == "Fleet(170 devices: 80 phone-mid, 80 phone-mid, 10 exponential)"
    html = fleet._repr_html_()
    assert html.count("<tr>") == 3
    assert "<td>160</td>" in html
    with pytest.raises(IndexError):
        fleet[170]


def test_no_group_and_no_such_class_are_errors():
    with pytest.raises(ScenarioError, match=r"fleet\.group"):
        build([], Streams(1))
    with pytest.raises(CatalogueError, match="'lte'"):
        fleet_of({**PHONES, "network": "ltee"})
