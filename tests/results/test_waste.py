from __future__ import annotations

import pandas as pd
import pytest

import simfl
from simfl.results.costs import spent, waste
from simfl.results.waste import by_cause, energy_by_phase, never_fired

PHONES = {"device": "phone-mid", "count": 4}


def scene(groups, **more):
    return {
        "fleet": {"group": groups},
        "learning": {
            "dataset": "none",
            "parameters": 50_000,
            "examples": 50,
            "flops_per_example": 1e8,
        },
        "strategy": {"kind": "fedasync", "concurrency": 4},
        "stop": {"after_s": 600.0},
        **more,
    }


def test_waste_is_told_by_cause_and_phase(frame):
    tasks = frame(
        "tasks",
        {"outcome": "applied"},
        {"outcome": "lost", "cause": "hazard", "upload_s": 0.0, "up_bytes": 0},
        {"outcome": "lost", "cause": "hazard"},
        {"outcome": "cancelled", "train_s": 0.0, "upload_s": 0.0, "up_bytes": 0},
    )
    assert by_cause(waste(spent(tasks))) == {
        "cancelled": {"download": {"device_s": 1.0, "bytes": 10}},
        "hazard": {
            "download": {"device_s": 2.0, "bytes": 20},
            "train": {"device_s": 4.0, "bytes": 0},
            "upload": {"device_s": 3.0, "bytes": 20},
        },
    }


def test_what_is_wasted_adds_up_over_causes_and_phases():
    faults = {"drop_probability": 0.3, "hazard_per_hour": 20.0}
    summary = simfl.run(scene([{**PHONES, "faults": faults}])).summary
    parts = [part for phases in summary["waste"].values() for part in phases.values()]
    assert sum(part["bytes"] for part in parts) == summary["wasted_bytes"] > 0
    total = sum(part["device_s"] for part in parts)
    assert total == pytest.approx(summary["wasted_device_s"])
    assert {"drop-out", "hazard"} <= set(summary["waste"])


def test_energy_adds_up_over_phases_and_tasks():
    result = simfl.run(scene([PHONES, {"device": "raspberry-pi-4", "count": 4}]))
    by_phase = result.summary["energy_by_phase_j"]
    assert sum(by_phase.values()) == pytest.approx(result.summary["energy_j"])
    watts = result.devices.set_index("device")
    tasks = result.tasks.join(watts[["train_w", "radio_w"]], on="device")
    radio_s = tasks.download_s + tasks.upload_s
    assert tasks.energy_j.to_numpy() == pytest.approx(
        (tasks.train_w * tasks.train_s + tasks.radio_w * radio_s).to_numpy()
    )


def test_energy_without_watts_is_nobodys_guess(frame):
    assert energy_by_phase(frame("tasks", {}), pd.DataFrame({"device": [0]})) == {}


def test_faults_that_never_happened_are_named():
    rare = {"drop_probability": 1e-9}
    summary = simfl.run(scene([{**PHONES, "faults": rare}, PHONES])).summary
    (text,) = summary["never_fired"]
    assert text.startswith("drop_probability is set for 4 devices, but none of their")
    assert simfl.run(scene([PHONES])).summary["never_fired"] == []


def test_faults_that_happened_are_not_named(frame):
    devices = pd.DataFrame({"hazard_per_hour": [1.0, 0.0], "drop_probability": [0.5, 0.5]})
    tasks = frame("tasks", {"outcome": "lost", "cause": "hazard"}, {"cause": "drop-out"})
    assert never_fired(tasks, devices) == []
    devices["retries"] = [3, 3]
    assert never_fired(tasks[:1], devices) == []


@pytest.mark.parametrize(
    ("group", "says"),
    [
        ({"faults": {"on_offline": "pause"}}, "fleet.group.1.faults.on_offline"),
        ({"faults": {"retry": {"times": 2}}}, "fleet.group.1.faults.retry"),
        (
            {"faults": {"suspend": {"probability": 0.0, "hang": {"kind": "constant", "s": 1.0}}}},
            "fleet.group.1.faults.suspend",
        ),
        (
            {"device": None, "compute": {"gflops": 1.0}, "battery": {"capacity_j": 10.0}},
            "fleet.group.1.battery",
        ),
    ],
)
def test_settings_that_can_never_fire_are_named(group, says):
    whole = {k: v for k, v in {**PHONES, **group}.items() if v is not None}
    (text,) = simfl.run(scene([PHONES, whole])).summary["unused_settings"]
    assert text.startswith(says)


def test_a_cell_that_nobody_is_behind_is_named():
    outages = {"mean_up_s": 100.0, "mean_down_s": 10.0}
    cells = [{"name": "a", "outages": outages}, {"name": "b"}]
    pausing = {**PHONES, "cell": "a", "faults": {"on_offline": "pause"}}
    summary = simfl.run(scene([pausing], network={"cell": cells})).summary
    assert summary["unused_settings"] == ["network.cell.1: no group is behind 'b'"]
