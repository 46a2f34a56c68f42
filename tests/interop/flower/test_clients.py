"""Devices' code in other processes: the same ledger, the same models, the same errors."""

from __future__ import annotations

import os
import random
from contextlib import nullcontext
from typing import Any

import numpy as np
import pytest
from petal import SECOND, Note, Petal, answer, model, played, scene

from simfl.errors import InputError
from simfl.interop.flower.play import AppRun
from simfl.interop.flower.run import scenario_of
from simfl.interop.flower.virtual_time.callers import Code

FLEET = scene({"count": 6, "faults": {"drop_probability": 0.3}})


def client(note: Note, memory: Any) -> Note:
    """Draws from global generators, counts its calls, and says which process it is in."""
    reply = answer(note, memory)
    if note.device == 5:
        raise ValueError("of device 5")
    reply.model = model(random.random() + float(np.random.random()))  # noqa: NPY002
    reply.metrics |= {"num-examples": 10 + note.device}
    return reply


def main(grid: Any, context: Any) -> None:
    total = 0.0
    for _ in range(3):
        notes = [Note(device, model=model(total), weight=SECOND) for device in range(6)]
        for reply in grid.send_and_receive(notes):
            if not reply.failure:
                total += float(np.frombuffer(reply.model[0], np.float32)[0])
                total += reply.metrics["calls"]
    grid.push([Note(0, model=model(total), weight=SECOND)])


def run(workers: int, **more: Any) -> Any:
    apps = nullcontext((main, client))
    scenario = scenario_of(FLEET, overrides=more)
    return AppRun(scenario, apps, Code(), Petal(), None, False, workers)(None, None, None)


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

    def noting(note: Note, memory: Any) -> Note:
        seen.append(os.getpid())
        return answer(note, memory)

    played(main, scene({"count": 6}), lambda note, memory: client(note, memory))
    played(lambda grid, _: grid.send_and_receive([Note(0)]), scene({"count": 1}), noting)
    assert seen == [os.getpid()]
