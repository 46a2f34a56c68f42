"""What both ends of every link remember while a run goes on."""

from __future__ import annotations

from typing import Any

import numpy as np

from simfl.clock.kernel import Kernel
from simfl.engine.build import fleet_of, plan_of, workload_of
from simfl.engine.exchange import Memory
from simfl.engine.loading import problem_of
from simfl.engine.overrides import resolve
from simfl.engine.workload import Learning
from simfl.messages import Task
from simfl.streams import Streams


def distances(scenario: str, seed: int, **overrides: Any) -> list[float]:
    """Largest distance between the two ends of a link, over both directions, after each delivery.

    As a share of the model's length; 0 only where they are equal bit by bit.
    """
    whole = resolve(scenario, overrides, seed)
    streams, found = Streams(seed), []
    workload = workload_of(whole, problem_of(whole, streams), streams)
    assert isinstance(workload, Learning)
    deliver = workload.deliver

    def followed(task: Task, server: Any) -> Any:
        update = deliver(task, server)
        found.append(_apart(workload.memories[task.device]))
        return update

    workload.deliver = followed  # type: ignore[method-assign]
    kernel = Kernel(
        fleet_of(whole, streams), workload, whole.strategy, streams, plan_of(whole), lambda *_: None
    )
    kernel.run()
    return found


def _apart(memory: Memory) -> float:
    pairs = ((memory.down_sent, memory.down_kept), (memory.up_sent, memory.up_kept))
    return max(_distance(a.own[-1], b.own[-1]) for a, b in pairs if a.own and b.own)


def _distance(a: np.ndarray, b: np.ndarray) -> float:
    if a.tobytes() == b.tobytes():
        return 0.0
    return max(float(np.linalg.norm(a - b) / np.linalg.norm(a)), 1e-12)
