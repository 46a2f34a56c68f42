"""FedDyn: on quadratics whose answers are known, and what holds whatever is lost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import simfl
from simfl.clock.kernel import Kernel, Limits, Plan
from simfl.engine.exchange import Exchange
from simfl.engine.workload import Learning
from simfl.errors import ScenarioError
from simfl.fleet.build import build
from simfl.fleet.options import GroupOptions
from simfl.learn.datasets.base import Dataset
from simfl.learn.models.flat import params_of
from simfl.learn.partition.base import Partition
from simfl.learn.problem import Problem
from simfl.learn.trainers.jobs import LocalData, TrainingOptions
from simfl.learn.trainers.one_by_one import OneByOne
from simfl.messages import FRAME_BYTES
from simfl.strategy.base import LocalRule, Work
from simfl.strategy.methods.feddyn import AsyncFedDyn, Dynamic, FedDyn
from simfl.streams import Streams
from simfl.wire.chain import chain

C, B = (1.0, 4.0, 10.0), (0.0, 1.0, 3.0)  # L_k = (c_k/2)(θ - b_k)²
OPTIMUM = 34 / 15


@dataclass(frozen=True)
class Quadratic(Dynamic):
    """The loss of device k, which is known by having k + 1 examples, and nothing from data."""

    alpha: float = 1.0

    def alpha_k(self, work):
        return self.alpha

    def prepare(self, base, extras, memory, work):
        start, context = super().prepare(base, extras, memory, work)
        c, b = (base.new_tensor([values[work.examples - 1]]) for values in (C, B))
        return start, {**context, "c": c, "b": b}

    def penalty(self, y, context):
        loss = 0.5 * context["c"] * (y - context["b"]) ** 2
        return super().penalty(y, context) + loss.sum(-1)


@dataclass(frozen=True)
class Seen:
    """One step, from inside the engine."""

    devices: list[int]
    theta: float
    s: float
    mean_h: float


@dataclass
class Watched:
    """A strategy that is looked at after each of its steps."""

    strategy: Any
    steps: list[Seen] = field(default_factory=list)

    @property
    def local(self):
        return self.strategy.local

    def init(self, params):
        return self.strategy.init(params)

    def step(self, state, server, updates):
        devices = [update.device for update in updates]
        wait = self.strategy.step(state, server, updates)
        rules = [memory.rule for memory in server._workload.memories.values()]
        mean_h = sum(float(rule["h"]) for rule in rules if rule) / server.devices
        theta, s = server.params.flat.item(), state.dynamics.s.flat.item()
        self.steps.append(Seen(devices, theta, s, mean_h))
        return wait


def quadratics(strategy, versions, seed=0, **faults):
    """What a strategy makes of the three quadratics, step by step."""
    zeros, labels = torch.zeros(6, 1), torch.zeros(6, dtype=torch.int64)
    owners = np.repeat(np.arange(3), [1, 2, 3])
    dataset = Dataset("none", zeros, labels, zeros, labels, classes=1)
    data = LocalData(dataset, Partition.from_owners(owners, 3))
    model = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(model.weight)
    streams, options = Streams(seed), TrainingOptions(batch_size=10, lr=0.12)
    law = {"kind": "exponential", "mean_s": 1.0}
    group = GroupOptions.model_validate({"compute": law, "count": 3, "faults": faults})
    problem = Problem(data, model, params_of(model), options, flops=1.0)
    local = problem.local(strategy.local, streams)
    exchange = Exchange(problem.initial, chain(()), chain(()), streams, problem.groups)
    workload = Learning(problem, OneByOne(local), exchange, local)
    watched, plan = Watched(strategy), Plan(limits=Limits(versions=versions))
    Kernel(build([group], streams), workload, watched, streams, plan, lambda *_: None).run()
    return watched.steps


def as_printed(rounds, alpha=1.0):
    """θ after each round of the paper's algorithm, in its own variables, solved exactly."""
    theta, g, h, thetas = 0.0, [0.0] * 3, 0.0, []
    for active in rounds:
        local = {k: (C[k] * B[k] + g[k] + alpha * theta) / (C[k] + alpha) for k in active}
        for k in active:
            g[k] -= alpha * (local[k] - theta)
        h -= alpha / 3 * sum(local[k] - theta for k in active)
        theta = sum(local.values()) / len(active) - h / alpha
        thetas.append(theta)
    return thetas


EXACT = {"local": Quadratic(), "steps": 60}
EVERYBODY = FedDyn(cohort=3, **EXACT)


def test_known_quadratics_give_the_known_models():
    """Published for exact local solves and full participation."""
    known = {1: 2.351515, 2: 2.143691, 3: 2.086856, 5: 2.100415, 10: 2.187835, 20: 2.250680}
    steps = quadratics(EVERYBODY, versions=40)
    found = {version: steps[version].theta for version in known}
    assert found == pytest.approx(known, abs=1e-5)
    assert steps[40].theta == pytest.approx(2.266011, abs=1e-5)
    assert abs(steps[40].theta - OPTIMUM) < 1e-3


def test_plain_averaging_goes_elsewhere():
    """Exact local solves average the b_k: the quadratics disagree, and FedAvg does not mind."""
    plain = FedDyn(cohort=3, local=Quadratic(alpha=1e-6), steps=60)
    assert quadratics(plain, versions=1)[1].theta == pytest.approx(2 * 4 / 3, abs=1e-2)


@pytest.mark.parametrize("cohort", [1, 2])
def test_the_engine_follows_the_printed_algorithm_whoever_takes_part(cohort):
    steps = quadratics(FedDyn(cohort=cohort, **EXACT), versions=25)
    found = [step.theta for step in steps[1:]]
    assert found == pytest.approx(as_printed([step.devices for step in steps[1:]]), abs=1e-5)


def test_one_device_a_round_goes_to_the_optimum():
    steps = quadratics(FedDyn(cohort=1, **EXACT), versions=150)
    assert abs(steps[-1].theta - OPTIMUM) < 1e-2


@pytest.mark.parametrize(
    "strategy",
    [
        EVERYBODY,
        FedDyn(cohort=2, **EXACT),
        AsyncFedDyn(concurrency=3, buffer=2, **EXACT),
        AsyncFedDyn(concurrency=3, buffer=1, average_of="fleet", **EXACT),
        AsyncFedDyn(concurrency=3, buffer=1, max_staleness=0, **EXACT),
    ],
    ids=["all", "two", "buffered", "pure", "dropping"],
)
def test_the_server_s_state_is_the_mean_of_the_devices_whatever_is_lost(strategy):
    steps = quadratics(strategy, versions=12, drop_probability=0.4)
    assert any(step.mean_h for step in steps)
    for step in steps:
        assert step.s == pytest.approx(step.mean_h, abs=1e-5)


def test_a_lost_upload_changes_neither_side():
    steps = quadratics(EVERYBODY, versions=8, drop_probability=0.8)
    nobody = [now for now in range(1, len(steps)) if not steps[now].devices]
    assert nobody
    for now in nobody:
        assert (steps[now].s, steps[now].mean_h) == (steps[now - 1].s, steps[now - 1].mean_h)
        assert steps[now].theta == steps[now - 1].theta


def test_pure_asynchrony_goes_to_the_optimum():
    pure = AsyncFedDyn(concurrency=3, buffer=1, average_of="fleet", **EXACT)
    assert abs(quadratics(pure, versions=150)[-1].theta - OPTIMUM) < 1e-2


def test_a_buffer_of_all_in_step_is_the_synchronous_round():
    steps = quadratics(AsyncFedDyn(concurrency=1, buffer=1, **EXACT), versions=20)
    used = [step.devices for step in steps[1:]]
    assert [step.theta for step in steps[1:]] == pytest.approx(as_printed(used), abs=1e-5)


def digits(strategy, versions=4, **learning):
    """A run on eight devices with unequal data."""
    table = {
        "fleet": {"group": [{"compute": {"kind": "exponential", "mean_s": 1.0}, "count": 8}]},
        "learning": {
            "dataset": "digits",
            "partition": {"kind": "dirichlet", "alpha": 0.5},
            "model": "softmax",
            "weight_decay": 1e-3,
            **learning,
        },
        "strategy": strategy,
        "evaluate": {"every_versions": 1},
        "stop": {"versions": versions},
    }
    return simfl.run(table, seed=1)


def test_with_a_vanishing_alpha_the_first_round_is_fedavg_s():
    alone = {"kind": "feddyn", "cohort": 4, "local": {"kind": "dynamic", "alpha": 1e-9}}
    plain = {"kind": "fedavg", "cohort": 4, "weights": "uniform"}
    sel, model = digits(alone, 1).evaluations, digits(plain, 1).evaluations
    assert sel.loss.tolist() == pytest.approx(model.loss.tolist(), rel=1e-5)
    assert sel.loss_cloud.iloc[1] != pytest.approx(sel.loss.iloc[1], rel=1e-3)


def test_every_model_is_evaluated_and_one_is_chosen():
    dynamic = {"kind": "feddyn", "cohort": 4, "remember": True}
    for chosen in ("sel", "all", "cloud"):
        table = digits({**dynamic, "evaluate": chosen}).evaluations
        assert table.accuracy.equals(table[f"accuracy_{chosen}"].rename("accuracy"))
        assert table.loss_sel.iloc[0] == table.loss_all.iloc[0] == table.loss_cloud.iloc[0]
        assert table[["loss_sel", "loss_all", "loss_cloud"]].iloc[-1].nunique() == 3
        assert (table.norm_s.iloc[1:] > 0).all()


def test_after_full_participation_all_is_sel():
    table = digits({"kind": "feddyn", "cohort": 8, "remember": True}).evaluations
    assert table.loss_all.tolist() == pytest.approx(table.loss_sel.tolist(), rel=1e-4)


def test_feddyn_sends_what_fedavg_sends():
    """Down and up, a model and its frame: no state travels."""
    tasks = digits({"kind": "feddyn", "cohort": 4}).tasks
    size = 4 * (64 * 10 + 10) + FRAME_BYTES
    assert set(tasks.down_bytes) == set(tasks.up_bytes) == {size}


def test_the_linear_term_is_clipped_and_the_quadratic_one_is_not():
    """With a gradient bound of next to nothing, alpha shrinks the model like weight decay."""
    tight = {"clip_norm": 1e-9, "lr": 0.1, "weight_decay": 0.0}
    result = digits({"kind": "feddyn", "cohort": 8, "local": "dynamic"}, 1, **tight)
    steps = result.tasks.epochs * -(-result.tasks.examples // 10)
    mean = result.tasks.examples.mean()
    kept = (1 - 0.1 * 0.01 * mean / result.tasks.examples) ** steps
    expected = kept.mean() + (kept.mean() - 1)  # A + S
    first = digits({"kind": "fedavg", "cohort": 8}, 1, lr=1e-12).params
    assert result.params.norm() == pytest.approx(first.norm() * expected, rel=1e-3)


@pytest.mark.parametrize(
    ("trainer", "clip"), [("batched", {}), ("batched", {"clip_norm": 1.0}), ("compiled", {})]
)
def test_every_trainer_finds_the_same_models(trainer, clip):
    """Also in a round of newcomers and of devices that have taken part before."""
    dynamic = {"kind": "feddyn", "cohort": 4, "local": {"kind": "dynamic", "alpha": 0.3}}
    plain = digits(dynamic, 5, trainer="one-by-one", **clip)
    other = digits(dynamic, 5, trainer=trainer, **clip)
    assert torch.allclose(plain.params.flat, other.params.flat, atol=1e-4)


def test_small_devices_are_held_more_tightly():
    work = Work(examples=5, mean_examples=10.0, epochs=1.0, steps=1, batch_size=1, lr=0.1)
    assert Dynamic(alpha=0.1).alpha_k(work) == 0.2


@pytest.mark.parametrize(
    ("options", "named"),
    [({"local": LocalRule()}, "dynamic"), ({"evaluate": "all"}, "remember")],
)
def test_what_does_not_fit_is_refused(options, named):
    with pytest.raises(ScenarioError, match=named):
        FedDyn(**options)
