"""What an app's messages cost, and what the devices' code can touch."""

from __future__ import annotations

import random
import time
from typing import Any

import numpy as np
import pytest
from toyflower import SECOND, ToyMessage, answer, model, played, scene


def once(*kinds: str, devices: int = 1) -> Any:
    def main(grid, context):
        for kind in kinds:
            grid.send_and_receive([ToyMessage(d, kind, weight=SECOND) for d in range(devices)])

    return main


def costs(result: Any) -> list[float]:
    return result.tasks.sort_values("task")["train_s"].tolist()


def test_a_message_costs_what_its_kind_asks_for() -> None:
    kinds = ["train", "train.mine", "evaluate", "query", "get_parameters"]
    result = played(once(*kinds), scene({"count": 1}), **{"strategy.epochs": 3.0})
    assert costs(result) == pytest.approx([3.0, 3.0, 1.0 / 3.0, 0.0, 0.0])
    tasks = result.tasks.sort_values("task")
    assert tasks["epochs"].tolist() == [3.0, 3.0, 0.0, 0.0, 0.0]
    assert tasks["cause"].tolist()[2:] == kinds[2:]


@pytest.mark.parametrize(
    ("option", "value", "seconds"),
    [("steps", 2, 2.0), ("train_gflop", 7.0, 7.0), ("examples", "reported", 3.0)],
)
def test_work_can_be_stated_in_other_ways(option, value, seconds) -> None:
    def client(message, context):
        reply = answer(message, context)
        reply.metrics["num-examples"] = 30
        return reply

    result = played(once("train"), scene({"count": 1}), client, **{f"strategy.{option}": value})
    assert costs(result) == [seconds]


def test_a_strategy_s_epochs_stay_when_an_app_takes_its_place() -> None:
    table = scene({"count": 1}, strategy={"kind": "fedavg", "cohort": 1, "epochs": 4.0})
    assert costs(played(once("train"), table)) == [4.0]


def test_measured_time_is_marked_as_not_reproducible() -> None:
    def client(message, context):
        time.sleep(0.02)  # real: a device's code is never on the virtual clock
        return answer(message, context)

    result = played(
        once("train"), scene({"count": 1}), client, **{"strategy.measured_gflops": 50.0}
    )
    assert costs(result)[0] > 50.0 * 0.02
    assert "measured" in result.summary["not_reproducible"]
    assert "not_reproducible" not in played(once("train"), scene({"count": 1})).summary


@pytest.mark.parametrize(("charge", "nbytes"), [("message", SECOND + 64), ("arrays", 4 + 64)])
def test_bytes_are_the_message_s_or_its_arrays(charge, nbytes) -> None:
    def main(grid, context):
        grid.send_and_receive([ToyMessage(0, model=model(1.0), weight=SECOND)])

    result = played(main, scene({"count": 1}), **{"strategy.charge": charge})
    assert result.tasks["down_bytes"].tolist() == [nbytes]


def test_devices_draw_from_generators_of_their_own() -> None:
    """The same numbers in whatever order the devices are asked, and the app's own go on."""
    drawn: dict[int, list[Any]] = {}

    def client(message, context):
        drawn.setdefault(message.device, []).append((random.random(), np.random.random()))  # noqa: NPY002
        return answer(message, context)

    def asking(*order: int) -> Any:
        def main(grid, context):
            before = random.random()
            for device in order:
                grid.send_and_receive([ToyMessage(device, weight=SECOND)])
            apps.append((before, random.random()))

        return main

    apps: list[Any] = []
    random.seed(3)
    outside = random.getstate()
    played(asking(0, 1, 1), scene({"count": 2}), client)
    first, drawn = drawn, {}
    played(asking(1, 0, 1), scene({"count": 2}), client)
    assert drawn == first
    assert len(set(first[1])) == 2
    assert apps[0] == apps[1]
    assert random.getstate() == outside


def test_two_runs_are_the_same_to_the_last_bit_and_another_seed_is_not() -> None:
    def client(message, context):
        reply = answer(message, context)
        reply.model = model(random.random())
        return reply

    def main(grid, context):
        asked = random.sample(range(20), 8)
        for value in range(3):
            notes = [
                ToyMessage(device, model=model(random.random()), weight=SECOND) for device in asked
            ]
            grid.send_and_receive(notes)
            assert value < 3

    fleet = scene({"count": 20, "faults": {"drop_probability": 0.2}, "device": "phone-mid"})
    del fleet["fleet"]["group"][0]["compute"]
    digests = [played(main, fleet, client, seed=seed).digest for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]


def test_what_code_does_to_its_message_and_context_stays_there() -> None:
    seen = []

    def client(message, context):
        message.metrics["touched"] = 1.0
        if message.device and not context.state:
            context.state["calls"] = 100
            raise ValueError("and yet it remembers")
        return answer(message, context)

    def main(grid, context):
        asked = [ToyMessage(device, weight=SECOND) for device in (0, 1)]
        grid.send_and_receive(asked)
        seen.extend(message.metrics for message in asked)
        seen.append([r.metrics["calls"] for r in grid.send_and_receive(asked)])

    played(main, scene({"count": 2}), client)
    assert seen == [{}, {}, [2, 101]]


def test_code_for_the_lost_is_never_run() -> None:
    calls = []

    def client(message, context):
        calls.append(message.device)
        return answer(message, context)

    fleet = scene({"count": 50, "faults": {"drop_probability": 1.0}})
    result = played(once("train", devices=50), fleet, client)
    ran = result.tasks[result.tasks["phase"] == "upload"]["device"]
    assert sorted(calls) == sorted(ran)
    assert 0 < len(calls) < 50
