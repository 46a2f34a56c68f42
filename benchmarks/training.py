"""The reference trainer beside a bare PyTorch loop that takes the same steps.

    python benchmarks/training.py

One thread, medians of alternating rounds; a ratio of 1 means that hooks, flat buffers and loss
statistics cost nothing.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from simfl.engine.loading import problem_of
from simfl.learn.models.flat import params_of
from simfl.learn.trainers.jobs import Job, batches
from simfl.learn.trainers.local_training import Local
from simfl.learn.trainers.one_by_one import OneByOne, single_thread
from simfl.messages import local_steps
from simfl.scenario import parse
from simfl.strategy.base import LocalRule
from simfl.streams import Streams

ROUNDS = 7
DEVICES = 20
MODELS = {
    "mlp 64-128-10, batch 10": ({"kind": "mlp", "hidden": [128]}, 10, 5.0),
    "mlp 64-200-200-10, batch 20": ({"kind": "mlp", "hidden": [200, 200]}, 20, 5.0),
    "lenet, batch 20": ({"kind": "lenet"}, 20, 1.0),
}


def main() -> None:
    print(f"one-by-one trainer / bare loop, digits on {DEVICES} devices, medians of {ROUNDS}")
    for name, (model, batch_size, epochs) in MODELS.items():
        ratios = compared(model, batch_size, epochs)
        print(
            f"  {name:<30} {statistics.median(ratios):.2f}  ({min(ratios):.2f}-{max(ratios):.2f})"
        )


def compared(model: dict, batch_size: int, epochs: float) -> list[float]:
    """CPU time of the trainer over that of the bare loop, round by round."""
    table = {
        "fleet": {"group": [{"compute": {"kind": "constant", "s": 1.0}, "count": DEVICES}]},
        "learning": {"dataset": "digits", "model": model, "batch_size": batch_size},
        "strategy": "fedavg",
        "stop": {"versions": 1},
    }
    whole, streams = parse(table), Streams(0)
    problem = problem_of(whole, streams)
    options = whole.learning.training
    trainer = OneByOne(Local(problem.model, problem.data, options, LocalRule(), streams))
    jobs = [Job(problem.initial, d, 0, epochs=epochs) for d in range(DEVICES)]

    def bare() -> None:
        net = problem.model.train()
        start = {name: value.clone() for name, value in net.state_dict().items()}
        for job in jobs:
            net.load_state_dict(start)
            sgd = torch.optim.SGD(net.parameters(), lr=options.lr)
            x, y = problem.data.of(job.device)
            steps = local_steps(len(x), batch_size, epochs, None)
            for rows in batches(streams, job.device, 0, len(x), batch_size, steps):
                mine = torch.from_numpy(rows)
                sgd.zero_grad()
                F.cross_entropy(net(x[mine]), y[mine]).backward()
                sgd.step()
            params_of(net)
        net.load_state_dict(start)

    def pair() -> float:
        simulated = timed(lambda: trainer.train(jobs))
        return simulated / timed(bare)

    with single_thread():
        pair()  # warm caches
        return [pair() for _ in range(ROUNDS)]


def timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()
