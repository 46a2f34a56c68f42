"""A run of the engine, recorded: who took part, on which mini-batches, and every model it made.

A cross-check plays the same rounds a second time, from the equations of a paper and in plain
torch. Of simfl it is given the untrained model, the schedule (who was asked when, and whose
answer was folded in which version) and the mini-batches of every task; the rest it works out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from torch import Tensor

from simfl.clock.kernel import Kernel
from simfl.clock.server import Server
from simfl.engine.build import fleet_of, plan_of, workload_of
from simfl.engine.loading import problem_of
from simfl.engine.workload import Learning
from simfl.learn.models.flat import params_of
from simfl.learn.trainers import one_by_one
from simfl.messages import Task
from simfl.scenario import parse
from simfl.streams import Streams

Batches = list[tuple[Tensor, Tensor]]


@dataclass
class Recorded:
    """models: of what travels, (P,) float64, one for each version. untrained: the whole model.

    rounds: the tasks that each version folded. batches: of each (device, index), its mini-batches
    in order, inputs in float64. sizes: n_i. tasks: by serial.
    """

    kernel: Kernel
    sizes: list[int]
    untrained: Tensor
    models: list[Tensor] = field(default_factory=list)
    rounds: list[list[Task]] = field(default_factory=list)
    batches: dict[tuple[int, int], Batches] = field(default_factory=lambda: defaultdict(list))
    tasks: dict[int, Task] = field(default_factory=dict)

    def of(self, task: Task) -> Batches:
        """The mini-batches of a task."""
        return self.batches[task.device, task.index]

    def kept(self, device: int, name: str) -> Tensor:
        """What the local rule keeps on a device, in float64."""
        return self.kernel.workload.memories[device].rule[name].double()


def recorded(table: dict[str, Any], seed: int) -> Recorded:
    """Plays a scenario, one task after the other, and writes down what a second player needs."""
    learning = {**table["learning"], "trainer": "one-by-one"}
    whole, streams = parse({**table, "learning": learning}, {"seed": seed}), Streams(seed)
    problem, plan = problem_of(whole, streams), plan_of(whole)
    workload, fleet = workload_of(whole, problem, streams), fleet_of(whole, streams)
    assert isinstance(workload, Learning)
    kernel = Kernel(fleet, workload, whole.strategy, streams, plan, lambda name, columns: None)
    run = Recorded(kernel, workload.examples.tolist(), params_of(problem.model).flat.double())
    run.models.append(kernel.server.params.flat.double())
    with _watched(run):
        kernel.run()
        kernel.close()
    return run


@contextmanager
def _watched(run: Recorded) -> Iterator[None]:
    met, apply, start = one_by_one.met, Server.apply, Learning.start

    def noted(local: Any, opened: Any, *turn: Any) -> Iterator[tuple[Tensor, Tensor]]:
        for x, y in met(local, opened, *turn):
            run.batches[opened.job.device, opened.job.index].append((x.double(), y))
            yield x, y

    def applied(server: Server, change: Any) -> None:
        apply(server, change)
        run.models.append(server.params.flat.double())
        run.rounds.append([run.tasks[serial] for serial in change.weights])

    def started(workload: Learning, task: Task) -> None:
        run.tasks[task.serial] = task
        start(workload, task)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(one_by_one, "met", noted)
        patch.setattr(Server, "apply", applied)
        patch.setattr(Learning, "start", started)
        yield
