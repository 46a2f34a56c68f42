"""Optimizers and schedules: hand-written loops do the same, and kept state goes on."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest
import torch

from simfl.learn.models.flat import params_of
from simfl.learn.optimizers import Adam, AdamW, Sgd, floats_per_parameter
from simfl.learn.schedules import Cosine, Step, WarmUp
from simfl.learn.trainers import choose
from simfl.learn.trainers.jobs import Job, TrainingOptions, batches
from simfl.learn.trainers.one_by_one import OneByOne
from simfl.scenario.foreign import Foreign
from simfl.strategy.local_rules import Proximal
from tests.learn.trainers.trainer_bench import STREAMS, deltas, equal, jobs, problem

RMSPROP = Foreign("torch.optim:RMSprop", {"alpha": 0.9}, torch.optim.RMSprop)


def trained(local: Any, given: list[Job]) -> list[Any]:
    return OneByOne(local).train(given)


def by_hand(local: Any, job: Job, make: Any, rates: list[float] | None = None) -> torch.Tensor:
    """The (P,) difference that a textbook loop makes."""
    net = copy.deepcopy(local.model).train()
    start = params_of(net).flat
    optimizer = make(net.parameters())
    x, y = local.data.of(job.device)
    for at, rows in enumerate(batches(STREAMS, job.device, job.index, len(x), 4, job.steps)):
        for group in optimizer.param_groups:
            group["lr"] = group["lr"] if rates is None else rates[at]
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        optimizer.step()
    return params_of(net).flat - start


@pytest.mark.parametrize(
    ("optimizer", "make"),
    [
        (Adam(), lambda p: torch.optim.Adam(p, lr=0.01)),
        (AdamW(weight_decay=0.1), lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1)),
        (RMSPROP, lambda p: torch.optim.RMSprop(p, lr=0.01, alpha=0.9)),
        (
            Sgd(momentum=0.9, nesterov=True),
            lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, nesterov=True),
        ),
    ],
)
def test_an_optimizer_does_what_a_hand_written_loop_does(optimizer: Any, make: Any) -> None:
    local = problem(optimizer=optimizer, lr=0.01)
    job = Job(local.initial, 5, 0, steps=11)
    [found] = deltas(trained(local, [job]))
    torch.testing.assert_close(found, by_hand(local, job, make), rtol=0, atol=1e-6)


def test_a_schedule_within_a_task_changes_the_rate_from_step_to_step() -> None:
    local = problem(schedule=(Step(every=2, factor=0.5, by="steps"),))
    job = Job(local.initial, 5, 0, steps=5)
    rates = [0.1, 0.1, 0.05, 0.05, 0.025]
    expected = by_hand(local, job, lambda p: torch.optim.SGD(p, lr=0.1), rates)
    torch.testing.assert_close(deltas(trained(local, [job]))[0], expected, rtol=0, atol=1e-6)


def test_schedules_multiply_over_versions_and_virtual_time() -> None:
    schedule = (WarmUp(over=10, first=0.5), Cosine(over=60.0, by="seconds"))
    options = TrainingOptions(lr=0.2, lr_decay=0.5, schedule=schedule)
    assert options.rate(0) == pytest.approx(0.2 * 0.5)
    assert options.rate(1, 30.0) == pytest.approx(0.2 * 0.5 * 0.55 * 0.5)
    assert options.special is None


def test_a_kept_state_goes_on_where_the_last_task_ended() -> None:
    """Two tasks in a row are one long one, as far as the optimizer is concerned."""
    local = problem(optimizer=Adam(keep=True), lr=0.01)
    [first] = trained(local, [Job(local.initial, 5, 0, steps=3)])
    there = local.initial + first.report.delta
    again = Job(there, 5, 1, steps=3, kept=first.kept)
    before = {at: one["exp_avg"].clone() for at, one in first.kept.items()}
    [second], [fresh] = trained(local, [again]), trained(local, [replace(again, kept={})])
    assert not equal([second], [fresh])
    assert float(second.kept["0"]["step"]) == 6
    assert all(torch.equal(first.kept[at]["exp_avg"], mean) for at, mean in before.items())
    assert trained(problem(optimizer=Adam()), [again])[0].kept == {}


def test_a_local_rule_takes_part_under_another_optimizer() -> None:
    free, held = (
        problem(optimizer=Adam(), lr=0.01, rule=rule) for rule in (None, Proximal(mu=5.0))
    )
    far = [sum(d.norm() for d in deltas(trained(one, jobs(one)))) for one in (free, held)]
    assert far[1] < far[0]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizer": Adam()}, "the optimizer Adam makes its steps"),
        ({"optimizer": Sgd(momentum=0.9, nesterov=True)}, "Nesterov"),
        ({"optimizer": Sgd(keep=True)}, "keeps its state"),
        ({"schedule": (Step(every=2, by="steps"),)}, "changes within a task"),
    ],
)
def test_what_stacks_cannot_do_goes_one_by_one_and_says_why(
    options: dict[str, Any], said: str
) -> None:
    choice = choose("auto", problem(**options))
    assert choice.kind == "one-by-one"
    assert said in choice.why


def test_memory_follows_the_optimizer() -> None:
    held = {Adam(): 2.0, Adam(amsgrad=True): 3.0, Sgd(momentum=0.5): 1.0, Sgd(): 0.0}
    assert {one: floats_per_parameter(one) for one in held} == held
    assert floats_per_parameter(RMSPROP) == 1.0
