"""AsyncFedED's weights and its local work against the equations of its paper, written again.

Wang et al., arXiv 2205.13797, equations (1) to (4): a server that keeps every model it has sent,
and two numbers for each device. Of the run it takes the order of arrivals; how much a device was
to do is worked out, and has to be what it did.
"""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch
from plain import digits, furthest, gradient, mlp, spoilt
from recorded import Batches, Recorded, recorded
from torch import Tensor

LR, RHO = 0.02, 0.5
LAM, EPS, GAMMA_BAR, KAPPA, K_0, K_MIN, K_MAX = 0.9, 1.1, 2.0, 0.8, 2, 1, 4
TABLE = {
    "fleet": {
        "group": [
            {"compute": {"kind": "uniform", "low_s": 1.0, "high_s": 2.0}, "count": 4},
            {"compute": {"kind": "uniform", "low_s": 4.0, "high_s": 6.0}, "count": 2},
        ]
    },
    "learning": digits(80, lr=LR, momentum=RHO),
    "strategy": {
        "kind": "asyncfeded", "concurrency": 6, "epochs": K_0, "lam": LAM, "eps": EPS,
        "gamma_bar": GAMMA_BAR, "kappa": KAPPA, "k_min": K_MIN, "k_max": K_MAX,
    },
    "stop": {"versions": 30},
}  # fmt: skip


def delta(base: Tensor, batches: Batches) -> Tensor:
    """What a device has added to the model that it was sent."""
    w, velocity = base, torch.zeros_like(base)
    for x, y in batches:
        velocity = RHO * velocity + gradient(mlp, w, x, y)
        w = w - LR * velocity
    return w - base


def asyncfeded(run: Recorded) -> tuple[list[Tensor], list[tuple[int, int]]]:
    """The models by version, and with each arrival K of that task and of the device's next."""
    x, k, work = [run.models[0]], [K_0] * len(run.sizes), []
    for (task,) in run.rounds:
        i, sent = task.device, x[task.version]
        d = delta(sent, run.of(task))
        gamma = torch.linalg.norm(x[-1] - sent) / torch.linalg.norm(d)
        x.append(x[-1] + LAM / (gamma + EPS) * d)
        before = k[i]
        k[i] = k[i] + math.floor((GAMMA_BAR - gamma) * KAPPA)
        k[i] = min(max(k[i], K_MIN), K_MAX)
        work.append((before, k[i]))
    return x, work


@cache
def played() -> Recorded:
    return recorded(TABLE, seed=6)


def asked(run: Recorded) -> list[int]:
    """Epochs of each task that was folded, from the number of mini-batches that it met."""
    epochs = []
    for (task,) in run.rounds:
        each = math.ceil(run.sizes[task.device] / 80)
        steps = len(run.of(task))
        assert steps % each == 0
        epochs.append(steps // each)
    return epochs


def test_the_engine_s_models_are_those_of_the_equations():
    assert furthest(played().models, asyncfeded(played())[0]) < 1e-6


def test_every_device_did_as_many_epochs_as_the_equations_ask_for():
    work = asyncfeded(played())[1]
    assert [before for before, _ in work] == asked(played())
    assert {after for _, after in work} >= {K_MIN, K_0, K_MAX}


def test_updates_are_stale_by_unlike_numbers_of_versions():
    stale = {v - task.version for v, (task,) in enumerate(played().rounds)}
    assert len(stale) > 5


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("norm(x[-1] - sent)", "norm(x[0] - sent)"),
        ("torch.linalg.norm(d)", "torch.linalg.norm(sent)"),
        ("(gamma + EPS)", "(1 + gamma + EPS)"),
        ("(gamma + EPS)", "(gamma - EPS)"),
        ("LAM / (gamma + EPS)", "1.0 / (gamma + EPS)"),
        ("x.append(x[-1] + LAM", "x.append(sent + LAM"),
        ("x.append(x[-1] + LAM", "x.append(x[-1] - LAM"),
        ("torch.linalg.norm(x[-1] - sent) /", "(len(x) - 1 - task.version) /"),
    ],
)
def test_a_sign_or_a_scale_of_a_weight_makes_a_difference(right, wrong):
    changed = spoilt([delta, asyncfeded], right, wrong)
    assert furthest(played().models, changed(played())[0]) > 1e-5


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("(GAMMA_BAR - gamma)", "(gamma - GAMMA_BAR)"),
        ("* KAPPA", "* 1.0"),
        ("math.floor((GAMMA_BAR - gamma) * KAPPA)", "int((GAMMA_BAR - gamma) * KAPPA)"),
        ("k[i] = k[i] + math", "k[i] = K_0 + math"),
        ("k[i] = min(max(k[i], K_MIN), K_MAX)", "k[i] = max(k[i], K_MIN)"),
    ],
)
def test_so_does_one_of_the_local_work(right, wrong):
    work = spoilt([delta, asyncfeded], right, wrong)(played())[1]
    assert [before for before, _ in work] != asked(played())
