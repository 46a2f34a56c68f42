"""AsyncFedED: distance as staleness, and local work that follows it."""

from __future__ import annotations

from math import floor, inf, nan

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from lab import LR, Lab, params, update

import simfl
from simfl.errors import ScenarioError
from simfl.messages import FRAME_BYTES
from simfl.params import Layout, Params
from simfl.strategy.methods.asyncfeded import AsyncFedEd

CENTRES = [[float(i), 1.0 - i] for i in range(5)]
finite = st.floats(-50.0, 50.0, width=32)


def uneven(device, index):
    """No two tasks ever end at the same instant."""
    return 1.0 + device * 0.7071 + index * 0.0137


def met(delta, moved=None, *, versions=1, base=None):
    """An update whose server has moved by so much since its dispatch."""
    start = params(*(base or [0.0] * len(delta)))
    server = Lab([[0.0]], version=versions)
    server.params = start + params(*moved) if moved else start
    return update(0, params(*delta), base=start, server=server), server


def step(strategy, given, server):
    """The change that one update makes."""
    return strategy.fold(strategy.init(server.params), server, [given])


def test_staleness_is_the_distance_moved_over_the_length_of_the_update():
    given, server = met([3.0, 4.0], [6.0, 8.0], base=[1.0, 1.0])
    assert AsyncFedEd().gamma(given, server.params) == pytest.approx(2.0)


def test_a_fresh_update_takes_the_largest_step():
    given, server = met([3.0], versions=0)
    change = step(AsyncFedEd(lam=0.5, eps=2.0), given, server)
    assert change.weights == {0: 0.25}
    assert change.delta.flat.item() == 0.75


def test_a_fresh_update_with_unit_step_makes_the_device_s_own_model():
    lab = Lab([[5.0, 2.0]]).play(AsyncFedEd(concurrency=1, epochs=1.0), versions=1)
    assert torch.equal(lab.params.flat, lab.applied[0][0].delta.flat)


@given(st.lists(finite, min_size=3, max_size=3), st.floats(0.1, 10.0), finite)
def test_staleness_ignores_the_scale_and_the_origin(moved, c, origin):
    delta = [1.0, -2.0, 0.5]
    plain, server = met(delta, moved)
    scaled, larger = met([c * v for v in delta], [c * v for v in moved])
    shifted, elsewhere = met(delta, moved, base=[origin] * 3)
    gamma = AsyncFedEd().gamma
    expected = pytest.approx(gamma(plain, server.params), rel=1e-3, abs=1e-3)
    assert gamma(scaled, larger.params) == expected
    assert gamma(shifted, elsewhere.params) == expected


@given(st.lists(finite, min_size=2, max_size=2), st.floats(0.1, 3.0), st.floats(0.1, 3.0))
def test_no_step_is_longer_than_lam_over_eps_times_the_update(moved, lam, eps):
    given, server = met([3.0, 4.0], moved)
    change = step(AsyncFedEd(lam=lam, eps=eps), given, server)
    drift = (server.params - given.base).norm()
    assert change.delta.norm() <= lam / eps * 5.0 * (1 + 1e-6)
    assert change.delta.norm() == pytest.approx(lam * 25.0 / (drift + eps * 5.0), rel=1e-5)


@pytest.mark.parametrize("stretch", [0.5, 3.0])
def test_running_statistics_are_never_extrapolated(stretch):
    layout = Layout((("x", (1,)), ("stat", (1,))), 1)
    both = Params(torch.tensor([2.0, 2.0]), layout)
    given = update(0, both, server=Lab([[0.0]]))
    change = step(AsyncFedEd(lam=stretch), given, given.server)
    assert change.delta.flat.tolist() == [2.0 * stretch, 2.0 * min(1.0, stretch)]


def test_a_partial_update_is_measured_over_what_was_sent():
    layout = Layout((("a", (1,)), ("b", (1,))), 2)
    base = Params(torch.zeros(2), layout)
    server = Lab([[0.0]], version=1)
    server.params = Params(torch.tensor([6.0, 100.0]), layout)
    part = Params(torch.tensor([3.0]), layout.select(["a"]))
    given = update(0, part, base=base, server=server)
    assert AsyncFedEd().gamma(given, server.params) == pytest.approx(2.0)


@pytest.mark.parametrize("length", [0.0, 1e-13, inf, nan])
def test_an_update_without_direction_changes_neither_model_nor_local_work(length):
    strategy = AsyncFedEd(concurrency=1)
    given, server = met([length])
    server.open[given.task] = given
    state = strategy.init(server.params)
    state.k = {0: 7.0}
    strategy.step(state, server, [given])
    assert server.discarded == [(0, "no direction")]
    assert (server.version, state.k) == (1, {0: 7.0})
    assert server.asked == [(0.0, 0, 7.0, None)]


@given(st.floats(0.0, 1e9), st.floats(0.0, 20.0), st.floats(0.0, 5.0), st.integers(1, 30))
def test_local_work_follows_the_floor_within_its_clamp(gamma, gamma_bar, kappa, k):
    strategy = AsyncFedEd(gamma_bar=gamma_bar, kappa=kappa)
    expected = min(30, max(1, k + floor((gamma_bar - gamma) * kappa)))
    assert strategy.next_k(float(k), gamma) == expected


@pytest.mark.parametrize(
    ("rounding", "above", "below"), [("floor", -1, 0), ("nearest", 0, 0), ("truncate", 0, 0)]
)
def test_the_floor_alone_takes_an_epoch_for_a_little_too_much_staleness(rounding, above, below):
    strategy = AsyncFedEd(gamma_bar=3.0, kappa=0.1, rounding=rounding)
    assert strategy.next_k(10.0, 3.5) == 10 + above
    assert strategy.next_k(10.0, 2.5) == 10 + below


def test_without_gain_everybody_keeps_doing_the_same():
    lab = Lab(CENTRES, uneven).play(AsyncFedEd(concurrency=5, epochs=2.0, kappa=0.0), versions=20)
    assert {epochs for _, _, epochs, _ in lab.asked} == {2.0}


def test_one_device_alone_is_sequential_descent_and_works_up_to_k_max():
    """Nothing else moves the model: gamma is 0, and K rises by gamma_bar kappa each time."""
    strategy = AsyncFedEd(concurrency=1, epochs=10.0, k_max=15)
    lab = Lab([[3.0]], uneven, curvature=0.1).play(strategy, versions=4)
    assert [epochs for _, _, epochs, _ in lab.asked] == [10.0, 13.0, 15.0, 15.0, 15.0]
    steps = 5 * (10 + 13 + 15 + 15)
    assert lab.params.flat.item() == pytest.approx(3.0 * (1 - (1 - 0.1 * LR) ** steps), rel=1e-5)


def test_without_gain_one_device_alone_is_plain_sequential_sgd():
    lab = Lab([[3.0]], uneven).play(AsyncFedEd(concurrency=1, epochs=1.0, kappa=0.0), versions=3)
    assert lab.params.flat.item() == pytest.approx(3.0 * (1 - (1 - LR) ** 15), rel=1e-6)


def test_local_work_can_be_counted_in_steps():
    lab = Lab([[3.0]], uneven).play(AsyncFedEd(concurrency=1, epochs=1.0, steps=4), versions=2)
    assert [(epochs, steps) for _, _, epochs, steps in lab.asked] == [
        (None, 4),
        (None, 7),
        (None, 10),
    ]


def test_updates_of_one_instant_enter_in_the_order_of_their_devices():
    lab = Lab(CENTRES, lambda device, index: 1.0, seed=5).play(
        AsyncFedEd(concurrency=5), versions=5
    )
    assert [u.device for u, _, _ in lab.applied] == [0, 1, 2, 3, 4]
    assert [staleness for _, staleness, _ in lab.applied] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("bounds", [{"k_min": 11}, {"k_max": 9}, {"k_min": 3, "steps": 2}])
def test_local_work_must_start_within_its_clamp(bounds):
    with pytest.raises(ScenarioError, match="k_min"):
        AsyncFedEd(**{"epochs": 1.0 if "steps" in bounds else 10.0, **bounds})


def play(faults=None, seed=3, versions=60, **strategy):
    """A run of digits on eight devices, the last one ten times slower."""
    law = {"kind": "uniform", "per": "step", "low_s": 0.09, "high_s": 0.11}
    slow = {**law, "low_s": 0.9, "high_s": 1.1}
    faults = faults or {}
    table = {
        "fleet": {
            "group": [
                {"compute": law, "count": 7, "faults": faults},
                {"compute": slow, "count": 1, "faults": faults},
            ]
        },
        "learning": {"dataset": "digits", "model": "softmax", "batch_size": 20},
        "strategy": {"kind": "asyncfeded", "concurrency": 8, "epochs": 4, **strategy},
        "stop": {"versions": versions},
    }
    return simfl.run(table, seed=seed)


def test_the_table_of_tasks_holds_gamma_step_and_local_work():
    strategy = AsyncFedEd()
    tasks = play().tasks
    used = tasks[tasks.outcome == "applied"].sort_values("applied_version")
    assert used.weight.to_numpy() == pytest.approx(1.0 / (1.0 + used.drift.to_numpy()))
    assert used.drift.max() > 1.0
    for _, mine in tasks.sort_values("task").groupby("device"):
        k = 4.0
        for row in mine.itertuples():
            assert row.epochs == k
            k = strategy.next_k(k, row.drift) if row.outcome == "applied" else k


def test_the_slow_device_is_stalest():
    used = play(kappa=0.0, versions=120).tasks.query("outcome == 'applied'")
    gamma = used.groupby(used.device == 7).drift.median()
    assert gamma[True] > gamma[False]


def test_a_suspended_round_makes_no_version_and_leaves_local_work_alone():
    hang = {"kind": "uniform", "low_s": 0.0, "high_s": 3.0}
    result = play({"suspend": {"probability": 0.5, "hang": hang}}, versions=40)
    tasks = result.tasks.sort_values("task")
    assert (tasks.outcome == "applied").sum() == result.summary["versions"] == 40
    hung = tasks[tasks.cause == "suspended"]
    assert len(hung) > 15
    assert hung.applied_version.isna().all()
    following = tasks.groupby("device").epochs.shift(-1).loc[hung.index].dropna()
    assert (following == hung.epochs.loc[following.index]).all()


def test_a_suspended_device_starts_again_at_once():
    hang = {"kind": "constant", "s": 0.5}
    tasks = play({"suspend": {"probability": 0.5, "hang": hang}}, versions=40).tasks
    tasks = tasks.sort_values(["device", "task"])
    gap = tasks.groupby("device").dispatched_s.shift(-1) - tasks.ended_s
    assert gap.dropna().abs().max() < 1e-9
    waiting = play(
        {"suspend": {"probability": 0.5, "hang": hang}}, versions=40, on_loss="wait"
    ).tasks.sort_values(["device", "task"])
    gap = waiting.groupby("device").dispatched_s.shift(-1) - waiting.ended_s
    assert gap.max() > 0.01


def test_sending_the_base_back_costs_an_upload_and_changes_nothing_else():
    kept, returned = play(), play(local="returnsbase")
    assert kept.params.flat.equal(returned.params.flat)
    size = kept.params.nbytes
    assert set(kept.tasks.up_bytes[kept.tasks.outcome == "applied"]) == {size + FRAME_BYTES}
    back = set(returned.tasks.up_bytes[returned.tasks.outcome == "applied"])
    assert all(2 * size + FRAME_BYTES <= nbytes < 2 * size + FRAME_BYTES + 32 for nbytes in back)


@pytest.mark.parametrize(
    "more",
    [
        {"local": {"kind": "proximal", "mu": 0.1}},
        {"on_loss": "wait", "dispatch": "before"},
        {"max_staleness": 3},
        {"rounding": "nearest", "kappa": 0.3},
    ],
)
def test_it_composes(more):
    result = play(**more)
    assert result.summary["versions"] == 60
    assert bool(torch.isfinite(result.params.flat).all())


def test_it_learns_from_what_codecs_leave():
    codecs = [{"kind": "topk", "keep": 0.2}, {"kind": "quantize", "bits": 8}]
    plain, coded = (
        simfl.run("strategies/asyncfeded", seed=2, **{"stop.versions": 80}, **more)
        for more in ({}, {"wire.up": codecs, "wire.down": [{"kind": "quantize", "bits": 8}]})
    )
    assert coded.summary["up_bytes"] < 0.5 * plain.summary["up_bytes"]
    assert coded.summary["final_accuracy"] > 0.5
