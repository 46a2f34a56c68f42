"""Every shipped process does what its law says, in closed form."""

from __future__ import annotations

from math import exp
from typing import Any

import numpy as np
import pytest
from world_toys import played, table

from simfl.errors import PluginError, ScenarioError
from simfl.world.carbon import WORLD_2024

HALL = {"network": {"cell": [{"name": "hall", "down_mbps": 4.0, "up_mbps": 2.0}]},
        "server": {"sharing": "max-min"}}  # fmt: skip
TOWNS = {"network": {"cell": [{"name": "town", "count": 4, "down_mbps": 8.0}]},
         "server": {"sharing": "max-min"}}  # fmt: skip
BUSY = {"strategy": {"kind": "fedbuff", "concurrency": 2, "buffer": 2}}


def shipped(kind: str, scenario: dict[str, Any], **options: Any) -> Any:
    return played({**scenario, "process": [{"kind": kind, **options}]})


def of_kind(events: Any, kind: str) -> Any:
    return events[events["kind"] == kind]


def test_a_phone_that_trains_heats_up_as_newton_says_and_cools_at_rest():
    """Training begins at 1 s and is looked at every 10 s; of the steps, the nearest."""
    options = {"heats_s": 100.0, "cools_s": 200.0, "onset": 0.25, "floor": 0.4, "step": 0.01}
    whole = table(1, 400.0, stop={"after_s": 1000.0})
    events = shipped("throttling", whole, **options, every_s=10.0).events
    for t, speed in zip(events["time"], events["value"], strict=True):
        if t < 400.0:
            heat = 1.0 - exp(-t / 100.0)
            exact = 1.0 - 0.6 * max(0.0, (heat - 0.25) / 0.75)
            assert speed == pytest.approx(max(0.4, round(exact, 2)))
    assert events["value"].min() == pytest.approx(0.4, abs=0.02)
    assert events["time"].iloc[0] == 30.0  # the first look at a heat over the onset


def test_a_phone_that_rests_recovers():
    whole = table(1, 100.0, stop={"after_s": 4000.0}, strategy={"kind": "fedavg", "cohort": 1})
    once = played(
        {**whole, "process": [{"kind": "throttling", "heats_s": 50.0, "cools_s": 50.0}]},
        *[_Ends(300.0)],
    ).events
    speeds = of_kind(once, "world.set_speed")["value"]
    assert speeds.iloc[-1] == 1.0
    assert speeds.min() < 0.6


class _Ends:
    """From a moment on nothing is trained."""

    def __init__(self, at_s: float) -> None:
        self.at_s = at_s

    def run(self, env: Any, world: Any) -> Any:
        yield env.timeout(self.at_s)
        world.leave(0)


def test_a_floor_of_one_is_no_throttling():
    assert shipped("throttling", table(), floor=1.0).events.empty


def test_the_evening_takes_its_share_of_a_cell_and_gives_it_back():
    whole = table(group={"cell": "hall"}, stop={"after_s": 86400.0}, **HALL, **BUSY)
    run = shipped("congestion", whole, depth=0.5, peak_hour=12.0, width_hours=4.0, every_s=3600.0)
    down = of_kind(run.events, "world.set_cell.hall.down").set_index("time")["value"]
    assert down.index.tolist() == [3600.0 * hour for hour in (11, 12, 13, 14)]
    assert down.tolist() == pytest.approx([3.0, 2.0, 3.0, 4.0])
    up = of_kind(run.events, "world.set_cell.hall.up")
    assert (up["value"].min(), up["value"].max()) == (1.0, 2.0)


def test_a_crowd_comes_stays_and_goes():
    whole = table(group={"cell": "hall"}, stop={"after_s": 400.0}, **HALL, **BUSY)
    crowd = {"at_s": 50.0, "ramp_s": 20.0, "hold_s": 100.0, "decay_s": 40.0, "every_s": 10.0}
    run = shipped("flashcrowd", whole, shock=5.0, **crowd)
    down = of_kind(run.events, "world.set_cell.hall.down").set_index("time")["value"]
    assert down.index.tolist() == [60.0, 70.0, 180.0, 190.0, 200.0, 210.0]
    expected = [4 / 3, 4 / 5, 1.0, 4 / 3, 2.0, 4.0]
    assert down.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["congestion", "flashcrowd"])
def test_a_cell_without_a_capacity_cannot_be_filled(kind: str):
    with pytest.raises(PluginError, match=r"no cell has a capacity|is not a cell"):
        shipped(kind, table(network={"cell": [{"name": "hall"}]}, server=HALL["server"]))
    with pytest.raises(PluginError, match="did you mean 'hall'"):
        shipped(kind, table(**HALL), cell="hal")


def test_maintenance_takes_its_share_of_the_time():
    groups = [{"count": 2, "compute": {"kind": "constant", "s": 5.0}, "name": name}
              for name in ("depot", "home")]  # fmt: skip
    whole = table(4, fleet={"group": groups}, stop={"after_s": 1000.0}, **BUSY)
    run = shipped("maintenance", whole, group="depot", first_s=100.0, lasts_s=50.0, every_s=200.0)
    left, back = (of_kind(run.events, f"world.{word}") for word in ("leave", "come_back"))
    assert left["time"].unique().tolist() == [100.0, 300.0, 500.0, 700.0, 900.0]
    assert back["time"].unique().tolist() == [150.0, 350.0, 550.0, 750.0, 950.0]
    assert set(left["device"]) == {0, 1}


def test_a_window_without_an_end_is_refused():
    with pytest.raises(ScenarioError, match="leaves no time between windows"):
        shipped("maintenance", table(), lasts_s=200.0, every_s=100.0)


def test_churn_holds_as_many_devices_as_arrive_in_a_lifetime():
    """M/M/inf from an empty system: 200 (1 - exp(-t / 1000)) on average, with Poisson's spread."""
    whole = table(1, stop={"after_s": 5000.0}, strategy={"kind": "fedavg", "cohort": 1})
    options = {"arrivals_per_hour": 720.0, "mean_lifetime_s": 1000.0, "existing": False}
    events = shipped("churn", whole, **options).events
    joined, gone = (of_kind(events, f"world.{word}")["time"] for word in ("add", "retire"))
    assert len(joined) == pytest.approx(1000, abs=4 * 1000**0.5)
    gaps = np.diff(joined)
    assert gaps.mean() == pytest.approx(5.0, rel=0.15)
    assert gaps.std() == pytest.approx(5.0, rel=0.15)
    for t in (500.0, 1000.0, 5000.0):
        mean = 200.0 * (1.0 - exp(-t / 1000.0))
        there = (joined <= t).sum() - (gone <= t).sum()
        assert there == pytest.approx(mean, abs=4 * mean**0.5)


def test_lifetimes_of_the_scenarios_devices_end_as_well():
    whole = table(40, stop={"after_s": 1000.0}, strategy={"kind": "fedavg", "cohort": 1})
    events = shipped("churn", whole, arrivals_per_hour=0.0, mean_lifetime_s=1000.0).events
    assert set(events["kind"]) == {"world.retire"}
    assert len(events) == pytest.approx(40 * (1 - exp(-1)), abs=4 * 40**0.5 / 2)


def test_devices_that_move_spend_as_much_time_in_every_cell():
    whole = table(40, group={"cell": "town"}, stop={"after_s": 5000.0}, **TOWNS,
                  strategy={"kind": "fedavg", "cohort": 1})  # fmt: skip
    events = of_kind(shipped("mobility", whole, mean_stay_s=100.0).events, "world.move")
    assert len(events) == pytest.approx(2000, abs=4 * 2000**0.5)
    share = events["value"].value_counts(normalize=True)
    assert share.to_numpy() == pytest.approx(np.full(4, 0.25), abs=0.05)
    for _, moves in events.groupby("device")["value"]:
        assert (moves.diff().iloc[1:] != 0).all()


def test_a_transfer_goes_along_with_its_device():
    """Half of the download at 4 Mbit/s, the other half at 8 Mbit/s."""
    cells = [{"name": "slow", "down_mbps": 4.0}, {"name": "fast", "down_mbps": 16.0}]
    whole = table(1, group={"cell": "slow"}, network={"cell": cells}, server=HALL["server"])

    class Moves:
        def run(self, env: Any, world: Any) -> Any:
            yield env.timeout(1.0)
            world.move(0, "fast")

    assert played(whole, Moves()).tasks["download_s"].tolist() == pytest.approx([1.5])


def test_one_cell_is_nowhere_to_move_to():
    with pytest.raises(PluginError, match="two cells"):
        shipped("mobility", table(group={"cell": "hall"}, **HALL))


def test_grams_are_power_over_time_at_the_intensity_of_the_hour():
    """100 s of 36 W and 2 s of 18 W, sent at half past, at 300 and then 600 g/kWh."""
    hours = [300.0, 600.0, *[0.0] * 22]
    power = {"power": {"train_w": 36.0, "radio_w": 18.0}}
    run = shipped("carbon", table(1, 7000.0, group=power), g_per_kwh=hours)
    task = run.tasks.iloc[0]
    joules = [1.0 * 18.0 + 3599.0 * 36.0, 3401.0 * 36.0 + 18.0]
    grams = (joules[0] * 300.0 + joules[1] * 600.0) / 3.6e6
    assert task["energy_j"] == pytest.approx(sum(joules), rel=1e-6)
    assert task["co2_g"] == pytest.approx(grams, rel=1e-6)
    assert run.summary["co2_g"] == pytest.approx(grams, rel=1e-6)


def test_the_default_intensity_is_the_worlds():
    run = shipped("carbon", table(1, 100.0, group={"power": {"train_w": 36.0}}))
    assert run.summary["co2_g"] == pytest.approx(3600.0 / 3.6e6 * WORLD_2024)


def test_energy_has_a_price():
    class Prices:
        def run(self, env: Any, world: Any) -> None:
            world.set_price(0.3)

    run = played(table(1, 100.0, group={"power": {"train_w": 36.0}}), Prices())
    assert run.tasks["cost"].tolist() == pytest.approx([3600.0 / 3.6e6 * 0.3])


def test_a_day_has_24_hours():
    with pytest.raises(ScenarioError, match="has 2 entries, expected 24"):
        shipped("carbon", table(), g_per_kwh=[1.0, 2.0])
