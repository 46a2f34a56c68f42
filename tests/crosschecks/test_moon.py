"""MOON against its loss, written again.

Li et al., CVPR 2021: three networks, of which two only look; logits of two cosines over the
temperature, and cross-entropy to the first of them.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from plain import SHAPES, digits, furthest, parts, spoilt
from recorded import Batches, Recorded, recorded
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

LR, RHO, MU, T, ROUNDS = 0.1, 0.5, 1.5, 0.4, 4
TABLE = {
    "fleet": {"group": [{"compute": {"kind": "constant", "s": 1.0}, "count": 4}]},
    "learning": digits(80, lr=LR, momentum=RHO),
    "strategy": {
        "kind": "moon", "cohort": 3,
        "local": {"kind": "contrastive", "mu": MU, "temperature": T},
    },
    "stop": {"versions": ROUNDS},
}  # fmt: skip


def features(flat: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """What the last layer reads, and the logits."""
    w1, b1, w2, b2 = parts(flat, SHAPES)
    z = (x.flatten(1) @ w1.T + b1).relu()
    return z, z @ w2.T + b2


def trained(w: Tensor, previous: Tensor | None, batches: Batches) -> Tensor:
    """A device's model after its mini-batches."""
    y, velocity = w, torch.zeros_like(w)
    for x, labels in batches:
        point = y.clone().requires_grad_()
        z, out = features(point, x)
        loss = cross_entropy(out, labels)
        if previous is not None:
            unit, glob, prev = (
                normalize(f) for f in (z, features(w, x)[0], features(previous, x)[0])
            )
            logits = torch.stack([(unit * glob).sum(1), (unit * prev).sum(1)], 1) / T
            loss = loss + MU * cross_entropy(logits, torch.zeros(len(x), dtype=torch.long))
        velocity = RHO * velocity + torch.autograd.grad(loss, point)[0]
        y = y - LR * velocity
    return y


def moon(run: Recorded) -> list[Tensor]:
    """The server's models."""
    models, last = [run.models[0]], {}
    for tasks in run.rounds:
        w, total = models[-1], sum(run.sizes[task.device] for task in tasks)
        mean = torch.zeros_like(w)
        for task in tasks:
            i = task.device
            last[i] = trained(w, last.get(i), run.of(task))
            mean += run.sizes[i] / total * last[i]
        models.append(mean)
    return models


@cache
def played() -> Recorded:
    return recorded(TABLE, seed=4)


def test_the_engine_s_models_are_those_of_the_loss():
    assert furthest(played().models, moon(played())) < 1e-6


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("MU * cross", "cross"),
        ("], 1) / T", "], 1) * T"),
        ("], 1) / T", "], 1)"),
        ("features(previous, x)[0]", "features(w, x)[0].roll(1, 0)"),
        ("torch.zeros(len(x)", "torch.ones(len(x)"),
        ("normalize(f)", "f"),
        ("trained(w, last.get(i)", "trained(w, None"),
        ("trained(w, last.get(i)", "trained(w, last.get(i, run.models[0])"),
    ],
)
def test_a_sign_a_weight_or_a_scale_makes_a_difference(right, wrong):
    assert furthest(played().models, spoilt([trained, moon], right, wrong)(played())) > 1e-5
