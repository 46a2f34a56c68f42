"""The fleets that come with simfl run, extend, and are what they say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import simfl
from simfl.scenario import load
from simfl.scenario.reading import shipped_dir

FLEETS = sorted((shipped_dir() / "fleets").glob("*.toml"))

#: Median seconds of a good round in the logs of AsyncFedED, client by client.
LOGGED_S = {
    "asyncfeded-lab": [2.54, 0.28, 0.47, 4.75, 2.35, 0.08, 0.44, 0.14, 0.17, 0.28],
    "asyncfeded-lab-femnist": [0.80, 1.48, 0.72, 0.91, 0.89, 0.96, 0.76, 1.30, 0.84, 0.91],
    "asyncfeded-lab-shakespeare": [7.51, 22.2, 19.8, 15.1, 6.56, 47.0, 4.79, 6.34, 5.11, 16.6],
}


def test_the_fleets_are_there():
    names = {path.stem for path in FLEETS}
    assert names >= {
        *("phones-2019", "cross-device-global", "cross-silo", "iot-gateways", "raspberry-lab"),
        *LOGGED_S,
    }


@pytest.mark.parametrize("path", FLEETS, ids=lambda path: path.stem)
def test_a_ready_fleet_runs_and_nothing_in_it_is_idle(path: Path):
    result = simfl.run(path, **{"stop.updates": 40})
    assert (result.tasks.outcome == "applied").sum() >= 40
    assert result.summary["unused_settings"] == []


@pytest.mark.parametrize("path", FLEETS, ids=lambda path: path.stem)
def test_a_ready_fleet_can_be_extended_by_a_scenario_that_learns(tmp_path, path: Path):
    text = f"""
        extends = "{path.as_posix()}"
        [learning]
        dataset = "digits"
        model = "softmax"
    """
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    assert load(tmp_path / "mine.toml").learning.dataset is not None


@pytest.mark.parametrize("name", LOGGED_S)
def test_the_laboratory_of_asyncfeded_is_as_slow_as_its_logs(name):
    result = simfl.run(f"fleets/{name}", **{"stop.after_s": 100.0 * max(LOGGED_S[name])})
    tasks = result.tasks
    good = tasks[tasks.outcome == "applied"].groupby("device").train_s
    assert good.median().to_numpy() == pytest.approx(np.array(LOGGED_S[name]), rel=0.05)
    ended = tasks[tasks.outcome != "in_flight"]
    assert (ended.cause == "suspended").mean() == pytest.approx(0.1, abs=0.02)


def test_phones_come_as_often_as_flash_met_them():
    devices = simfl.run("fleets/phones-2019", **{"stop.updates": 1}).devices
    shares = devices.device_class.value_counts(normalize=True)
    assert shares["phone-low"] == pytest.approx(0.532, abs=1e-3)
    assert shares["phone-mid"] == pytest.approx(0.464, abs=1e-3)
    medians = devices.groupby("device_class", observed=True).train_gflops.median()
    assert medians["phone-low"] == pytest.approx(0.62, rel=0.1)
    assert medians["phone-mid"] == pytest.approx(1.74, rel=0.1)
