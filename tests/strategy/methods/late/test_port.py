"""Port and Pisces: asynchrony that keeps its staleness in hand."""

from __future__ import annotations

import pytest
from lab import Lab, params, update

from simfl.strategy.methods.guided.pisces import Pisces, PiscesSelection
from simfl.strategy.methods.late.port import Port

CENTRES = [[float(i), 1.0 - i] for i in range(6)]


def one_is_slow(device, index):
    return 40.0 if device == 5 else 1.0 + 0.01 * device


def merits(port, *versions, moved=1.0):
    """Weights of updates of these versions, all pointing to +1, when the model has moved."""
    server = Lab(version=10)
    server.params = params(moved)
    updates = [
        update(i, params(1.0), server=server, version=v, base=params(0.0))
        for i, v in enumerate(versions)
    ]
    return list(port.fold({}, server, updates).weights.values())


def test_equally_stale_updates_weigh_as_in_fedavg():
    assert merits(Port(similarity=0.0), 4, 4, 4) == pytest.approx([1 / 3] * 3)


def test_weights_add_up_to_one_and_fall_with_staleness():
    weights = merits(Port(similarity=0.0, max_staleness=10), 10, 5, 0)
    assert sum(weights) == pytest.approx(1.0)
    assert weights[1] / weights[0] == pytest.approx(10 / 15)
    assert weights[2] / weights[0] == pytest.approx(10 / 20)


def test_an_update_against_the_way_the_model_went_weighs_less():
    with_it, against = (
        merits(Port(freshness=0.0, similarity=1.0), 10, 5, moved=m) for m in (1, -1)
    )
    assert with_it == pytest.approx([0.5, 0.5])
    assert against == pytest.approx([1.0, 0.0])


def test_a_device_about_to_exceed_the_bound_is_called_in():
    port = Port(concurrency=6, buffer=2, max_staleness=3)
    lab = Lab(CENTRES, one_is_slow).play(port, versions=12)
    slow = [u for u, _, _ in lab.applied if u.device == 5]
    assert slow
    assert all(u.steps < 5 for u in slow)
    assert max(staleness for _, staleness, _ in lab.applied) <= 3
    assert lab.now_s < 40.0


def test_a_boundless_pace_folds_every_update_at_once():
    lab = Lab(CENTRES, one_is_slow).play(Pisces(concurrency=4, bound=1e12), versions=30)
    assert len(lab.applied) == 30


def test_one_device_in_flight_is_never_stale():
    lab = Lab(CENTRES, one_is_slow).play(Pisces(concurrency=1), versions=10)
    assert {staleness for _, staleness, _ in lab.applied} == {0}


def test_the_pace_keeps_staleness_near_its_bound():
    """Folds at least L_max/b apart: while a task of L_max flies there are at most b of them."""
    lab = Lab(CENTRES, one_is_slow).play(Pisces(concurrency=6, bound=4.0), versions=300)
    known = [staleness for u, staleness, _ in lab.applied if u.dispatched_s >= 40.0]
    assert max(known) <= 4
    assert max(known) >= 3


def test_pisces_prefers_the_useful_and_the_prompt():
    selection, memory = PiscesSelection(beta=0.5), PiscesSelection().init()
    server = Lab(version=3)
    reports = [(1.0, 3), (4.0, 0), (4.0, 3)]  # (loss, version); three versions late, or fresh
    updates = [
        update(i, server=server, version=version, examples=1, loss_rms=loss)
        for i, (loss, version) in enumerate(reports)
    ]
    selection.observe(memory, server, updates)
    assert selection.exploit(memory, [0, 1, 2], 3, None) == [2, 1, 0]
