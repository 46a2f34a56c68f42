"""Delay compensation."""

from __future__ import annotations

import pytest
import torch
from lab import Lab, params, update

from simfl.strategy.methods.fedasync import FedAsync
from simfl.strategy.methods.late.dcasgd import DcAsgd
from simfl.strategy.weighting import Weighting

CENTRES = [[float(i), 1.0 - i] for i in range(5)]


def uneven(device, index):
    return 1.0 + device * 0.7071 + index * 0.0137


def test_no_compensation_is_asynchronous_sgd():
    plain = FedAsync(concurrency=4, alpha=1.0, mode="delta", weighting=Weighting())
    a, b = (
        Lab(CENTRES, uneven).play(s, versions=20) for s in (DcAsgd(concurrency=4, lam=0.0), plain)
    )
    assert all(torch.equal(x.flat, y.flat) for x, y in zip(a.models, b.models, strict=True))


def stale(g, moved, lr=0.1, base=1.0):
    """One step along -g from base, arriving when the model has moved."""
    server = Lab(version=1)
    server.params = params(base + moved)
    return server, update(0, params(-lr * g), server=server, base=params(base), steps=1, lr=lr)


def test_on_a_quadratic_the_exact_curvature_gives_the_gradient_at_the_current_model():
    """F = (a/2)w², g = a·w_base, λ = a/g²: g̃ = a·w_now."""
    a, base, moved = 2.0, 1.0, 0.3
    server, late = stale(a * base, moved)
    strategy = DcAsgd(lam=a / (a * base) ** 2, clip=1e9)
    change = strategy.fold(strategy.init(params(0.0)), server, [late])
    assert change.delta.flat.item() == pytest.approx(-0.1 * a * (base + moved), rel=1e-5)


def test_a_fresh_update_is_left_alone():
    server, fresh = stale(2.0, 0.3)
    server.version = 0
    strategy = DcAsgd(lam=3.0)
    change = strategy.fold(strategy.init(params(0.0)), server, [fresh])
    assert torch.equal(change.delta.flat, fresh.delta.flat)


def test_compensation_is_clipped_to_the_size_of_the_update():
    server, late = stale(100.0, 50.0)
    strategy = DcAsgd(lam=1.0, clip=0.5)
    change = strategy.fold(strategy.init(params(0.0)), server, [late])
    assert change.delta.flat.item() == pytest.approx(1.5 * late.delta.flat.item())


def test_adaptive_strength_falls_with_the_mean_square_gradient():
    server, late = stale(2.0, 0.1)
    strategy = DcAsgd(lam=2.0, adaptive=True, decay=0.5, clip=1e9)
    change = strategy.fold(strategy.init(params(0.0)), server, [late])
    g, lam = 2.0, 2.0 / (0.5 * 4.0) ** 0.5
    assert change.delta.flat.item() == pytest.approx(-0.1 * (g + lam * g * g * 0.1), rel=1e-5)
