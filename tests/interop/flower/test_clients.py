"""Devices' code in other processes: the same ledger, the same models, the same errors."""

from __future__ import annotations

import os
import random
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from toyflower import SECOND, ToyFlower, ToyMessage, answer, model, played, scene

from simfl.errors import InputError
from simfl.interop.flower.play import AppRun
from simfl.interop.flower.run import scenario_of
from simfl.interop.flower.virtual_time.callers import Code

FLEET = scene({"count": 6, "faults": {"drop_probability": 0.3}})


def client(message: ToyMessage, context: Any) -> ToyMessage:
    """Draws from global generators, counts its calls, and says which process it is in."""
    reply = answer(message, context)
    if message.device == 5:
        raise ValueError("of device 5")
    reply.model = model(random.random() + float(np.random.random()))  # noqa: NPY002
    reply.metrics |= {"num-examples": 10 + message.device}
    return reply


def main(grid: Any, context: Any) -> None:
    total = 0.0
    for _ in range(3):
        notes = [ToyMessage(device, model=model(total), weight=SECOND) for device in range(6)]
        for reply in grid.send_and_receive(notes):
            if not reply.failure:
                total += float(np.frombuffer(reply.model[0], np.float32)[0])
                total += reply.metrics["calls"]
    grid.push([ToyMessage(0, model=model(total), weight=SECOND)])


def run(workers: int, **more: Any) -> Any:
    apps = nullcontext((main, client))
    scenario = scenario_of(FLEET, overrides=more)
    return AppRun(scenario, apps, Code(), ToyFlower(), None, False, workers)(None, None, None)


def test_workers_change_nothing_but_the_process() -> None:
    alone, shared = (run(workers) for workers in (1, 2))
    assert alone.digest == shared.digest
    assert alone.params.flat.tolist() == shared.params.flat.tolist()
    for key in ("client_calls", "client_errors", "client_error"):
        assert alone.summary[key] == shared.summary[key]
    assert shared.summary["client_error"] == "ValueError: of device 5 (device 5)"


def test_measured_times_and_workers_contradict_each_other() -> None:
    with pytest.raises(InputError, match=r"workers = 2 and strategy\.measured"):
        run(2, **{"strategy.measured_gflops": 1.0})


def test_one_worker_is_this_process() -> None:
    seen: list[int] = []

    def noting(message: ToyMessage, context: Any) -> ToyMessage:
        seen.append(os.getpid())
        return answer(message, context)

    played(main, scene({"count": 6}), lambda message, context: client(message, context))
    played(lambda grid, _: grid.send_and_receive([ToyMessage(0)]), scene({"count": 1}), noting)
    assert seen == [os.getpid()]
