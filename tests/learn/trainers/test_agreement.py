"""Every trainer finds what the reference finds, and no job knows who trains beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from trainer_bench import SIZES, Drift, Pull, distance, equal, images, jobs, noise, problem

from simfl.learn.datasets.base import Dataset
from simfl.learn.models.base import Cnn, Lenet, Mlp, Softmax
from simfl.learn.models.resnet import Resnet20
from simfl.learn.trainers import choose
from simfl.learn.trainers.batched import Batched
from simfl.learn.trainers.dense import dense_widths
from simfl.learn.trainers.kernels import DenseKernel, FunctionalKernel
from simfl.strategy.base import LocalRule
from simfl.strategy.local_rules import Proximal
from simfl.strategy.methods.feddyn import Dynamic
from simfl.strategy.methods.scaffold import ControlVariate

OPTIONS = [
    {},
    {"momentum": 0.9},
    {"weight_decay": 0.1},
    {"clip_norm": 0.3},
    {"momentum": 0.5, "weight_decay": 0.1, "clip_norm": 0.5, "lr_decay": 0.5},
    {"batch_size": 100},
    {"batch_size": 1},
]
RULES = {
    "plain": (LocalRule(), ()),
    "proximal": (Proximal(0.5), ()),
    "scaffold": (ControlVariate(), ("extras", "memory")),
    "feddyn": (Dynamic(0.1), ("memory",)),
    "penalty": (Pull(), ()),
    "drift": (Drift(), ()),
}


def kept(local: Any, needs: tuple[str, ...]) -> dict[str, Any]:
    """What the rules of the table get from the server, and remember."""
    given = {"extras": {"c": noise(local.initial, 1)}, "memory": {}}
    given["memory"] = {name: noise(local.initial, 2) for name in ("c_i", "h")}
    return {name: given[name] for name in needs}


def stacked(local: Any, chunk: int, kernel: type = DenseKernel) -> Batched:
    if kernel is DenseKernel:
        return Batched(local, DenseKernel(local.model, dense_widths(local.model)), 100, chunk)
    return Batched(local, FunctionalKernel(local.model, "cpu"), 100, chunk)


def compiled(local: Any) -> Any:
    """The trainer in machine code."""
    choice = choose("compiled", local)
    assert type(choice.trainer).__name__ == "CompiledDense", choice.why
    return choice.trainer


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("model", [Softmax(), Mlp((8,)), Mlp((20, 7, 5))], ids=str)
def test_dense_models_agree_with_the_reference(model: Any, options: dict[str, Any]) -> None:
    local = problem(model, **options)
    work = jobs(local)
    reference = choose("one-by-one", local).trainer.train(work)
    for trainer in (stacked(local, 4), stacked(local, 4, FunctionalKernel), compiled(local)):
        assert distance(trainer.train(work), reference) < 1e-5


@pytest.mark.parametrize("options", OPTIONS[:5], ids=str)
@pytest.mark.parametrize("name", RULES)
def test_local_rules_work_unchanged_in_a_stack(name: str, options: dict[str, Any]) -> None:
    rule, needs = RULES[name]
    local = problem(rule=rule, **options)
    work = jobs(local, **kept(local, needs))
    reference = choose("one-by-one", local).trainer.train(work)
    results = choose("batched", local).trainer.train(work)
    assert distance(results, reference) < 1e-5
    for mine, its in zip(results, reference, strict=True):
        assert mine.report.extras.keys() == its.report.extras.keys()
        for key, tensor in its.report.memory.items():
            torch.testing.assert_close(mine.report.memory[key], tensor, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("options", OPTIONS[:5], ids=str)
@pytest.mark.parametrize("name", ["proximal", "scaffold", "feddyn"])
def test_affine_rules_train_as_machine_code(name: str, options: dict[str, Any]) -> None:
    rule, needs = RULES[name]
    local = problem(rule=rule, **options)
    if local.penalises and "clip_norm" in options:
        pytest.skip("a penalty is clipped with the loss, and is no affine term then")
    work = jobs(local, **kept(local, needs))
    reference = choose("one-by-one", local).trainer.train(work)
    assert distance(compiled(local).train(work), reference) < 1e-5


def test_a_proximal_term_of_zero_changes_no_bit_under_any_trainer() -> None:
    plain, zero = problem(), problem(rule=Proximal(0.0))
    for make in (compiled, lambda local: stacked(local, 4)):
        assert equal(make(plain).train(jobs(plain)), make(zero).train(jobs(zero)))


@pytest.mark.parametrize(
    "factory",
    [
        Lenet(),
        Cnn(),
        Resnet20(),
        lambda data: nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.Tanh(), nn.Linear(5, 4)),
    ],
    ids=["lenet", "cnn", "resnet20", "tanh"],
)
def test_other_models_agree_with_the_reference(factory: Callable[..., nn.Module]) -> None:
    local = problem(factory, dataset=images((1, 8, 8)), lr=0.01)
    work = jobs(local)[:4]
    choice = choose("batched", local)
    assert choice.kind == "batched", choice.why
    reference = choose("one-by-one", local).trainer.train(work)
    together = choice.trainer.train(work)
    assert distance(together, reference) < 1e-5
    assert equal([choice.trainer.train([job])[0] for job in work[::-1]][::-1], together)


@pytest.mark.parametrize("kernel", [DenseKernel, FunctionalKernel])
@pytest.mark.parametrize("options", [{}, OPTIONS[4]], ids=str)
def test_a_result_does_not_depend_on_company(kernel: type, options: dict[str, Any]) -> None:
    """To the last bit, whoever shares the stack, in whatever order the jobs come."""
    local = problem(Mlp((40, 9)), **options)
    work = jobs(local)
    together = stacked(local, 100, kernel).train(work)
    assert equal(stacked(local, 100, kernel).train(work[::-1])[::-1], together)
    for chunk in (1, 2, 5):
        assert equal(stacked(local, chunk, kernel).train(work), together)
    assert equal([stacked(local, 8, kernel).train([job])[0] for job in work], together)


@pytest.mark.parametrize("batch_size", [1, 7, 10, 16])
@pytest.mark.parametrize(("hidden", "classes"), [(9, 7), (31, 3), (2, 5)])
def test_nor_do_odd_shapes(hidden: int, classes: int, batch_size: int) -> None:
    """Matrices of odd sizes would lie at unlike addresses, and products tell these apart."""
    dataset = images((1, 5, 7), classes)

    def tanh(_: Dataset) -> nn.Module:
        layers = nn.Linear(35, hidden), nn.Tanh(), nn.Linear(hidden, classes)
        return nn.Sequential(nn.Flatten(), *layers)

    for factory in (Mlp((hidden,)), tanh):
        local = problem(factory, dataset=dataset, batch_size=batch_size)
        work, choice = jobs(local), choose("auto" if factory is tanh else "batched", local)
        together = choice.trainer.train(work)
        assert equal([choice.trainer.train([job])[0] for job in work], together)


def test_machine_code_repeats_itself_whatever_was_trained_before() -> None:
    local = problem(Mlp((40, 9)), momentum=0.9)
    work, trainer = jobs(local), compiled(local)
    once = trainer.train(work)
    assert equal(trainer.train(work[::-1])[::-1], once)
    assert equal([compiled(local).train([job])[0] for job in work], once)


def test_neither_base_nor_model_is_altered() -> None:
    local = problem()
    kept_base, kept_model = (
        local.initial.flat.clone(),
        [p.clone() for p in local.model.parameters()],
    )
    for trainer in (stacked(local, 3), compiled(local)):
        trainer.train(jobs(local))
        assert torch.equal(local.initial.flat, kept_base)
        assert all(map(torch.equal, local.model.parameters(), kept_model))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so(value: float) -> None:
    local = problem()
    spoilt = local.initial.like(local.initial.flat.clone())
    spoilt.flat[5] = value
    work = [type(jobs(local)[0])(spoilt, 3, 0, epochs=1.0)]
    for trainer in (choose("one-by-one", local).trainer, stacked(local, 1), compiled(local)):
        (result,) = trainer.train(work)
        assert not result.report.delta.flat.isfinite().all()
        assert result.loss != result.loss


def test_there_is_a_device_of_every_kind() -> None:
    """Less than a batch, exactly one, several, and several with a rest."""
    assert {min(n, 4) for n in SIZES} >= {1, 3, 4}
    assert {n % 4 for n in SIZES} >= {0, 1, 2, 3}


def test_no_jobs_are_no_work() -> None:
    local = problem()
    for trainer in (stacked(local, 3), compiled(local)):
        assert trainer.train([]) == []


@pytest.mark.parametrize(
    ("factory", "shape"), [(Cnn(), (1, 8, 8)), (Lenet(), (3, 16, 16)), (Resnet20(), (3, 8, 8))]
)
def test_channels_last_is_the_reference_but_for_rounding(factory: Any, shape: Any) -> None:
    local = problem(factory, Drift(), images(shape), momentum=0.5)
    reference = choose("one-by-one", local).trainer.train(jobs(local)[:2])
    choice = choose("auto", local)
    assert choice.kind == "channels-last"
    assert distance(choice.trainer.train(jobs(local)[:2]), reference) < 1e-4
    assert equal(choice.trainer.train(jobs(local)[1:2]), choice.trainer.train(jobs(local)[:2])[1:])
