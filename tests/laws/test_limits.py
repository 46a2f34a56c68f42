"""Limit cases: where one strategy must be another, bit for bit, on the whole engine."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from scenes import DIGITS, group, same, scene

import simfl
from simfl.engine.loading import problem_of
from simfl.learn.trainers.jobs import Job
from simfl.learn.trainers.local_training import Local
from simfl.learn.trainers.one_by_one import OneByOne
from simfl.scenario import parse
from simfl.strategy.base import LocalRule
from simfl.strategy.methods.late.dcasgd import DcAsgd
from simfl.streams import Streams


def played(strategy: dict, groups: list[dict] | None = None, versions: int = 6, seed: int = 4):
    """A run of digits on twelve uneven devices."""
    table = scene(groups or [group(12)], strategy, learning=DIGITS, stop={"versions": versions})
    return simfl.run(table, seed=seed)


def equal(a: simfl.Result, b: simfl.Result) -> bool:
    return bool(a.params.flat.equal(b.params.flat)) and a.tasks.equals(b.tasks)


def test_a_proximal_term_of_zero_is_fedavg():
    plain = {"kind": "fedavg", "cohort": 5, "epochs": 2}
    assert equal(played(plain), played({**plain, "local": {"kind": "proximal", "mu": 0.0}}))
    assert not equal(played(plain), played({**plain, "local": {"kind": "proximal", "mu": 0.5}}))


def test_over_selection_by_nothing_is_fedavg():
    plain = played({"kind": "fedavg", "cohort": 5})
    assert equal(plain, played({"kind": "overselect", "cohort": 5, "over_select": 1.0}))


def test_a_buffer_of_all_equal_devices_is_fedavg_with_uniform_weights():
    fleet = [same(12)]
    rounds = played({"kind": "fedavg", "cohort": 4, "weights": "uniform"}, fleet)
    buffer = played({"kind": "fedbuff", "concurrency": 4, "buffer": 4}, fleet)
    assert (buffer.tasks.staleness == 0).all()
    assert rounds.params.flat.equal(buffer.params.flat)


_SIX = {"concurrency": 6}
_SUM = {**_SIX, "kind": "fedasync", "mode": "delta", "alpha": 1.0, "weighting": "constant"}
_PLAIN = {"kind": "fedbuff", **_SIX, "buffer": 2, "weighting": "constant"}
_ROUNDS = {"kind": "fedavg", "cohort": 5}
BITWISE = {
    "no server momentum": (
        {**_ROUNDS, "server_optimiser": {"kind": "momentum", "beta": 0.0}},
        _ROUNDS,
    ),
    "no compensation": ({"kind": "dcasgd", **_SIX, "lam": 0.0}, _SUM),
    "no delay is too long": ({"kind": "delayadaptive", **_SIX, "tau_c": 1e9}, _SUM),
    "no adaptation": (
        {"kind": "fadas", **_SIX, "buffer": 2, "tau_c": 1e9},
        {**_PLAIN, "server_lr": 1e-3, "server_optimiser": "amsgrad"},
    ),
    "one tier to choose from": ({**_ROUNDS, "selection": {"kind": "tifl", "tiers": 1}}, _ROUNDS),
}
EVERYBODY = {"kind": "fedavg", "cohort": 12, "weights": "uniform"}
NEARLY = {
    "one tier": (
        {"kind": "fedat", "tiers": 1, "cohort": 12, "local": "plain"},
        {"kind": "fedavg", "cohort": 12},
    ),
    "equal steps": (
        {"kind": "fednova", "cohort": 5, "steps": 4},
        {"kind": "fedavg", "cohort": 5, "steps": 4},
    ),
    "all in every buffer": ({"kind": "ca2fl", "concurrency": 12, "buffer": 12}, EVERYBODY),
    "a quota of all": ({"kind": "safa", "quota": 1.0}, {"kind": "fedavg", "cohort": 12}),
}


@pytest.mark.parametrize(("special", "plain"), BITWISE.values(), ids=BITWISE)
def test_a_strategy_in_its_limit_is_a_simpler_one_to_the_bit(special: dict, plain: dict):
    """On uneven devices that drop out."""
    fleet = [group(12, faults={"drop_probability": 0.1})]
    assert equal(played(special, fleet, 8), played(plain, fleet, 8))


@pytest.mark.parametrize(("special", "plain"), NEARLY.values(), ids=NEARLY)
def test_a_strategy_in_its_limit_is_a_simpler_one_to_rounding(special: dict, plain: dict):
    """The fleet is even, so that all who are asked answer at once."""
    a, b = played(special, [same(12)]), played(plain, [same(12)])
    torch.testing.assert_close(a.params.flat, b.params.flat, rtol=1e-5, atol=1e-6)
    assert sorted(a.tasks.device) == sorted(b.tasks.device)


def test_updates_know_the_local_rate_of_their_task(monkeypatch):
    seen, fold = [], DcAsgd.fold

    def told(self, state, server, updates):
        seen.extend((update.version, update.lr) for update in updates)
        return fold(self, state, server, updates)

    monkeypatch.setattr(DcAsgd, "fold", told)
    learning = {**DIGITS, "lr": 0.1, "lr_decay": 0.9}
    simfl.run(
        scene([group(12)], {"kind": "dcasgd", **_SIX}, learning=learning, stop={"versions": 9})
    )
    assert len({version for version, _ in seen}) > 2
    assert all(lr == pytest.approx(0.1 * 0.9**version) for version, lr in seen)


def test_one_at_a_time_buffered_and_pure_asynchrony_agree():
    buffer = {"kind": "fedbuff", "concurrency": 1, "buffer": 1, "weighting": {"kind": "constant"}}
    one = {"kind": "fedasync", "concurrency": 1, "weighting": {"kind": "constant"}}
    for lr in (1.0, 0.6):
        a = played({**buffer, "server_lr": lr})
        b = played({**one, "alpha": lr})
        assert a.params.flat.equal(b.params.flat)


def test_one_task_in_flight_is_sequential_sgd_through_the_devices():
    result = played({"kind": "fedbuff", "concurrency": 1, "buffer": 1}, versions=5)
    assert (result.tasks.staleness == 0).all()
    table = scene([group(12)], {"kind": "fedavg"}, learning=DIGITS, stop={"versions": 1}, seed=4)
    whole = parse(table)
    streams = Streams(4)
    problem = problem_of(whole, streams)
    options = whole.learning.training
    trainer = OneByOne(Local(problem.model, problem.data, options, LocalRule(), streams))
    w, index = problem.initial, np.zeros(12, dtype=int)
    for device in result.tasks.device:
        (trained,) = trainer.train([Job(base=w, device=device, index=index[device], epochs=1.0)])
        w = w + trained.report.delta
        index[device] += 1
    torch.testing.assert_close(w.flat, result.params.flat, rtol=1e-6, atol=1e-6)


def test_useful_and_wasted_work_are_all_the_work():
    faults = {"drop_probability": 0.3}
    result = played({"kind": "fedbuff", "concurrency": 6, "buffer": 2}, [group(12, faults=faults)])
    tasks = result.tasks
    useful = tasks[tasks.outcome == "applied"]
    wasted = tasks[tasks.outcome != "applied"]
    both = [*useful.train_s, *wasted.train_s]
    assert sum(both) == pytest.approx(tasks.train_s.sum())
    seconds = ["download_s", "train_s", "upload_s"]
    assert result.summary["wasted_device_s"] == pytest.approx(wasted[seconds].to_numpy().sum())
    assert result.summary["device_s"] == pytest.approx(tasks[seconds].to_numpy().sum())


def test_bytes_of_messages_add_up_to_the_totals_and_to_used_and_wasted():
    """Exactly, with cuts, losses and surplus in both directions."""
    faults = {"drop_probability": 0.3}
    links = {"down_mbps": 0.1, "up_mbps": 0.05, "latency_s": 0.01}
    cut = {"kind": "overselect", "cohort": 4, "over_select": 2.0}
    result = played(cut, [group(12, faults=faults, network=links)])
    tasks, summary = result.tasks, result.summary
    for way in ("down_bytes", "up_bytes"):
        assert tasks[way].sum() == summary[way] == result.evaluations[way].iloc[-1]
    moved = tasks.down_bytes + tasks.up_bytes
    useful = tasks.outcome == "applied"
    assert {"lost", "cancelled"} <= set(tasks.outcome)
    flying = tasks.outcome == "in_flight"
    assert moved[~useful & ~flying].sum() == summary["wasted_bytes"]
    assert moved.sum() == summary["down_bytes"] + summary["up_bytes"]


@pytest.mark.parametrize("kind", ["scaffold", "ca2fl"])
def test_other_processes_train_to_the_same_digest(kind):
    """Whoever computes an update, and in whose company."""
    sizes = {"scaffold": {"cohort": 5}, "ca2fl": {"concurrency": 6, "buffer": 2}}
    fleet = [group(12, faults={"drop_probability": 0.2})]
    table = scene(fleet, {"kind": kind, **sizes[kind]}, learning=DIGITS, stop={"versions": 4})
    assert simfl.run(table, workers=2).digest == simfl.run(table).digest


def test_the_same_seed_gives_the_same_digest_and_another_seed_does_not():
    asked = {"kind": "fedbuff", "concurrency": 6, "buffer": 2}
    first = played(asked, seed=8).digest
    assert played(asked, seed=8).digest == first
    assert played(asked, seed=9).digest != first


def test_another_process_gives_the_same_digest(tmp_path):
    table = scene(
        [group(12)], {"kind": "fedavg", "cohort": 3}, learning=DIGITS, stop={"versions": 3}
    )
    path = tmp_path / "twice.toml"
    path.write_text(parse(table).to_toml(), encoding="utf-8")
    code = f"import simfl; print(simfl.run({str(path)!r}).digest)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == simfl.run(path).digest


def test_the_resolved_scenario_reproduces_the_run(tmp_path):
    table = scene(
        [group(12)], {"kind": "fedasync", "concurrency": 3}, learning=DIGITS, stop={"versions": 5}
    )
    first = simfl.run(table, out=tmp_path / "first")
    assert simfl.run(tmp_path / "first" / "scenario.toml").digest == first.digest


def test_the_kth_task_of_a_device_meets_the_same_luck_under_every_strategy():
    """Jitter, drop-out and mini-batches belong to (device, k), not to who asked or when."""
    faults = {"drop_probability": 0.2}
    fleet = [group(12, faults=faults)]
    rounds = played({"kind": "fedavg", "cohort": 6}, fleet, 12).tasks
    buffer = played({"kind": "fedbuff", "concurrency": 6, "buffer": 3}, fleet, 12).tasks
    luck = []
    for tasks in (rounds, buffer):
        tasks = tasks.sort_values("task")
        tasks["k"] = tasks.groupby("device").cumcount()
        luck.append(tasks[tasks.outcome.isin(["applied", "lost"])].set_index(["device", "k"]))
    a, b = luck[0].align(luck[1], join="inner", axis=0)
    assert len(a) > 40
    assert np.allclose(a.train_s, b.train_s, rtol=1e-12)  # differences of clock times
    assert ((a.outcome == "lost") == (b.outcome == "lost")).all()
    fresh = (a.version == 0) & (b.version == 0) & (a.outcome == "applied")
    assert fresh.sum() >= 3
    assert (a.train_loss == b.train_loss)[fresh].all()  # same model, same mini-batches
