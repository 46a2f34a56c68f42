"""A change of the world acts on work under way at that instant, and in closed form."""

from __future__ import annotations

from typing import Any

import pytest
from world_toys import At, at, played, table

import simfl

SHARED = {"sharing": "max-min"}


def row(run: simfl.Result, device: int = 0) -> Any:
    return run.tasks[run.tasks["device"] == device].iloc[0]


@pytest.mark.parametrize(("factor", "train_s"), [(0.5, 150.0), (2.0, 75.0), (1.0, 100.0)])
def test_what_is_left_of_a_training_goes_on_at_the_new_speed(factor: float, train_s: float):
    run = at(51.0, lambda world: world.set_speed(0, factor), table())
    assert row(run)["train_s"] == pytest.approx(train_s)
    assert row(run, 1)["train_s"] == pytest.approx(100.0)


def test_a_speed_that_is_set_during_the_download_holds_for_the_whole_training():
    run = at(0.5, lambda world: world.set_speed(0, 4.0), table())
    assert row(run)["train_s"] == pytest.approx(25.0)


def test_speeds_that_change_again_add_up():
    turns = [(11.0, 2.0), (21.0, 0.5), (41.0, 1.0)]
    acts = [At(t, lambda world, factor=factor: world.set_speed(0, factor)) for t, factor in turns]
    assert row(played(table(), *acts))["train_s"] == pytest.approx(40.0 + (100 - 10 - 20 - 10))


def test_a_battery_drains_for_as_long_as_the_slower_training_takes():
    hungry = {"power": {"train_w": 1.0}, "battery": {"capacity_j": 120.0}}
    lasts = row(at(200.0, lambda world: None, table(group=hungry)))
    drained = row(at(51.0, lambda world: world.set_speed(0, 0.5), table(group=hungry)))
    assert (lasts["outcome"], drained["outcome"]) == ("applied", "lost")
    assert drained["cause"] == "battery"
    assert drained["train_s"] == pytest.approx(120.0)


def test_a_lifetime_meets_a_task_that_has_become_longer():
    """At one device the hazard falls, by its draw, between the ends of the two trainings."""
    mortal = table(1, stop={"after_s": 2000.0}, group={"faults": {"hazard_per_hour": 18.0}})
    before = played(mortal).tasks
    after = at(0.0, lambda world: world.set_speed(0, 0.2), mortal).tasks
    assert set(after["cause"][after["outcome"] == "lost"]) == {"hazard"}
    lost = [(one["outcome"] == "lost").mean() for one in (before, after)]
    assert lost[0] < lost[1]


def test_a_drop_out_stays_at_its_share_of_the_work():
    frail = {"faults": {"drop_probability": 1.0, "drop_phase": "train"}}
    stop = {"after_s": 300.0}
    once = row(played(table(1, group=frail, stop=stop)))
    slow = row(at(0.0, lambda world: world.set_speed(0, 0.5), table(1, group=frail, stop=stop)))
    assert slow["train_s"] == pytest.approx(2.0 * once["train_s"])


def test_a_transfer_goes_on_over_the_new_link():
    run = at(0.5, lambda world: world.set_link(0, 0.5, 4.0), table())
    assert row(run)["download_s"] == pytest.approx(1.5)
    assert row(run)["upload_s"] == pytest.approx(0.25)
    assert row(run)["down_bytes"] == row(run, 1)["down_bytes"] == 1_000_000


@pytest.mark.parametrize("way", ["cell", "server"])
def test_transfers_share_a_capacity_anew(way: str):
    """Two devices at 8 Mbit/s each have 1 Mbit/s each from half a second on."""
    whole = table(
        group={"cell": "hall", "count": 2, "compute": {"kind": "constant", "s": 100.0},
               "network": {"down_mbps": 8.0, "up_mbps": 8.0}},
        network={"cell": [{"name": "hall"}]}, server=SHARED,
    )  # fmt: skip

    def narrow(world: Any) -> None:
        world.set_server(down_mbps=2.0) if way == "server" else world.set_cell("hall", 2.0)

    run = at(0.5, narrow, whole)
    assert row(run)["download_s"] == pytest.approx(0.5 + 4.0)
    assert row(run)["upload_s"] == pytest.approx(1.0)


def test_a_faster_server_takes_less_time_for_its_own_work():
    from simfl.clock.living.face import WorldFace

    seen: list[float] = []

    def act(world: WorldFace) -> None:
        world.set_server(gflops=7.0)
        seen.append(world._changes.server.flops_per_s)

    at(1.0, act, table())
    assert seen == [7e9]


@pytest.mark.parametrize(
    ("policy", "outcome", "cause", "train_s"),
    [("lost", "lost", "offline", 49.0), ("pause", "applied", "", 100.0),
     ("finish", "applied", "", 100.0)],
)  # fmt: skip
def test_a_device_that_leaves_does_what_its_policy_says(
    policy: str, outcome: str, cause: str, train_s: float
):
    acts = [At(50.0, lambda world: world.leave(0)), At(250.0, lambda world: world.come_back(0))]
    run = row(played(table(group={"faults": {"on_offline": policy}}), *acts))
    assert (run["outcome"], run["cause"]) == (outcome, cause)
    assert run["train_s"] == pytest.approx(train_s)
    assert run["ended_s"] == pytest.approx({"lost": 50.0, "pause": 302.0, "finish": 102.0}[policy])


def test_a_device_that_is_away_is_not_asked():
    stop = {"after_s": 400.0}
    whole = table(2, stop=stop)
    run = played(whole, At(10.0, lambda world: world.leave(0))).tasks
    assert (run["device"] == 0).sum() == 1
    assert (run["device"] == 1).sum() > 2


def test_a_step_that_waits_for_any_device_is_made_when_one_comes_back():
    def leave(world: Any) -> None:
        for device in range(world.devices):
            world.leave(device)

    acts = [At(0.0, leave), At(33.0, lambda world: world.come_back(1))]
    run = played(table(), *acts).tasks
    assert run["dispatched_s"].tolist() == [33.0]
    assert run["device"].tolist() == [1]


def test_an_ended_task_is_lost_for_the_cause_that_is_given():
    run = at(50.0, lambda world: world.end_task(0, "strike"), table())
    assert tuple(row(run)[["outcome", "cause", "ended_s"]]) == ("lost", "strike", 50.0)


def test_what_ends_at_an_instant_has_ended_when_a_process_acts():
    """The download of 1 s is over, so the change at 1 s finds the training begun."""
    whole = table(1)
    whole["learning"]["parameters"] = 250_000 - 16  # 1,000,000 bytes with the frame
    seen: list[str] = []
    at(1.0, lambda world: seen.append(world.phase(0)), whole)
    at(0.75, lambda world: seen.append(world.phase(0)), whole)
    assert seen == ["train", "download"]


def test_processes_act_before_the_first_step():
    run = at(0.0, lambda world: world.leave(0), table())
    assert run.tasks["device"].tolist() == [1]


def test_processes_act_in_the_order_in_which_they_are_listed():
    said: list[int] = []
    acts = [At(5.0, lambda world, k=k: said.append(k)) for k in range(4)]
    played(table(), *acts)
    assert said == [0, 1, 2, 3]


def test_a_process_that_does_nothing_changes_nothing():
    whole = table(3, stop={"after_s": 500.0}, group={"faults": {"drop_probability": 0.3}})
    alone, watched = played(whole).tasks, at(5.0, lambda world: None, whole).tasks
    assert alone["outcome"].tolist() == watched["outcome"].tolist()
    for name in ("ended_s", "download_s", "train_s", "upload_s", "down_bytes", "up_bytes"):
        assert watched[name].tolist() == pytest.approx(alone[name].tolist(), rel=1e-9)


def test_what_may_be_known_is_what_is():
    seen: dict[str, Any] = {}

    def look(world: Any) -> None:
        world.set_speed(1, 2.0)
        seen.update(
            devices=world.devices, now_s=world.now_s, version=world.version, busy=world.busy(),
            speeds=(world.speed(0), world.speed(1)), link=world.link(0), cell=world.cell(0),
            cells=world.cells, battery_j=world.battery_j(0), present=world.present(0),
            rate=world.column("down_bytes_per_s").tolist(),
        )  # fmt: skip

    hall = {"network": {"cell": [{"name": "hall"}]}, "server": SHARED}
    full = {"cell": "hall", "power": {"train_w": 1.0}, "battery": {"capacity_j": 500.0}}
    at(51.0, look, table(group=full, **hall))
    assert seen.pop("battery_j") == pytest.approx(450.0)
    assert seen == {
        "devices": 2, "now_s": 51.0, "version": 0, "busy": [0, 1], "speeds": (1.0, 2.0),
        "link": (1.0, 1.0), "cell": 0, "cells": ("hall",), "present": True, "rate": [1e6, 1e6],
    }  # fmt: skip


def test_the_load_is_what_flows():
    hall = {"network": {"cell": [{"name": "hall"}]}, "server": {**SHARED, "down_mbps": 8.0}}
    seen: list[Any] = []
    at(0.5, lambda world: seen.append((world.load(), world.load("hall"))),
       table(group={"cell": "hall"}, **hall))  # fmt: skip
    assert seen == [((pytest.approx(1e6), 0), (pytest.approx(1e6), 0))]


def test_changes_and_entries_are_rows_of_the_table_of_events():
    def act(world: Any) -> None:
        world.set_speed(0, 0.5)
        world.set_speed(0, 0.5)  # no change
        world.log("heat", 1, 41.5)
        world.log("note")

    events = at(7.0, act, table()).events
    assert list(events) == ["time", "process", "kind", "device", "value"]
    assert events["time"].tolist() == [7.0] * 3
    assert events["kind"].tolist() == ["world.set_speed", "heat", "note"]
    assert events["device"].fillna(-1).tolist() == [0, 1, -1]
    assert events["value"].tolist()[:2] == [0.5, 41.5]
    assert set(events["process"]) == {"world_toys:At"}


def test_a_run_without_processes_has_no_table_of_events(tmp_path):
    run = simfl.run(table(), out=tmp_path / "run")
    assert run.events.empty
    assert not (tmp_path / "run" / "events.parquet").exists()
