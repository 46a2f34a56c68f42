"""Devices that join a run and leave it for good."""

from __future__ import annotations

import gc
import tracemalloc
from typing import Any

import pytest
from world_toys import At, at, played, table

import simfl
from simfl.errors import PluginError

STOP = {"after_s": 300.0}
BUSY = {"kind": "fedbuff", "concurrency": 9, "buffer": 2}
LONG = {"strategy": BUSY, "stop": STOP}


def test_newcomers_have_the_numbers_behind_the_others_and_are_given_tasks():
    seen: list[Any] = []

    def join(world: Any) -> None:
        seen.extend((world.devices, world.add(0), world.add("constant", 2), world.devices))

    run = at(10.0, join, table(2, **LONG))
    assert seen == [2, [2], [3, 4], 5]
    assert set(run.tasks["device"]) == {0, 1, 2, 3, 4}
    assert run.tasks["dispatched_s"][run.tasks["device"] == 4].min() >= 10.0
    assert run.devices["device"].tolist() == [0, 1, 2, 3, 4]


def test_a_newcomer_is_what_it_would_be_whenever_and_with_whom_it_came():
    spread = {"compute": {"kind": "constant", "s": 10.0, "spread_sigma": 1.0},
              "network": {"down_mbps": 8.0, "up_mbps": 8.0, "down_sigma": 0.5}}  # fmt: skip
    whole = table(3, group=spread, **LONG)
    together = at(10.0, lambda world: world.add(0, 3), whole).devices
    acts = [At(t, lambda world: world.add(0)) for t in (5.0, 50.0, 51.0)]
    alone = played(whole, *acts).devices
    assert alone.equals(together)
    assert alone["down_bytes_per_s"].nunique() == 6


def test_newcomers_of_a_group_are_like_its_devices():
    groups = [{"count": 1, "compute": {"kind": "constant", "s": 7.0}, "name": "quick"},
              {"count": 1, "compute": {"kind": "constant", "s": 70.0}, "name": "slow",
               "power": {"train_w": 2.0}, "battery": {"capacity_j": 900.0}}]  # fmt: skip
    run = at(1.0, lambda world: world.add("slow"), table(fleet={"group": groups}, **LONG))
    mine = run.tasks[(run.tasks["device"] == 2) & (run.tasks["outcome"] == "applied")]
    assert mine["train_s"].tolist() == pytest.approx([70.0] * len(mine))
    assert mine["energy_j"].tolist() == pytest.approx([140.0] * len(mine))
    assert set(mine["device_class"]) == {"slow"}
    assert run.devices["battery_j"].tolist() == [float("inf"), 900.0, 900.0]
    assert run.summary["participation_jain"] > 0.0


def test_a_retired_device_is_gone_with_its_task():
    acts = [At(50.0, lambda world: world.retire(0))]
    tasks = played(table(2, **LONG), *acts).tasks
    mine = tasks[tasks["device"] == 0]
    assert mine[["outcome", "cause", "ended_s"]].to_numpy().tolist() == [["lost", "retired", 50.0]]
    assert (tasks["device"] == 1).sum() > 2


def test_who_is_left_can_be_asked():
    seen: list[Any] = []

    def turn_over(world: Any) -> None:
        world.add(0, 2)
        world.retire(0)
        world.retire(3)
        seen.extend((world.members(), world.devices))

    at(5.0, turn_over, table(3, **LONG))
    assert seen == [[1, 2, 4], 5]


@pytest.mark.parametrize("method", ["set_speed", "leave", "retire", "present", "end_task"])
def test_a_retired_device_is_no_device(method: str):
    more = {"set_speed": (0.5,), "end_task": ("x",)}.get(method, ())

    def act(world: Any) -> None:
        world.retire(1)
        getattr(world, method)(1, *more)

    with pytest.raises(PluginError, match=f"{method} was given device 1, which has been retired"):
        at(5.0, act, table())


@pytest.mark.parametrize(
    ("group", "count", "words"),
    [(1, 1, "group 1, but there are groups 0 to 0"), ("contant", 1, "did you mean 'constant'"),
     (0, -1, "count = -1, expected a whole number"), (0, 1.5, "count = 1.5, expected a whole")],
)  # fmt: skip
def test_what_no_device_can_be_added_from_is_refused(group: Any, count: Any, words: str):
    with pytest.raises(PluginError, match=words):
        at(5.0, lambda world: world.add(group, count), table())


def test_a_run_whose_devices_have_all_gone_waits_for_a_newcomer():
    acts = [At(0.0, lambda world: [world.retire(i) for i in range(2)]),
            At(40.0, lambda world: world.add(0, 2))]  # fmt: skip
    tasks = played(table(), *acts).tasks
    assert tasks["device"].tolist() == [2, 3]
    assert tasks["dispatched_s"].tolist() == [40.0, 40.0]


class Churn:
    """A device joins each second and is retired ten seconds later. seen: traced bytes."""

    def __init__(self, devices: int) -> None:
        self.devices, self.seen = devices, dict[int, int]()

    def run(self, env: Any, world: Any) -> Any:
        for k in range(self.devices):
            yield env.timeout(1)
            (device,) = world.add(0)
            world.set_speed(device, 2.0)
            world.leave(device)
            world.come_back(device)
            if k >= 10:
                world.retire(device - 10)
            if k in (199, self.devices - 1):
                gc.collect()
                self.seen[k] = tracemalloc.get_traced_memory()[0]


@pytest.mark.parametrize(
    "devices", [600, pytest.param(10_000, marks=pytest.mark.study)]
)  # a column's row is 50 bytes or so, and rows of tables wait to be written
def test_churned_devices_leave_no_memory_behind(devices: int):
    group = {"presence": {"kind": "diurnal"}, "battery": {"capacity_j": 1e6}}
    stop = {"after_s": devices + 1.0}
    whole = table(20, 3.0, strategy={**BUSY, "concurrency": 5}, stop=stop, group=group)
    churn = Churn(devices)
    tracemalloc.start()
    try:
        run = played(whole, churn)
    finally:
        tracemalloc.stop()
    grown = churn.seen[devices - 1] - churn.seen[199]
    assert grown < 1_000_000 + 100 * devices
    assert len(run.devices) == devices + 20


def test_newcomers_learn_from_the_data_of_others():
    whole = {
        "fleet": {"group": [{"count": 4, "compute": {"kind": "constant", "s": 1.0}}]},
        "learning": {"dataset": "digits", "model": "softmax"},
        "strategy": {"kind": "fedbuff", "concurrency": 6, "buffer": 3},
        "stop": {"versions": 6},
    }
    run = simfl.run(whole, processes=[At(0.0, lambda world: world.add(0, 2))])
    examples = run.tasks.groupby("device")["examples"].first()
    assert examples.loc[[4, 5]].tolist() == examples.loc[[0, 1]].tolist()
    assert run.summary["final_accuracy"] > 0.5


def test_a_task_for_a_device_that_is_gone_is_refused():
    class Insists:
        local = simfl.LocalRule()

        def init(self, params: Any) -> None:
            return None

        def step(self, state: None, server: Any, updates: Any) -> Any:
            server.dispatch([0] if server.now_s else [1])
            return simfl.Wait(losses=1)

    acts = [At(5.0, lambda world: world.retire(0)), At(6.0, lambda world: world.retire(1))]
    with pytest.raises(PluginError, match="device 0 was dispatched a task after it was retired"):
        played({**table(), "strategy": Insists()}, *acts)
