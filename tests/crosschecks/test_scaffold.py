"""SCAFFOLD against the algorithm of its paper, written again.

Karimireddy et al., ICML 2020, algorithm 1 with options I and II, c of the size of the whole fleet.
With momentum, which the paper has not, cᵢ⁺ is meant to be a mean of the gradients that the device
met, weighted by how far each of them took it: the second player keeps those gradients, and its
variate is that mean and no difference of models.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from plain import digits, furthest, gradient, mlp, spoilt
from recorded import Batches, Recorded, recorded
from torch import Tensor

LR, SERVER_LR, ROUNDS = 0.1, 0.8, 4
CASES = {
    "paper": {"weights": "uniform"},
    "option I": {"weights": "uniform", "option": "I"},
    "examples": {"weights": "examples"},
    "momentum": {"weights": "uniform", "momentum": 0.7},
}


def table(weights: str, option: str = "II", momentum: float = 0.0) -> dict[str, Any]:
    return {
        "fleet": {"group": [{"compute": {"kind": "constant", "s": 1.0}, "count": 6}]},
        "learning": digits(40, lr=LR, momentum=momentum),
        "strategy": {
            "kind": "scaffold", "cohort": 3, "weights": weights, "server_lr": SERVER_LR,
            "local": {"kind": "controlvariate", "option": option},
        },
        "stop": {"versions": ROUNDS},
    }  # fmt: skip


def local(
    x: Tensor, c: Tensor, c_i: Tensor, batches: Batches, option: str, rho: float
) -> tuple[Tensor, Tensor]:
    """A device's model and its variate, after all of its mini-batches."""
    y, velocity, gradients = x, torch.zeros_like(x), []
    for batch in batches:
        g = gradient(mlp, y, *batch)
        gradients.append(g)
        velocity = rho * velocity + g - c_i + c
        y = y - LR * velocity
    if option == "I":
        inputs, labels = (torch.cat(part) for part in zip(*batches, strict=True))
        return y, gradient(mlp, x, inputs, labels)
    if rho == 0.0:
        return y, c_i - c + (x - y) / (len(batches) * LR)
    far = [sum(rho**k for k in range(len(batches) - at)) for at in range(len(batches))]
    return y, sum(f * g for f, g in zip(far, gradients, strict=True)) / sum(far)


def scaffold(run: Recorded, weights: str, option: str = "II", momentum: float = 0.0):
    """The server's models and variates, by round."""
    x, devices = run.models[0], len(run.sizes)
    c, c_i = torch.zeros_like(x), [torch.zeros_like(x)] * devices
    even = weights == "uniform"
    share = [1 / devices if even else n / sum(run.sizes) for n in run.sizes]
    models, variates = [x], [c]
    for tasks in run.rounds:
        step, gained = torch.zeros_like(x), torch.zeros_like(x)
        for i, task in sorted((task.device, task) for task in tasks):
            y, renewed = local(x, c, c_i[i], run.of(task), option, momentum)
            step += share[i] * (y - x) / sum(share[task.device] for task in tasks)
            gained += share[i] * (renewed - c_i[i])
            c_i[i] = renewed
        x, c = x + SERVER_LR * step, c + gained
        models.append(x)
        variates.append(c)
    return models, variates, c_i


@cache
def played(case: str) -> Recorded:
    return recorded(table(**CASES[case]), seed=4)


every_case = pytest.mark.parametrize("case", CASES)


@every_case
def test_the_engine_s_models_are_those_of_the_paper_s_rounds(case):
    run = played(case)
    models, _, _ = scaffold(run, **CASES[case])
    assert furthest(run.models, models) < 1e-6


@every_case
def test_so_are_the_variates_of_both_sides(case):
    run = played(case)
    _, c, c_i = scaffold(run, **CASES[case])
    assert float((run.kernel.state.c - c[-1]).abs().max()) < 1e-6
    seen = {task.device for tasks in run.rounds for task in tasks}
    assert max(float((run.kept(i, "c_i") - c_i[i]).abs().max()) for i in seen) < 1e-6


def test_devices_differ_in_the_steps_they_take_and_take_part_now_and_then():
    run = played("paper")
    assert len({len(run.of(task)) for tasks in run.rounds for task in tasks}) > 2
    assert len({frozenset(task.device for task in tasks) for tasks in run.rounds}) > 1


@pytest.mark.parametrize(
    ("case", "right", "wrong"),
    [
        ("paper", "g - c_i + c\n", "g + c_i - c\n"),
        ("paper", "g - c_i + c\n", "g - c_i\n"),
        ("paper", "c_i - c + (x - y)", "c_i - c + (y - x)"),
        ("paper", "c_i - c + (x - y)", "c_i + c + (x - y)"),
        ("paper", "(len(batches) * LR)", "(4 * LR)"),
        ("paper", "(len(batches) * LR)", "LR"),
        ("paper", "1 / devices if", "1 / 3 if"),
        ("paper", "even = weights == 'uniform'", "even = weights != 'uniform'"),
        ("paper", "renewed - c_i[i]", "renewed"),
        ("paper", "            c_i[i] = renewed\n", ""),
        ("paper", "SERVER_LR * step", "step"),
        ("option I", "mlp, x, inputs, labels", "mlp, y, inputs, labels"),
        ("examples", "n / sum(run.sizes)", "n / sum(run.sizes[:3])"),
        ("momentum", "len(batches) - at", "len(batches) - at + 1"),
        ("momentum", "rho * velocity + g - c_i + c", "rho * velocity + g"),
    ],
)
def test_a_sign_a_weight_or_a_scale_makes_a_difference(case, right, wrong):
    changed = spoilt([local, scaffold], right.replace("'", '"'), wrong.replace("'", '"'))
    models, _, _ = changed(played(case), **CASES[case])
    assert furthest(played(case).models, models) > 1e-5
