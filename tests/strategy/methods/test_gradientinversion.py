"""Gradient inversion: the estimate, the search, the switch, and the strategy around them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import inf, nan
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from latecomers import HELD, run, scene
from torch.nn import functional as F

import simfl
from simfl.errors import ScenarioError
from simfl.learn.datasets.base import DataDir
from simfl.learn.datasets.images import Digits
from simfl.learn.models.base import Mlp, build
from simfl.learn.models.flat import params_of
from simfl.learn.models.flops import flops_per_example
from simfl.learn.partition.base import Iid
from simfl.learn.trainers.jobs import Job, LocalData, TrainingOptions, batches
from simfl.learn.trainers.local_training import Local
from simfl.learn.trainers.one_by_one import OneByOne
from simfl.messages import Update
from simfl.strategy.base import LearningInfo, LocalRule
from simfl.strategy.local_rules import Proximal
from simfl.strategy.methods.gradientinversion.estimate import (
    estimate,
    is_sound,
    rows_of,
    search,
    search_flops,
)
from simfl.strategy.methods.gradientinversion.fallback import Switch, compare, gamma, look, remember
from simfl.strategy.methods.gradientinversion.recover import (
    BOX,
    Draft,
    Effort,
    largest,
    random_draft,
    recover,
    retrained,
)
from simfl.strategy.methods.gradientinversion.sketch import (
    distance,
    is_unique,
    sketched,
    unit,
    usual,
)
from simfl.strategy.methods.gradientinversion.strategy import GradientInversion
from simfl.strategy.methods.gradientinversion.unroll import Pace, even_pace, local_training
from simfl.streams import Streams

DEVICES, SEED = 40, 3


@cache
def digits() -> LocalData:
    dataset = Digits()(DataDir(), np.random.default_rng(0))
    return LocalData(dataset, Iid()(dataset, DEVICES, np.random.default_rng(1)))


def info(**training: Any) -> LearningInfo:
    """A small network on digits. training: options of local SGD."""
    dataset, options = digits().dataset, TrainingOptions(**{"lr": 0.1, **training})
    model = build(Mlp((8,)), dataset, 1)
    bounds = float(dataset.x.min()), float(dataset.x.max())
    shape = tuple(dataset.x.shape[1:])
    flops = flops_per_example(model, dataset.x[:1])
    return LearningInfo(flops, options.batch_size, model.eval(), shape, 10, bounds, options)


def sent(known: LearningInfo, device: int = 0, base: Any = None, server: Any = None) -> Update:
    """What the reference trainer makes of three epochs on a device's data."""
    base = params_of(known.model) if base is None else base
    local = Local(known.model, digits(), known.training, LocalRule(), Streams(SEED))
    trainer = OneByOne(local)
    (done,) = trainer.train([Job(base, device, 0, epochs=3.0)])
    return Update(
        0, device, 0, base, done.report.delta, {}, done.examples, done.steps, done.epochs,
        done.loss, done.loss_rms, 0.0, 0.0, server, known.training.lr,
    )  # fmt: skip


def truth(device: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """The device's inputs, and its labels as probabilities."""
    x, y = digits().of(device)
    return x, F.one_hot(y, 10).float()


def moved(known: LearningInfo) -> Any:
    """Another model of the same layout."""
    base = params_of(known.model)
    noise = np.random.default_rng(5).standard_normal(len(base), dtype=np.float32)
    return base.like(base.flat + 0.2 * torch.from_numpy(noise))


HARD = {"momentum": 0.5, "weight_decay": 1e-2, "clip_norm": 0.5}


@pytest.mark.parametrize("training", [{}, {"momentum": 0.9}, HARD], ids=str)
def test_with_the_true_data_and_labels_the_estimate_is_the_true_fresh_update(training):
    """Full batches, from a model that the data was never trained on."""
    known = info(batch_size=1000, **training)
    true = sent(known, base=moved(known))
    pace = even_pace(true.examples, known.training.lr, true.steps, 1)
    made = local_training(known, true.base.layout, true.base.flat, truth(), pace)
    torch.testing.assert_close(made - true.base.trained, true.delta.trained, atol=2e-6, rtol=1e-4)


def test_in_the_device_s_own_order_mini_batches_give_its_update_too():
    known = info(batch_size=7, **HARD)
    true = sent(known)
    order = batches(Streams(SEED), 0, 0, true.examples, 7, true.steps)
    pace = Pace(known.training.lr, [torch.from_numpy(rows) for rows in order])
    made = local_training(known, true.base.layout, true.base.flat, truth(), pace)
    torch.testing.assert_close(made - true.base.trained, true.delta.trained, atol=2e-6, rtol=1e-4)


def test_training_that_is_looked_into_ends_where_training_does():
    known = info(batch_size=10, **HARD)
    base, (x, targets), pace = params_of(known.model), truth(), even_pace(36, 0.1, 8, 4)
    plain = local_training(known, base.layout, base.flat, (x, targets), pace)
    seen = local_training(known, base.layout, base.flat, (x.requires_grad_(), targets), pace)
    assert seen.requires_grad
    torch.testing.assert_close(seen.detach(), plain)


def test_a_draft_of_the_true_data_explains_the_update_at_once():
    known = info(batch_size=1000)
    update = sent(known)
    x, targets = truth()
    low, high = known.bounds
    draft = Draft((x - (low + high) / 2) * 2 * BOX / (high - low), 40.0 * targets)
    pace = even_pace(update.examples, known.training.lr, update.steps, 1)
    found = recover(known, update.base, update.delta.trained, pace, draft, Effort(1, lr=1e-9))
    assert found.loss < 1e-4
    fresh = sent(known, base=moved(known))
    made = retrained(known, fresh.base, found, pace)
    torch.testing.assert_close(made, fresh.delta.trained, atol=1e-5, rtol=1e-3)


def test_a_search_gets_closer_to_the_fresh_update_than_the_late_one_is():
    """And a second one goes on from the first."""
    known = info(batch_size=1000, lr=0.3)
    update, params = sent(known), moved(known)
    rng, rows = np.random.default_rng(0), rows_of(known, sent(known), 0.5)
    first = search(known, update, rows, Effort(80), None, rng)
    second = search(known, update, rows, Effort(10, lr=0.03), first, rng)
    assert second.loss <= first.loss < 0.6
    true = sent(known, base=params).delta.trained
    made = estimate(known, update, second, params, version=9)
    assert distance(made, true) < distance(update.delta.trained, true)


def test_a_search_repeats_bit_for_bit():
    known = info(batch_size=10)
    update = sent(known)
    found = [search(known, update, 18, Effort(5), None, np.random.default_rng(2)) for _ in range(2)]
    assert found[0].loss == found[1].loss
    assert found[0].z.equal(found[1].z)


@pytest.mark.parametrize("value", [0.0, nan, inf])
def test_an_update_that_says_nothing_is_not_explained(value):
    known = info()
    base = params_of(known.model)
    draft = random_draft(known, 8, np.random.default_rng(0))
    silent = torch.full((len(base),), value)
    assert recover(known, base, silent, even_pace(8, 0.1, 2, 1), draft, Effort(2)).loss == inf


@given(st.lists(st.sampled_from([-2.0, -1.0, 0.0, 1.0, 2.0]), min_size=1), st.floats(0.01, 1.0))
def test_exactly_a_share_of_the_entries_is_matched_and_it_is_the_largest(values, keep):
    sent_ = torch.tensor(values)
    rows = largest(sent_, keep)
    assert len(rows) == len(set(rows.tolist())) == max(1, round(keep * len(values)))
    left = sorted(set(range(len(values))) - set(rows.tolist()))
    assert not left or sent_[left].abs().max() <= sent_[rows].abs().min()


def test_recovered_rows_are_cut_into_the_device_s_batches():
    pace = even_pace(rows=7, lr=0.1, steps=5, per_epoch=3)
    assert [rows.tolist() for rows in pace.batches[:4]] == [[0, 1, 2], [3, 4], [5, 6], [0, 1, 2]]
    assert len(even_pace(rows=2, lr=0.1, steps=4, per_epoch=5).batches) == 4


def test_an_iteration_costs_three_times_the_training_that_it_looks_into():
    known = LearningInfo(flops=100.0, batch_size=10)
    assert search_flops(known, rows=20, epochs=5.0, effort=Effort(40)) == 40 * 3 * 20 * 5 * 100.0


def test_an_estimate_that_is_too_long_or_not_finite_is_not_sound():
    update = sent(info())
    u = update.delta.trained
    assert is_sound(2.9 * u, update, growth=3.0)
    assert not is_sound(3.1 * u, update, growth=3.0)
    assert not is_sound(u * nan, update, growth=3.0)


# Directions.

vectors = st.lists(
    st.lists(st.floats(-3, 3, width=32), min_size=4, max_size=4), min_size=2, max_size=5
)


@given(vectors)
def test_the_mean_direction_holds_the_threshold_and_every_mean_distance(rows):
    """Equation (6) of the paper, with all pairs, from the mean unit vector alone."""
    updates = torch.tensor(rows, dtype=torch.float64)
    theta = np.mean([distance(a, b) for a in updates for b in updates])
    mean, other = usual(updates), torch.tensor([1.0, -0.5, 0.25, 2.0], dtype=torch.float64)
    assert 1.0 - float(mean @ mean) == pytest.approx(theta, abs=1e-9)
    far = np.mean([distance(other, b) for b in updates])
    if abs(far - theta) > 1e-9:
        assert is_unique(other, mean) == (far > theta)


def test_nothing_is_usual_where_fewer_than_two_are_fresh():
    assert usual([torch.ones(3)]) is None
    assert is_unique(torch.ones(3), None)


def test_distances_from_zero_are_one():
    assert distance(torch.zeros(3), torch.ones(3)) == 1.0
    assert unit(torch.zeros(3)).tolist() == [0.0, 0.0, 0.0]


def test_sketches_keep_cosines_about_as_they_were():
    rng = np.random.default_rng(0)
    a, noise = torch.from_numpy(rng.standard_normal((2, 50_000), dtype=np.float32))
    b = a + noise
    assert sketched(a, 4096).shape == (4096,)
    assert distance(sketched(a, 4096), sketched(b, 4096)) == pytest.approx(distance(a, b), abs=0.05)
    assert sketched(a, 50_000) is a


# The switch.


def test_late_updates_come_back_within_a_tenth_of_the_rounds_so_far():
    assert gamma(None, 500, 0.1) == 1.0
    assert [gamma(100, 100 + r, 0.1) for r in (0, 5, 10, 50)] == [1.0, 0.5, 0.0, 0.0]
    assert [gamma(100, 100 + r, 0.0) for r in (0, 1)] == [1.0, 0.0]


def test_the_switch_waits_for_estimates_to_be_worse_twice_in_a_row():
    switch = Switch()
    worse, better = [(0.4, 0.2), (0.1, 0.2)], [(0.1, 0.2)]
    seen = []
    for version, errors in enumerate([worse, better, worse, [], worse, better]):
        look(switch, errors, version, patience=2)
        seen.append(switch.at)
    assert seen == [None, None, None, None, 4, 4]


def test_a_guess_is_held_against_the_update_of_its_version_and_forgotten():
    known = info()
    late = sent(known)
    u = late.delta.trained
    guesses: dict = {}
    remember(guesses, late, version=10, made=2.0 * u, bins=4096)
    remember(guesses, late, version=20, made=u, bins=4096)
    too_old, true = replace(late, version=5), replace(late, version=11)
    assert compare(guesses, [too_old], 4096) == []
    ((e1, e2),) = compare(guesses, [true], 4096)
    assert (e1, e2) == (pytest.approx(0.0, abs=1e-6), pytest.approx(0.0, abs=1e-6))
    assert [version for version, *_ in guesses[0]] == [20]


# The strategy on the whole engine.

FAST = {"iterations": 6, "warm_iterations": 3, "max_loss": 5.0, "unique": False, "switch": False}


@pytest.mark.parametrize("kind", ["semisync", "twotiers", "firstorder", "gradientinversion"])
def test_without_lateness_it_is_fedavg(kind):
    plain = run("fedavg")
    assert run(kind).params.flat.equal(plain.params.flat)
    assert run(kind, deadline_s=50.0).params.flat.equal(plain.params.flat)


def test_updates_of_the_late_class_are_exactly_so_many_versions_late():
    tasks = run("semisync", hold=3).tasks
    used = tasks[tasks.outcome == "applied"]
    assert set(used.staleness[used.device >= 6]) == {3}
    assert set(used.staleness[used.device < 6]) == {0}
    waiting = tasks[(tasks.device >= 6) & (tasks.outcome == "discarded")]
    assert set(waiting.cause) == {"unused at the end"}


def test_a_search_that_fails_leaves_the_late_update_as_it_is_and_is_counted():
    direct, failed = (
        run("semisync", hold=3),
        run("gradientinversion", hold=3, **{**FAST, "max_loss": 1e-9}),
    )
    assert failed.params.flat.equal(direct.params.flat)
    last = failed.evaluations.iloc[-1]
    assert last.rejected > 0
    assert last.inverted == 0


def test_an_estimate_enters_in_place_of_the_late_update_and_is_counted():
    made = run("gradientinversion", hold=3, **FAST)
    assert not made.params.flat.equal(run("semisync", hold=3).params.flat)
    applied = made.tasks[(made.tasks.outcome == "applied") & (made.tasks.device >= 6)]
    assert made.evaluations.inverted.iloc[-1] == len(applied) > 2
    examples = made.tasks.groupby("device").examples.first()
    assert examples.nunique() > 4, "sizes differ"


def test_an_update_like_the_fresh_ones_is_not_inverted():
    made = run("gradientinversion", hold=3, **{**FAST, "unique": True})
    last = made.evaluations.iloc[-1]
    late = made.tasks[(made.tasks.outcome == "applied") & (made.tasks.device >= 6)]
    assert last.inverted + last.usual == len(late)


def test_the_server_pays_for_its_searches_in_time():
    """Rounds of one second, and FLOP at the server's speed: the same model, later."""
    quick = run("gradientinversion", hold=3, **FAST)
    slow = run("gradientinversion", hold=3, server={"gflops": 1e-2}, **FAST)
    assert slow.params.flat.equal(quick.params.flat)
    late = slow.tasks[(slow.tasks.outcome == "applied") & (slow.tasks.device >= 6)]
    flops, seen = (
        flops_per_example(build(Mlp((8,)), digits().dataset, 0), digits().dataset.x[:1]),
        0,
    )
    for _, tasks in late.sort_values("task").groupby("device"):
        rows = max(8, round(0.5 * tasks.examples.iloc[0]))
        iterations = 6 + 3 * (len(tasks) - 1)
        seen += rows * 2 * (3 * iterations + len(tasks))
    assert slow.summary["virtual_s"] == pytest.approx(10.0 + seen * flops / 1e7)


def test_what_the_server_keeps_stops_growing_and_sketches_shrink_it():
    """Beside recovered data, a mean for each version and pairs of guesses for each late device."""
    kept, alive = {}, []
    for bins in (4096, 64):
        late = {"kind": "gradientinversion", **HELD, **FAST, "hold": 3, "bins": bins}
        made = simfl.run(scene(late, versions=20), seed=1)
        kept[bins] = made.evaluations.kept_bytes.to_numpy()
        alive.append(made.summary["models_alive_max"])
        assert kept[bins][14:].max() == kept[bins][8:14].max() > 0
    trained = Mlp((8,))(digits().dataset)
    size = sum(part.numel() for part in trained.parameters())
    vectors, rest = divmod(kept[4096][-1] - kept[64][-1], 4 * (size - 64))
    versions, late_devices = 4, 2  # that updates are waited for: the present one and three before
    assert rest == 0
    assert 0 < vectors <= versions + 2 * versions * late_devices
    assert max(alive) <= versions


def test_overlapped_searches_leave_the_rounds_alone_and_enter_when_they_are_done():
    options = {**FAST, "server": {"gflops": 1e-2}, "hold": 3}
    made = run("gradientinversion", overlap=True, **options)
    waited = run("gradientinversion", **options)
    assert made.summary["virtual_s"] < waited.summary["virtual_s"]
    late = made.tasks[(made.tasks.outcome == "applied") & (made.tasks.device >= 6)]
    assert late.staleness.min() > 3
    assert len(late)


def test_after_the_switch_both_enter_in_the_window_s_shares_and_then_the_late_alone(monkeypatch):
    known, strategy = info(batch_size=1000), GradientInversion()
    server = SimpleNamespace(version=105, learning=known, params=moved(known))
    server.charge, server.generator = lambda flops: None, lambda purpose: None
    late = sent(known, server=server)
    guess = torch.full_like(late.delta.trained, 1e-3)
    home = GradientInversion.__module__
    monkeypatch.setattr(f"{home}.search", lambda *a: Draft(guess, guess, 0.1))
    monkeypatch.setattr(f"{home}.estimate", lambda *a: guess)
    used = {}
    for at in (None, 100, 95):
        state = strategy.init(server.params)
        state.switch.at = at
        (used[at],) = strategy.freshen(state, server, [late])
    assert used[None].delta.trained.equal(guess)
    torch.testing.assert_close(used[100].delta.trained, 0.5 * guess + 0.5 * late.delta.trained)
    assert used[95] is late


def test_what_does_not_fit_is_refused():
    with pytest.raises(ScenarioError, match="Proximal"):
        GradientInversion(local=Proximal())
    with pytest.raises(ScenarioError, match="the class 'tardy'"):
        run("semisync", hold=3, late="tardy")
    alone = [{"name": "late", "compute": {"kind": "constant", "s": 1.0}, "count": 8}]
    with pytest.raises(ScenarioError, match="another class"):
        run("semisync", hold=3, fleet={"group": alone})


def test_tokens_cannot_be_recovered():
    server = SimpleNamespace(learning=LearningInfo(1.0, 10, model=object(), bounds=None))
    strategy = GradientInversion()
    with pytest.raises(ScenarioError, match="tokens"):
        strategy.step(strategy.init(0.0), server, [])
