"""Whole runs, engine included, as ratios to a bare PyTorch loop that makes the same SGD steps.

    python benchmarks/learning.py [CASE...]

The loop is a module, `cross_entropy` and `torch.optim.SGD` on one thread, with its mini-batches
drawn in advance: no server, no messages, no evaluation. A run is timed from its first event to its
summary; the digits are evaluated every ten versions, MNIST at both ends and on 200 examples only.
Loading the data and starting processes are not timed.
Runs and loop take turns. Each ratio is the median of five, by the clock on the wall and by the
processor time of this process. MNIST is read from SIMFL_DATA_DIR.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from simfl.clock.kernel import Kernel
from simfl.engine.build import fleet_of, plan_of, workload_of
from simfl.engine.loading import problem_of
from simfl.engine.workload import Learning
from simfl.errors import DataError
from simfl.learn.datasets.base import DataDir, Dataset
from simfl.learn.datasets.images import Mnist
from simfl.learn.trainers.jobs import Job, batches
from simfl.learn.trainers.one_by_one import single_thread
from simfl.messages import local_steps
from simfl.results.digest import digest
from simfl.results.result import Result
from simfl.results.store import Store
from simfl.results.summary import summarise
from simfl.scenario import Scenario, parse
from simfl.streams import Streams

ROUNDS = 5


Times = tuple[float, float]  # seconds on the wall and of this process


@dataclass(frozen=True)
class Case:
    """A scenario, and ways to compute it: (trainer, workers) with the ratio aimed at, if any."""

    learning: dict[str, Any]
    strategy: dict[str, Any]
    devices: int
    versions: int
    ways: dict[tuple[str, int], float | None]
    evaluate: dict[str, Any] = field(default_factory=dict)

    def scenario(self, trainer: str) -> Scenario:
        group = {
            "compute": {"kind": "exponential", "mean_s": 30.0},
            "network": {"down_mbps": 20.0, "up_mbps": 5.0, "latency_s": 0.05},
            "count": self.devices,
        }
        return parse(
            {
                "name": "learning",
                "fleet": {"group": [group]},
                "learning": {**self.learning, "trainer": trainer},
                "strategy": self.strategy,
                "evaluate": self.evaluate,
                "stop": {"versions": self.versions},
            }
        )


DIGITS = {
    "dataset": "digits",
    "partition": {"kind": "dirichlet", "alpha": 0.3},
    "model": {"kind": "mlp", "hidden": [128]},
    "batch_size": 10,
}


@dataclass(frozen=True)
class FewTests:
    """MNIST with 200 test examples, for the loop evaluates nothing."""

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Dataset:
        whole = Mnist()(source, rng)
        return replace(whole, x_test=whole.x_test[:200], y_test=whole.y_test[:200])


MNIST = {"dataset": FewTests(), "partition": "iid", "batch_size": 20}

CASES = {
    "digits": Case(
        DIGITS,
        {"kind": "fedavg", "cohort": 10, "epochs": 5},
        devices=100,
        versions=500,
        ways={
            ("compiled", 1): 0.15,
            ("batched", 1): 0.35,
            ("one-by-one", 1): None,
        },
        evaluate={"every_versions": 10},
    ),
    "fedbuff digits": Case(
        DIGITS,
        {"kind": "fedbuff", "concurrency": 50, "buffer": 10, "epochs": 5},
        devices=100,
        versions=500,
        ways={("compiled", 1): 0.15, ("batched", 1): None},
        evaluate={"every_versions": 10},
    ),
    "mlp-1000": Case(
        MNIST | {"model": {"kind": "mlp", "hidden": [200]}},
        {"kind": "fedavg", "cohort": 100, "epochs": 1},
        devices=1000,
        versions=10,
        ways={
            ("compiled", 1): 0.5,
            ("batched", 1): None,
            ("compiled", 2): 0.36,
        },
    ),
    "cnn": Case(
        MNIST | {"model": {"kind": "cnn"}},
        {"kind": "fedavg", "cohort": 10, "epochs": 1},
        devices=100,
        versions=1,
        ways={("one-by-one", 1): None, ("channels-last", 1): 0.95, ("channels-last", 2): 0.6},
    ),
}


def main(names: list[str]) -> None:
    print(f"{'case':<16}{'trainer':<12}{'workers':>8}{'wall':>8}{'process':>9}{'aim':>7}   range")
    for name in names or CASES:
        try:
            rows = compared(CASES[name])
        except DataError as error:
            print(f"{name:<16}skipped: {error}")
            continue
        for (trainer, workers), (wall, process) in rows.items():
            aim = CASES[name].ways[trainer, workers]
            print(
                f"{name:<16}{trainer:<12}{workers:>8}{statistics.median(wall):>8.3f}"
                f"{statistics.median(process) if workers == 1 else float('nan'):>9.3f}"
                f"{aim or float('nan'):>7.2f}   {min(wall):.3f}-{max(wall):.3f}",
                flush=True,
            )


def compared(case: Case) -> dict[tuple[str, int], tuple[list[float], list[float]]]:
    """Ratios to the bare loop, by the wall and by processor time, for each way to compute."""
    whole = case.scenario("auto")
    problem = problem_of(whole, Streams(whole.seed))
    steps: list[tuple[int, int]] = []
    for way in case.ways:
        _, steps = run(case, *way)  # once to warm up, and to see what was trained
    loop = bare(problem, whole, steps)
    ratios: dict[tuple[str, int], tuple[list[float], list[float]]] = {
        way: ([], []) for way in case.ways
    }
    for _ in range(ROUNDS):
        reference = timed(loop)
        for way, columns in ratios.items():
            for column, mine, its in zip(columns, run(case, *way)[0], reference, strict=True):
                column.append(mine / its)
    return ratios


def run(case: Case, trainer: str, workers: int) -> tuple[Times, list[tuple[int, int]]]:
    """Plays the case; returns its times, and device and steps of every update applied."""
    whole = case.scenario(trainer)
    streams = Streams(whole.seed)
    fleet = fleet_of(whole, streams)
    workload = workload_of(whole, problem_of(whole, streams), streams, workers=workers)
    assert isinstance(workload, Learning)
    assert workload.notes["trainer"].startswith(whole.learning.trainer)
    workload.trainer.train([Job(workload.initial, d, 0, steps=1) for d in range(8)])
    with closing(Store(None)) as store, closing(workload):
        kernel = Kernel(fleet, workload, whole.strategy, streams, plan_of(whole), store.append)
        result = Result(store.folder)

        def play() -> None:
            kernel.run()
            kernel.close()
            store.finish()
            summarise(result.parts, devices=case.devices)
            digest(store.folder, kernel.server.published[0])

        with single_thread():
            times = timed(play)
        done = result.tasks[result.tasks.outcome == "applied"]
        size = whole.learning.batch_size
        return times, [
            (device, local_steps(n, size, epochs, None))
            for device, n, epochs in zip(done.device, done.examples, done.epochs, strict=True)
        ]


def bare(problem: Any, whole: Scenario, tasks: list[tuple[int, int]]) -> Callable[[], None]:
    """The same steps, one after another, by the book."""
    net = copy.deepcopy(problem.model).train()
    sgd = torch.optim.SGD(net.parameters(), whole.learning.lr)
    streams, size, work = Streams(0), whole.learning.batch_size, []
    for device, steps in tasks:
        x, y = problem.data.of(device)
        drawn = batches(streams, device, 0, len(x), size, steps)
        work.append((x, y, [torch.from_numpy(batch) for batch in drawn]))

    def loop() -> None:
        for x, y, drawn in work:
            for batch in drawn:
                sgd.zero_grad()
                F.cross_entropy(net(x[batch]), y[batch]).backward()
                sgd.step()

    def alone() -> None:
        with single_thread():
            loop()

    return alone


def timed(work: Callable[[], None]) -> Times:
    wall, process = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - process


if __name__ == "__main__":
    main(sys.argv[1:])
