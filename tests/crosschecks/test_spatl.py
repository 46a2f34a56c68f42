"""SPATL's encoder against the equations of its paper, written again.

Yu et al., SC 2022, arXiv 2111.14345: a shared encoder whose gradients are corrected by control
variates, a predictor that stays on the device, uploads of the filters with the largest L2 norm
(one keep ratio for all layers), averages by index. With the momentum of the published runs, cᵢ
is meant to be a mean of the gradients that the device met, weighted by how far each of them took
the encoder: the second player computes that mean and no difference of models.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
import torch
from plain import furthest, gradient, parts, spoilt
from recorded import Batches, Recorded, recorded
from torch import Tensor
from torch.nn.functional import conv2d, cross_entropy, max_pool2d

LR, RHO, CUT, ROUNDS = 0.15, 0.6, 0.4, 4
SHAPES = [(6, 1, 3, 3), (6,), (8, 6, 3, 3), (8,), (8, 8, 3, 3), (8,)]  #: of the encoder
HEAD = [(8, 32), (8,), (10, 8), (10,)]
E = sum(torch.Size(shape).numel() for shape in SHAPES)
CASES = {
    "index_mean": {},
    "damped": {"aggregate": "damped"},
    "zero_fill": {"aggregate": "zero_fill"},
    "post_step": {"control": "post_step"},
    "everything": {"cut": 0.0},
}


def table(aggregate: str = "index_mean", control: str = "in_grad", cut: float = CUT) -> dict:
    agent = {"agent": "uniform", "flops_cut": cut} if cut else {"agent": "all"}
    local = {"kind": "salient", "control": control, "kappa": 0.7, "transfer_epochs": 0, **agent}
    return {
        "fleet": {"group": [{"compute": {"kind": "constant", "s": 1.0}, "count": 5}]},
        "learning": {
            "dataset": "digits",
            "partition": {"kind": "dirichlet", "alpha": 0.1},
            "model": {"kind": "convnet", "channels": [6, 8, 8], "hidden": [8]},
            "batch_size": 80,
            "lr": LR,
            "momentum": RHO,
        },
        "strategy": {"kind": "spatl", "cohort": 3, "aggregate": aggregate, "local": local},
        "stop": {"versions": ROUNDS},
    }


def network(flat: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Three convolutions, the first two with pooling, and two layers of predictor."""
    w1, b1, w2, b2, w3, b3, w4, b4, w5, b5 = parts(flat, SHAPES + HEAD)
    x = max_pool2d(conv2d(x, w1, b1, padding=1).relu(), 2)
    x = max_pool2d(conv2d(x, w2, b2, padding=1).relu(), 2)
    x = conv2d(x, w3, b3, padding=1).relu().flatten(1)
    return cross_entropy((x @ w4.T + b4).relu() @ w5.T + b5, y)


def local(
    x: Tensor, head: Tensor, shift: Tensor, batches: Batches, control: str
) -> tuple[Tensor, Tensor]:
    """The whole model after all mini-batches, and the mean gradient of the encoder on the way."""
    y, velocity, gradients = torch.cat([x, head]), torch.zeros(E + len(head)).double(), []
    for batch in batches:
        g = gradient(network, y, *batch)
        if control == "in_grad":
            gradients.append(g[:E])
            velocity = RHO * velocity + g
            velocity[:E] += shift
            y = y - LR * velocity
        else:
            velocity = RHO * velocity + g
            gradients.append(velocity[:E].clone())  # what the published form takes for one
            y = y - LR * velocity
            y[:E] -= LR * 0.7 * shift
    n = len(batches)
    far = [sum(RHO**k for k in range(n - j)) if control == "in_grad" else 1.0 for j in range(n)]
    mean = sum(f * g for f, g in zip(far, gradients, strict=True)) / sum(far)
    return y, mean if control == "in_grad" else mean + (0.7 - 1.0) * shift


def salient(y: Tensor, cut: float) -> Tensor:
    """Which elements of the encoder are sent: whole filters, with their biases."""
    if not cut:
        return torch.ones(E, dtype=torch.bool)
    flop = [64 * (17 + 1) * 6, 16 * (6 * 17 + 1) * 8, 4 * (8 * 17 + 1) * 8]
    a, b, c = sum(flop[1:]), flop[0], -(1 - cut) * sum(flop)
    p = (-b + math.sqrt(b * b - 4 * a * c)) / (2 * a)  # of flop₁ p + (flop₂ + flop₃) p²
    held = []
    for weight, bias in zip(*[iter(parts(y[:E], SHAPES))] * 2, strict=True):
        norms = weight.flatten(1).norm(dim=1)
        kept = len(bias) - round((1 - p) * len(bias))
        row = norms >= norms.sort(descending=True).values[kept - 1]
        held += [row.repeat_interleave(weight[0].numel()), row]
    return torch.cat(held)


def spatl(
    run: Recorded, aggregate: str = "index_mean", control: str = "in_grad", cut: float = CUT
) -> tuple[list[Tensor], Tensor, list[Tensor], dict[int, Tensor]]:
    """The encoders by round; at the end the server's variate, the devices', and the predictors."""
    w, devices = run.untrained[:E], len(run.sizes)
    c, c_i, heads = torch.zeros(E).double(), [torch.zeros(E).double()] * devices, {}
    models = [w]
    for tasks in run.rounds:
        total, mass, gained = (torch.zeros(E).double() for _ in range(3))
        for task in tasks:
            i, alpha = task.device, run.sizes[task.device] / sum(run.sizes[t.device] for t in tasks)
            head = heads.get(i, run.untrained[E:])
            y, renewed = local(w, head, c - c_i[i], run.of(task), control)
            sent = salient(y, cut)
            heads[i] = y[E:]
            delta = torch.where(sent, y[:E] - w, -w if aggregate == "zero_fill" else 0.0)
            total += alpha * delta
            mass += alpha * sent
            gained += torch.where(sent, renewed - c_i[i], 0.0) / devices
            c_i[i] = torch.where(sent, renewed, c_i[i])
        if aggregate == "index_mean":
            total = total / mass
        w, c = w + torch.where(mass > 0, total, 0.0), c + gained
        models.append(w)
    return models, c, c_i, heads


@cache
def played(case: str) -> Recorded:
    return recorded(table(**CASES[case]), seed=1)


every_case = pytest.mark.parametrize("case", CASES)


@every_case
def test_the_engine_s_encoders_are_those_of_the_equations(case):
    run = played(case)
    assert furthest(run.models, spatl(run, **CASES[case])[0]) < 1e-6


@every_case
def test_so_are_the_variates_of_both_sides_and_the_predictors(case):
    run = played(case)
    _, c, c_i, heads = spatl(run, **CASES[case])
    assert float((run.kernel.state.shared.c - c).abs().max()) < 1e-6
    for i, head in heads.items():
        assert float((run.kept(i, "c_i") - c_i[i]).abs().max()) < 1e-6
        assert float((run.kept(i, "head") - head).abs().max()) < 1e-6


def test_devices_send_unlike_filters_and_some_filters_are_sent_by_none():
    run = played("index_mean")
    models = spatl(run)[0]
    still = [b - a == 0.0 for a, b in pairwise(models)]
    assert any(bool(rest.any()) for rest in still)
    assert len({tuple(rest.tolist()) for rest in still}) > 1


@pytest.mark.parametrize(
    ("case", "right", "wrong"),
    [
        ("index_mean", "w, head, c - c_i[i]", "w, head, c_i[i] - c"),
        ("index_mean", "velocity[:E] += shift", "velocity += shift.mean()"),
        ("index_mean", "sum(RHO**k for k in range(n - j))", "1.0"),
        ("index_mean", "heads[i] = y[E:]", "pass"),
        ("index_mean", "total / mass", "total"),
        ("index_mean", "/ devices", "/ len(tasks)"),
        ("index_mean", "torch.where(sent, renewed, c_i[i])", "renewed"),
        ("index_mean", "run.sizes[task.device] / sum(run.sizes[t.device] for t in tasks)", "1 / 3"),
        ("index_mean", "weight.flatten(1).norm(dim=1)", "-weight.flatten(1).norm(dim=1)"),
        ("index_mean", "(1 - cut) * sum", "cut * sum"),
        ("damped", "mass += alpha * sent", "mass += alpha * sent; total = total * 1.001"),
        ("zero_fill", "-w if", "0 * w if"),
        ("post_step", "LR * 0.7 * shift", "LR * shift"),
        ("everything", "w, head, c - c_i[i]", "w, head, c"),
    ],
)
def test_a_sign_a_weight_or_a_scale_makes_a_difference(case, right, wrong):
    changed: Any = spoilt([local, salient, spatl], right, wrong)
    assert furthest(played(case).models, changed(played(case), **CASES[case])[0]) > 1e-5
