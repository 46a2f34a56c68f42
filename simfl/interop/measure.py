"""This machine as a device class: how fast it trains a given model, by the stopwatch.

The only place where simfl looks at a clock for a number of a simulation. Steps of two batch sizes
are timed on one thread; what grows with the batch is work, what does not is overhead.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simfl.engine.loading import problem_of
from simfl.errors import ScenarioError
from simfl.fleet.catalogue import DeviceClass, quantities
from simfl.learn.problem import Problem
from simfl.scenario import LearningOptions, Scenario

#: How many times larger the second batch is.
LARGER = 8


@dataclass(frozen=True)
class Speed:
    """A machine's rate for one model.

    jitter_sigma: natural-log spread between steps, from their quantiles, since a machine has
        moments of its own.
    """

    gflops: float
    step_overhead_s: float
    jitter_sigma: float
    examples_per_s: float


def speed(step: Callable[[int], None], batch_size: int, flops: float, steps: int = 30) -> Speed:
    """Times `step(batch)`;

    flops: of training on one example. Medians, after warming up.
    """
    sizes = (batch_size, LARGER * batch_size)
    times = {size: _times(step, size, steps) for size in sizes}
    small_s, large_s = (float(np.median(times[size])) for size in sizes)
    work_s = max((large_s - small_s) / (sizes[1] - sizes[0]), 1e-12)
    work_s = min(work_s, small_s / batch_size)  # noise must not make the overhead negative
    low, high = np.log(np.quantile(times[batch_size], (0.16, 0.84)))
    return Speed(
        gflops=flops / work_s / 1e9,
        step_overhead_s=small_s - work_s * batch_size,
        jitter_sigma=float(high - low) / 2.0,
        examples_per_s=batch_size / small_s,
    )


def measured(scenario: Scenario, data_dir: Path | None = None) -> DeviceClass:
    """This host as a device class, by training the scenario's model on one thread.

    Raises ScenarioError where the scenario has no model.
    """
    import torch

    from simfl.learn.trainers.one_by_one import single_thread

    options = scenario.learning
    problem = problem_of(scenario, data_dir=data_dir)
    if problem is None or not isinstance(options, LearningOptions):
        raise ScenarioError(f'{scenario.name}: learning.dataset = "none" has no model to measure')
    with single_thread():
        found = speed(_step(problem, options.lr), options.batch_size, problem.flops)
    kind = getattr(options.model, "kind", type(options.model).__name__.lower())
    source = (
        f"measured on one thread with PyTorch {torch.__version__}: {kind}, "
        f"{problem.initial.layout.size:,} parameters, {problem.flops / 1e6:.3g} MFLOP per example, "
        f"batches of {options.batch_size}: {found.examples_per_s:.4g} examples/s"
    )
    return device_class(found, f"this machine, training the model of {scenario.name}", source)


def device_class(found: Speed, about: str, source: str) -> DeviceClass:
    """The machine as a class; what was not measured is 0, and says so."""

    def number(value: float, unit: str, mark: str = "C") -> dict[str, object]:
        origin = source if mark == "C" else "not measured"
        return {"value": float(f"{value:.4g}"), "unit": unit, "source": origin, "mark": mark}

    return DeviceClass.model_validate(
        {
            "kind": "device",
            "about": about,
            "train_gflops": number(found.gflops, "GFLOP/s"),
            "spread_sigma": number(0.0, "ln", "M"),
            "jitter_sigma": number(found.jitter_sigma, "ln"),
            "setup_s": number(0.0, "s", "M"),
            "step_overhead_s": number(found.step_overhead_s, "s"),
            "memory_mb": number(0.0, "MB", "M"),
            "train_w": number(0.0, "W", "M"),
            "radio_w": number(0.0, "W", "M"),
        }
    )


def to_toml(entry: DeviceClass) -> str:
    """The class as a file of `devices/`, a number on each line."""
    lines = [f'kind = "{entry.kind}"', f"about = {_text(entry.about)}"]
    for name, q in quantities(entry).items():
        lines.append(
            f"{name} = {{ value = {q.value!r}, unit = {_text(q.unit)}, mark = {_text(q.mark)}, "
            f"source = {_text(q.source)} }}"
        )
    return "\n".join(lines) + "\n"


def _text(words: str) -> str:
    import tomli_w

    return tomli_w.dumps({"x": words}).removeprefix("x = ").rstrip("\n")


def _times(step: Callable[[int], None], size: int, steps: int) -> np.ndarray:
    for _ in range(3):
        step(size)
    taken = []
    for _ in range(steps):
        begun = time.perf_counter()
        step(size)
        taken.append(time.perf_counter() - begun)
    return np.array(taken)


def _step(problem: Problem, lr: float) -> Callable[[int], None]:
    """A step of plain SGD on so many examples."""
    import torch

    from simfl.learn.objective.losses import PLAIN

    dataset, model = problem.data.dataset, problem.model.train()
    optimiser = torch.optim.SGD(model.parameters(), lr=lr)

    def step(batch: int) -> None:
        rows = torch.arange(batch) % len(dataset.x)
        optimiser.zero_grad()
        loss: torch.Tensor = PLAIN.loss(model(dataset.x[rows]), dataset.y[rows]).mean()
        loss.backward()
        optimiser.step()

    return step
