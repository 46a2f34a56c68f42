"""FedDyn against the round of its authors' code, written again.

Acar et al., ICLR 2021; github.com/alpemreacar/FedDyn: per device a row of `local_param_list`,
cross-entropy plus α_k ⟨u, H_k - θ⟩ clipped at norm 10, α_k in the weight decay of the optimiser,
the plain mean of the devices' models plus the mean of the whole list.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch
from plain import digits, furthest, gradient, mlp, spoilt
from recorded import Batches, Recorded, recorded
from torch import Tensor

ALPHA, LR, DECAY, CLIP, RATE_DECAY = 0.1, 0.1, 0.01, 0.6, 0.95
ROUNDS = 5
TABLE = {
    "fleet": {"group": [{"compute": {"kind": "constant", "s": 1.0}, "count": 6}]},
    "learning": digits(40, lr=LR, weight_decay=DECAY, clip_norm=CLIP, lr_decay=RATE_DECAY),
    "strategy": {
        "kind": "feddyn", "cohort": 3, "remember": True,
        "local": {"kind": "dynamic", "alpha": ALPHA},
    },
    "evaluate": {"every_versions": 1},
    "stop": {"versions": ROUNDS},
}  # fmt: skip


def trained(theta: Tensor, h_k: Tensor, alpha_k: float, lr: float, batches: Batches) -> Tensor:
    """One device's epoch, with torch's own SGD and its own clipping."""
    u = theta.clone().requires_grad_()
    sgd = torch.optim.SGD([u], lr=lr, weight_decay=alpha_k + DECAY)
    for x, y in batches:
        sgd.zero_grad()
        loss = mlp(u, x, y) + alpha_k * torch.sum(u * (h_k - theta))
        loss.backward()
        torch.nn.utils.clip_grad_norm_([u], CLIP)
        sgd.step()
    return u.detach()


def feddyn(run: Recorded) -> dict[str, list[Tensor]]:
    """The cloud model, the mean of the active ones, and that of the latest of all, by round."""
    theta, m, n = run.models[0], len(run.sizes), sum(run.sizes)
    local_param_list = torch.zeros(m, len(theta), dtype=torch.float64)
    latest = theta.repeat(m, 1)
    history = {"cloud": [theta], "sel": [theta], "all": [theta]}
    for t, tasks in enumerate(run.rounds):
        active = [task.device for task in tasks]
        for task in tasks:
            k = task.device
            weight = run.sizes[k] / n * m
            h_k = local_param_list[k]
            lr = LR * RATE_DECAY**t
            latest[k] = trained(theta, h_k, ALPHA / weight, lr, run.of(task))
        local_param_list[active] += latest[active] - theta
        average = latest[active].mean(0)
        theta = average + local_param_list.mean(0)
        for name, model in {"cloud": theta, "sel": average, "all": latest.mean(0)}.items():
            history[name].append(model.clone())
    return history


@cache
def played() -> Recorded:
    return recorded(TABLE, seed=3)


def test_the_run_meets_what_the_method_is_about():
    """Unequal devices that come and go, models that differ, gradients that are clipped."""
    run = played()
    assert len({frozenset(t.device for t in tasks) for tasks in run.rounds}) > 1
    assert max(run.sizes) > 2 * min(run.sizes)
    theta = run.models[0]
    norms = [gradient(mlp, theta, x, y).norm() for x, y in run.of(run.rounds[0][0])]
    assert max(norms) > CLIP


def test_the_engine_s_models_are_those_of_the_authors_round():
    assert furthest(played().models, feddyn(played())["cloud"]) < 1e-6


@pytest.mark.parametrize("name", ["sel", "all"])
def test_so_are_the_models_that_are_evaluated(name):
    state = played().kernel.state.dynamics
    last = feddyn(played())[name][-1]
    assert float((getattr(state, name).flat - last).abs().max()) < 1e-6


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("(h_k - theta)", "(h_k + theta)"),
        ("+ alpha_k * torch.sum", "+ torch.sum"),
        ("alpha_k + DECAY", "DECAY"),
        ("ALPHA / weight", "ALPHA"),
        ("ALPHA / weight", "ALPHA * weight"),
        ("+= latest[active] - theta", "-= latest[active] - theta"),
        ("average + local_param_list.mean(0)", "average - local_param_list.mean(0)"),
        ("local_param_list.mean(0)", "local_param_list[active].mean(0)"),
        ("local_param_list.mean(0)", "local_param_list.mean(0) / ALPHA"),
        ("latest[active].mean(0)", "sum(run.sizes[k] * latest[k] for k in active) / n"),
        ("sum(u * (h_k - theta))\n", "sum(u * (h_k - theta)) * 0.999\n"),
        ("theta = average + local", "theta = theta + local"),
        ("        torch.nn.utils.clip_grad_norm_([u], CLIP)\n", ""),
        ("LR * RATE_DECAY**t", "LR"),
    ],
)
def test_a_sign_a_weight_or_a_scale_makes_a_difference(right, wrong):
    changed = spoilt([trained, feddyn], right, wrong)
    assert furthest(played().models, changed(played())["cloud"]) > 1e-5
