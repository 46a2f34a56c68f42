from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from simfl.errors import PluginError
from simfl.learn.datasets.base import Dataset
from simfl.learn.models.base import Mlp, Softmax, build
from simfl.learn.models.flat import params_of
from simfl.learn.partition.base import Iid
from simfl.learn.trainers.jobs import Job, LocalData, TrainingOptions, batches
from simfl.learn.trainers.local_training import Local
from simfl.learn.trainers.one_by_one import OneByOne, single_thread
from simfl.params import Params
from simfl.strategy.base import Context, LocalRule, Report, Work
from simfl.streams import Streams

STREAMS = Streams(11)


def toy(n: int = 60, features: int = 5, classes: int = 3) -> Dataset:
    rng = STREAMS.generator("toy")
    x = torch.from_numpy(rng.standard_normal((n, features), dtype=np.float32))
    y = torch.from_numpy(rng.integers(classes, size=n))
    return Dataset("toy", x, y, x, y, classes)


DATA = LocalData(toy(), Iid()(toy(), 4, STREAMS.generator("partition")))  # 15 examples each
MODEL = build(Mlp((8,)), DATA.dataset, 1)
BASE = params_of(MODEL)


def trainer(rule: LocalRule | None = None, model: nn.Module = MODEL, **options: Any) -> OneByOne:
    chosen = TrainingOptions(**{"batch_size": 4, "lr": 0.1, **options})
    return OneByOne(Local(model, DATA, chosen, rule or LocalRule(), STREAMS))


def delta(rule: LocalRule | None = None, job: Job | None = None, **options: Any) -> Tensor:
    job = job or Job(BASE, device=1, index=0, epochs=2)
    return trainer(rule, **options).train([job])[0].report.delta.flat


def plain(job: Job, options: TrainingOptions, model: nn.Module = MODEL) -> Tensor:
    """The same work as a textbook PyTorch loop would do it: the (P,) difference."""
    module = copy.deepcopy(model)
    optimiser = torch.optim.SGD(
        module.parameters(),
        options.rate(job.version),
        options.momentum,
        weight_decay=options.weight_decay,
    )
    x, y = DATA.of(job.device)
    steps = job.steps or 4 * int(job.epochs or 1)
    for batch in batches(STREAMS, job.device, job.index, len(x), options.batch_size, steps):
        optimiser.zero_grad()
        nn.functional.cross_entropy(module(x[batch]), y[batch]).backward()
        if options.clip_norm:
            nn.utils.clip_grad_norm_(module.parameters(), options.clip_norm)
        optimiser.step()
    return params_of(module).flat - job.base.flat


# Plain SGD


def test_one_full_batch_step_follows_the_gradient_found_by_hand() -> None:
    """Softmax regression: dL/dW = (p - onehot)^T x / n, dL/db = mean(p - onehot)."""
    model = build(Softmax(), DATA.dataset, 2)
    base = params_of(model)
    x, y = DATA.of(2)
    weight, bias = base["1.weight"], base["1.bias"]
    error = torch.softmax(x @ weight.T + bias, 1) - nn.functional.one_hot(y, 3)
    gradient = torch.cat([(error.T @ x / len(x)).flatten(), error.mean(0)])
    trained = trainer(model=model, batch_size=100).train([Job(base, 2, 0, steps=1)])[0]
    torch.testing.assert_close(trained.report.delta.flat, -0.1 * gradient)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"momentum": 0.9},
        {"weight_decay": 0.1},
        {"clip_norm": 0.3},
        {"momentum": 0.5, "weight_decay": 0.1, "clip_norm": 0.5, "lr_decay": 0.5},
    ],
)
def test_training_is_what_a_textbook_loop_does(options: dict[str, Any]) -> None:
    job = Job(BASE, device=3, index=2, version=2, epochs=3)
    chosen = TrainingOptions(batch_size=4, lr=0.1, **options)
    torch.testing.assert_close(delta(job=job, **options), plain(job, chosen))


def test_the_learning_rate_decays_with_the_version() -> None:
    job = Job(BASE, device=0, index=0, steps=1)
    fresh = delta(job=job, lr_decay=0.5)
    late = delta(job=replace(job, version=3), lr_decay=0.5)
    torch.testing.assert_close(late, fresh / 8, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    ("epochs", "steps", "done", "passed"),
    [
        (1, None, 4, 1.0),
        (2.0, None, 8, 2.0),
        (0.5, None, 2, 8 / 15),
        (0.01, None, 1, 4 / 15),
        (None, 3, 3, 12 / 15),
        (None, 5, 5, 19 / 15),
    ],
)
def test_work_is_counted_in_whole_steps(
    epochs: float | None, steps: int | None, done: int, passed: float
) -> None:
    trained = trainer().train([Job(BASE, 0, 0, epochs=epochs, steps=steps)])[0]
    assert (trained.examples, trained.steps) == (15, done)
    assert trained.epochs == pytest.approx(passed)


def test_losses_are_means_over_the_examples_that_were_seen() -> None:
    trained = trainer(batch_size=15).train([Job(BASE, 0, 0, steps=1)])[0]
    x, y = DATA.of(0)
    each = nn.functional.cross_entropy(MODEL(x), y, reduction="none").detach().double()
    assert trained.loss == pytest.approx(each.mean().item(), rel=1e-6)
    assert trained.loss_rms == pytest.approx(each.square().mean().sqrt().item(), rel=1e-6)


# Purity


def test_a_job_repeats_bit_for_bit_whatever_else_is_trained() -> None:
    jobs = [Job(BASE, device, index, epochs=1) for device in range(4) for index in range(2)]
    one = trainer()
    together = [t.report.delta.flat for t in one.train(jobs)]
    backwards = [t.report.delta.flat for t in one.train(jobs[::-1])][::-1]
    alone = [trainer().train([job])[0].report.delta.flat for job in jobs]
    for a, b, c in zip(together, backwards, alone, strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)


def test_training_alters_neither_the_base_nor_the_model_nor_the_global_generator() -> None:
    model = build(Mlp((8,)), DATA.dataset, 1)
    base = params_of(model)
    kept, state = base.flat.clone(), torch.random.get_rng_state()
    trainer(model=model).train([Job(base, 0, 0, epochs=1)])
    assert torch.equal(base.flat, kept)
    assert torch.equal(params_of(model).flat, kept)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_dropout_is_drawn_from_the_stream_of_its_task() -> None:
    model = build(
        lambda _: nn.Sequential(nn.Linear(5, 20), nn.Dropout(0.5), nn.Linear(20, 3)),
        DATA.dataset,
        3,
    )
    base = params_of(model)

    def ends(*indices: int) -> list[Tensor]:
        jobs = [Job(base, 0, index, steps=1) for index in indices]
        trained = trainer(model=model, batch_size=15).train(jobs)
        return [t.report.delta.flat for t in trained]

    assert torch.equal(ends(0, 1)[1], ends(1)[0])
    assert not torch.allclose(*ends(0, 1))


def test_a_single_thread_is_used_inside_and_given_back_afterwards() -> None:
    torch.set_num_threads(2)
    with single_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 2


# Buffers


class Noted(nn.Module):
    """BatchNorm, an integer counter, a frozen layer and a buffer that does not travel."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(5, 6).requires_grad_(False)
        self.norm = nn.BatchNorm1d(6)
        self.out = nn.Linear(6, 3)
        self.register_buffer("scratch", torch.zeros(1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self.scratch += 1
        return self.out(self.norm(self.frozen(x))) * self.scratch


def test_trainable_parameters_lead_and_what_does_not_travel_is_left_out() -> None:
    layout = params_of(Noted()).layout
    assert layout.names == (
        *("norm.weight", "norm.bias", "out.weight", "out.bias"),
        *("norm.running_mean", "norm.running_var"),
    )
    assert layout.trainable == 12 + 21


def test_running_statistics_are_part_of_the_update_and_frozen_parameters_stay() -> None:
    model = build(lambda _: Noted(), DATA.dataset, 4)
    base = params_of(model)
    sent = trainer(model=model).train([Job(base, 0, 0, epochs=1)])[0].report.delta
    assert sent["norm.running_mean"].abs().min() > 0
    assert "frozen.weight" not in sent.layout.names


def test_what_does_not_travel_starts_afresh_in_every_job() -> None:
    model = build(lambda _: Noted(), DATA.dataset, 4)
    one = trainer(model=model)
    job = Job(params_of(model), 0, 0, steps=2)
    first, second = one.train([job, job])
    assert torch.equal(first.report.delta.flat, second.report.delta.flat)
    assert model.scratch == 0


# Local rules


class Proximal(LocalRule):
    def penalty(self, y: Tensor, context: Context) -> Tensor:
        return 0.5 * 0.7 * (y - context["base"]).square().sum(-1)


class ProximalByHand(LocalRule):
    def correct(self, grad: Tensor, y: Tensor, context: Context) -> Tensor:
        return grad + 0.7 * (y - context["base"])


def test_a_penalty_is_differentiated_with_the_loss() -> None:
    torch.testing.assert_close(delta(Proximal()), delta(ProximalByHand()))
    assert not torch.allclose(delta(Proximal()), delta())


def test_hooks_that_do_nothing_change_no_bit() -> None:
    class Idle(LocalRule):
        def penalty(self, y: Tensor, context: Context) -> Tensor:
            return 0.0 * y.sum(-1)

        def correct(self, grad: Tensor, y: Tensor, context: Context) -> Tensor:
            return grad + 0.0

    assert torch.equal(delta(Idle()), delta())


class Everything(LocalRule):
    """Starts elsewhere, keeps a context, reports a part, an extra and a memory."""

    def prepare(self, base: Tensor, extras: Any, memory: Any, work: Work) -> tuple[Tensor, Context]:
        return base + extras["shift"], {"memory": memory["seen"]}

    def correct(self, grad: Tensor, y: Tensor, context: Context) -> Tensor:
        return torch.zeros_like(grad)

    def report(self, end: Tensor, base: Tensor, context: Context, work: Work) -> Report:
        part = BASE.like(end - base).select(["3.bias"])
        return Report(part, {"steps": work.steps}, {"seen": context["memory"] + 1})


def test_a_rule_sees_what_the_server_sent_and_what_the_device_remembered() -> None:
    job = Job(BASE, 0, 0, steps=3, extras={"shift": 2.0}, memory={"seen": torch.ones(1)})
    report = trainer(Everything()).train([job])[0].report
    torch.testing.assert_close(report.delta.flat, torch.full((3,), 2.0))
    assert report.extras == {"steps": 3}
    assert report.memory["seen"] == 2


def test_a_rule_knows_its_work() -> None:
    seen: list[Work] = []

    class Asking(LocalRule):
        def prepare(
            self, base: Tensor, extras: Any, memory: Any, work: Work
        ) -> tuple[Tensor, Context]:
            seen.append(work)
            return base, {}

    trainer(Asking(), lr_decay=0.5).train([Job(BASE, 0, 0, version=1, epochs=2)])
    work = replace(seen[0], gradient=None)
    assert work == Work(15, 15.0, 2.0, 8, 4, 0.05, trainable=BASE.layout.trainable)


class FullGradient(LocalRule):
    """Follows the gradient over all local data, taken once at the start."""

    def prepare(self, base: Tensor, extras: Any, memory: Any, work: Work) -> tuple[Tensor, Context]:
        assert work.gradient is not None
        return base, {"full": work.gradient(base)}

    def correct(self, grad: Tensor, y: Tensor, context: Context) -> Tensor:
        return context["full"]


def test_the_gradient_over_all_local_data_is_at_hand() -> None:
    job = Job(BASE, 0, 0, steps=1)
    torch.testing.assert_close(delta(FullGradient(), job), delta(job=job, batch_size=15))


def test_asking_for_a_gradient_at_the_end_does_not_change_what_is_sent() -> None:
    class Late(LocalRule):
        def report(self, end: Tensor, base: Tensor, context: Context, work: Work) -> Report:
            assert work.gradient is not None
            work.gradient(base)
            return Report(end - base)

    assert torch.equal(delta(Late()), delta())


def raises(*_: Any) -> Any:
    raise ValueError("boom")


@pytest.mark.parametrize("hook", ["prepare", "penalty", "correct", "report"])
def test_a_rule_that_raises_is_named_with_its_hook(hook: str) -> None:
    rule = type("Broken", (LocalRule,), {hook: raises})()
    with pytest.raises(PluginError, match=rf"Broken\.{hook} failed \(ValueError: boom\)"):
        delta(rule)


@pytest.mark.parametrize(
    ("hook", "answer"),
    [
        ("prepare", lambda *_: (torch.zeros(2), {})),
        ("prepare", lambda *_: (None, {})),
        ("report", lambda *_: Report(torch.zeros(2))),
        ("report", lambda *_: torch.zeros(2)),
    ],
)
def test_a_rule_that_answers_nonsense_is_told_what_was_expected(
    hook: str, answer: Callable[..., Any]
) -> None:
    rule = type("Odd", (LocalRule,), {hook: answer})()
    with pytest.raises(PluginError, match=rf"Odd\.{hook} returned .*expected"):
        delta(rule)


def test_what_is_sent_is_named_and_laid_out_like_the_base() -> None:
    sent = trainer().train([Job(BASE, 0, 0, steps=1)])[0].report.delta
    assert isinstance(sent, Params)
    assert sent.layout == BASE.layout
