"""ResFed against its framework figure, written again: two predictors and two lists at each end.

Song et al., arXiv 2212.05602. For each device the server has the lists G and L (global models, and
the device's own, as the other end reconstructs them), and so has the device; what one end predicts
from its lists is subtracted there and added here. The second player keeps all four lists, sends
nothing but residuals between them, and stops with an error if a pair of lists is not the same.

Numbers are float32, as they are on the wire: which elements survive is decided by comparing them.
The digits are turned by an orthogonal matrix: where a pixel is never used, many residuals are the
same number but for its last bit, and that bit would decide which of them are sent.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from plain import furthest, gradient, spoilt
from recorded import Batches, Recorded, recorded
from sklearn.datasets import load_digits
from torch import Tensor
from torch.nn.functional import cross_entropy

from simfl import Dataset

LR, KEEP, ROUNDS = 0.1, 0.2, 6


def turned(source, rng) -> Dataset:
    """Handwritten digits in 64 numbers that all vary."""
    pixels, labels = load_digits(return_X_y=True)
    matrix, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((64, 64)))
    x = torch.from_numpy((pixels / 16.0 @ matrix).astype(np.float32))
    y = torch.from_numpy(labels)
    return Dataset("turned", x[:800], y[:800], x[800:900], y[800:900], classes=10)


def table(rule: int, bits: int) -> dict:
    codec = [{"kind": "resfed", "rule": rule, "keep": KEEP, "bits": bits}]
    return {
        "fleet": {"group": [{"compute": {"kind": "constant", "s": 1.0}, "count": 4}]},
        "learning": {
            "dataset": turned,
            "partition": {"kind": "dirichlet", "alpha": 0.3},
            "model": "softmax",
            "batch_size": 100,
            "lr": LR,
        },
        "strategy": {"kind": "fedavg", "cohort": 3},
        "wire": {"down": codec, "up": codec},
        "stop": {"versions": ROUNDS},
    }


def median(x: np.ndarray) -> np.float32:
    """As torch has it: of an even number, the lower one."""
    return np.sort(x)[(len(x) - 1) // 2]


def split(x: np.ndarray, where: np.ndarray, depth: int, q: int) -> None:
    """Each group becomes its median, after q - 1 splits at the median."""
    if not len(where):
        return
    middle = median(x[where])
    if depth < q:
        high = x[where] > middle
        split(x, where[high], depth + 1, q)
        split(x, where[~high], depth + 1, q)
    else:
        x[where] = middle


def coarse(r: np.ndarray, q: int) -> np.ndarray:
    """Sparsified by magnitude, halved, and split into positive and negative levels."""
    k = max(1, round(len(r) * KEEP))
    r = np.where(np.abs(r) < np.sort(np.abs(r))[-k], np.float32(0), r)
    r = np.where(np.abs(r) < median(np.abs(r[r != 0])), np.float32(0), r)
    for side in (np.flatnonzero(r > 0), np.flatnonzero(r < 0)):
        split(r, side, 1, q)
    return r


def predict(rule: int, own: list, ext: list) -> np.ndarray | None:
    """The next model of the direction being sent, or None while history is too short."""
    half, two = np.float32(0.5), np.float32(2)
    if rule == 0 and len(own) >= 1:
        return own[-1]
    if rule == 1 and len(own) >= 1 and len(ext) >= 2:
        return own[-1] + half * (ext[-1] - ext[-2])
    if rule == 2 and len(own) >= 2 and len(ext) >= 3:
        return ext[-1] + two * (own[-1] - ext[-2]) - (own[-2] - ext[-3])
    return None


def send(model, rule, q, sender, receiver):
    """A model goes over; both ends append what arrived to their list of this direction."""
    p, p_there = predict(rule, *sender), predict(rule, *receiver)
    if p is None:
        arrived = model
        sender[0].append(model)
    else:
        residual = coarse(model - p, q)
        sender[0].append(p + residual)
        arrived = p_there + residual
    receiver[0].append(arrived)
    assert np.array_equal(sender[0][-1], arrived), "the ends are out of step"
    return arrived


def softmax(flat: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Mean cross-entropy of one layer, 64 - 10."""
    return cross_entropy(x @ flat[:640].view(10, 64).T + flat[640:], y)


def trained(u: np.ndarray, batches: Batches) -> np.ndarray:
    """A device's epoch of plain SGD."""
    w = torch.from_numpy(u)
    for x, y in batches:
        w = w - LR * gradient(softmax, w, x.float(), y)
    return w.numpy()


def resfed(run: Recorded, rule: int, q: int) -> list[Tensor]:
    """The server's models."""
    v = run.models[0].float().numpy()
    here = [([], []) for _ in run.sizes]  # G and L on the server
    there = [([], []) for _ in run.sizes]  # G and L on the device
    models = [v]
    for tasks in run.rounds:
        total, examples = np.zeros_like(v), sum(run.sizes[task.device] for task in tasks)
        for task in tasks:
            i = task.device
            (g, own), (g_i, own_i) = here[i], there[i]
            u = send(v, rule, q, (g, own), (g_i, own_i))
            u_i = trained(u, run.of(task))
            v_i = send(u_i, rule, q, (own_i, g_i), (own, g))
            total += np.float32(run.sizes[i] / examples) * v_i
        v = total
        models.append(v)
    return [torch.from_numpy(model).double() for model in models]


@cache
def played(rule: int, bits: int) -> Recorded:
    return recorded(table(rule, bits), seed=2)


FUNCTIONS = [median, split, coarse, predict, send, trained, resfed]
RULES = [(0, 1), (1, 1), (1, 3), (2, 3)]


@pytest.mark.parametrize(("rule", "bits"), RULES)
def test_the_engine_s_models_are_those_of_four_lists_for_each_device(rule, bits):
    run = played(rule, bits)
    assert furthest(run.models, resfed(run, rule, bits)) < 1e-6


def test_some_messages_are_residuals_in_both_directions():
    """A device that takes part in all rounds sends its first models in full, and then no more."""
    run = played(1, 1)
    devices = [task.device for tasks in run.rounds for task in tasks]
    often = max(devices, key=devices.count)
    mine = [task for tasks in run.rounds for task in tasks if task.device == often]
    full = 4 * len(run.models[0])
    assert [task.down_bytes >= full for task in mine][:3] == [True, True, False]
    assert [task.up_bytes >= full for task in mine][:3] == [True, False, False]


@pytest.mark.parametrize(
    ("rule", "bits", "right", "wrong"),
    [
        (1, 1, "own[-1] + half", "own[-1] - half"),
        (1, 1, "np.float32(0.5)", "np.float32(0.25)"),
        (1, 1, "len(ext) >= 2", "len(ext) >= 3"),
        (0, 1, "return own[-1]\n", "return ext[-1]\n"),
        (2, 3, "np.float32(2)", "np.float32(1)"),
        (2, 3, "- (own[-2] - ext[-3])", "+ (own[-2] - ext[-3])"),
        (1, 3, "high = x[where] > middle", "high = x[where] >= middle"),
        (1, 1, "    r = np.where(np.abs(r) < median(np.abs(r[r != 0])), np.float32(0), r)\n", ""),
        (1, 3, "if depth < q", "if depth < q - 1"),
        (1, 1, "run.sizes[i] / examples", "1 / len(tasks)"),
        (1, 1, "        v = total\n", "        v = u_i\n"),
    ],
)
def test_a_sign_a_weight_or_a_scale_makes_a_difference(rule, bits, right, wrong):
    run = played(rule, bits)
    again = spoilt(FUNCTIONS, right, wrong)(run, rule, bits)
    assert furthest(run.models, again) > 1e-5


def test_ends_with_rules_of_their_own_are_found_out():
    """The published code has rules 0 and 1 the other way round where it receives."""
    swapped = spoilt(FUNCTIONS, "predict(rule, *receiver)", "predict(1 - rule, *receiver)")
    with pytest.raises(AssertionError, match="out of step"):
        swapped(played(1, 1), 1, 1)
