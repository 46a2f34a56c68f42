"""ResFed in closed form: devices that step half way to their own optimum, which differs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simfl.params import Layout, Params
from simfl.wire.codec import StatefulCodec
from simfl.wire.resfed import ResFed, Rule
from simfl.wire.residual import looked_up, quantised, sparsified

N, DEVICES = 300, 6
LAYOUT = Layout((("w", (N,)),), N)
OPTIMA = np.random.default_rng(0).standard_normal((DEVICES, N)).astype(np.float32) + 3
RNG = np.random.default_rng(0)  # never drawn from


def params(flat: np.ndarray) -> Params:
    return Params(torch.from_numpy(np.asarray(flat, dtype=np.float32)), LAYOUT)


def averaged(down: StatefulCodec, up: StatefulCodec, rounds: int) -> list[float]:
    """Distance to the mean optimum after each round, relative to the first model's."""
    w = params(np.zeros(N))
    ends = [{"down": down.begin("down", w), "up": up.begin("up", w)} for _ in range(2 * DEVICES)]
    far = []
    for t in range(rounds):
        models = []
        for device, optimum in enumerate(OPTIMA):
            here, there = ends[2 * device], ends[2 * device + 1]
            wire = down.encode(w, down.recall(here["down"], t), RNG)
            received, there["down"] = down.decode(wire.payload, LAYOUT, there["down"])
            here["down"] = wire.delivered
            for end in (here, there):
                end["up"] = up.overhear(end["up"], received)
            wire = up.encode((params(optimum) - received) * 0.5, up.recall(there["up"], t), RNG)
            delta, here["up"] = up.decode(wire.payload, LAYOUT, here["up"])
            there["up"] = wire.delivered
            for end in (here, there):
                end["down"] = down.overhear(end["down"], received + delta)
            models.append((received + delta).flat.numpy())
        w = params(np.mean(models, axis=0))
        far.append(float(np.linalg.norm(w.flat.numpy() - OPTIMA.mean(axis=0))))
    return [distance / float(np.linalg.norm(OPTIMA.mean(axis=0))) for distance in far]


@pytest.mark.parametrize("rule", [0, 1, 2, "g"])
def test_lossless_resfed_is_plain_averaging(rule: Rule) -> None:
    """Which halves the distance each round."""
    codec = ResFed(rule=rule, keep=1.0, bits=0)
    plain = averaged(StatefulCodec(), StatefulCodec(), 8)
    assert averaged(codec, codec, 8) == pytest.approx(plain, abs=1e-5)
    assert plain == pytest.approx([0.5**t for t in range(1, 9)], abs=1e-6)


def test_residuals_reach_what_coarse_messages_without_a_memory_never_do() -> None:
    """A twentieth of the elements, three values. Rule 1 knows the drift and is faster; sending
    compressed models or updates instead stays where it is.
    """
    far = {rule: averaged(coarse(rule), coarse(rule), 60)[-1] for rule in (0, 1, "g")}
    assert far[1] < 0.01
    assert far[1] < far[0] < 0.1
    assert far["g"] > 0.8
    models = [looked_up(*quantised(sparsified(optimum, 0.1), 1)) for optimum in OPTIMA]
    mean = OPTIMA.mean(axis=0)
    assert np.linalg.norm(np.mean(models, axis=0) - mean) > 0.8 * np.linalg.norm(mean)


def test_the_linear_rule_is_unstable_under_coarse_messages_and_stable_under_fine_ones() -> None:
    """Its coefficients of the sender's own past sum to three."""
    assert averaged(coarse(2), coarse(2), 30)[-1] > 10
    fine = ResFed(rule=2, keep=1.0, bits=0)
    assert averaged(fine, fine, 30)[-1] < 1e-4


def coarse(rule: Rule) -> ResFed:
    return ResFed(rule=rule, keep=0.1, bits=1)
