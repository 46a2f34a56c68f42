"""What surrounds a job's SGD steps under every trainer: the local rule's first and last word.

A trainer opens a job, takes the steps that it asks for as it sees fit, and closes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from simfl.errors import PluginError, plugin_errors
from simfl.learn.failures import computing
from simfl.learn.models.flat import FlatModule, params_of
from simfl.learn.models.structure import split_of
from simfl.learn.trainers.jobs import Job, JobResult, LocalData, TrainingOptions
from simfl.messages import examples_seen, local_steps
from simfl.params import Params
from simfl.strategy.base import Context, LocalRule, Report, Work, overrides
from simfl.strategy.special_rules import (
    HOOKS,
    AffineRule,
    MomentumRule,
    PersonalContext,
    PersonalRule,
)
from simfl.streams import Streams

_CHUNK = 1000  # examples per pass when a gradient over all local data is asked for


@dataclass(frozen=True, eq=False)
class Opened:
    """A job that is ready to train.

    start: (P,) on the trainer's device, never to be altered.
    seen: how often `base` has been altered: as often when the job is closed.
    """

    job: Job
    work: Work
    base: Tensor
    start: Tensor
    context: Context
    seen: int


class Local:
    """Opens and closes jobs: model, data, options and rule of all devices."""

    def __init__(
        self,
        model: nn.Module,
        data: LocalData,
        options: TrainingOptions,
        rule: LocalRule,
        streams: Streams,
        torch_device: str = "cpu",
    ) -> None:
        self.model = model
        self.data = data
        self.options = options
        self.rule = inherits_its_hooks(rule)
        self.streams = streams
        self.torch_device = torch_device
        self.penalises = overrides(rule, "penalty")
        self.corrects = overrides(rule, "correct")
        self.affine = is_affine(rule)
        self.initial = params_of(model)
        found = split_of(rule, model, data.dataset.x[:1])
        self.structure = None if found is None else found[0]
        self._sizes = data.partition.sizes
        if isinstance(rule, PersonalRule):
            held = self._sizes * 0 if data.held is None else data.held.sizes
            rule.check_held_back(held, self._sizes)
        self._mean_examples = data.mean_examples
        self._aside: FlatModule | None = None

    @property
    def hooked(self) -> bool:
        """Whether the rule takes part in every step."""
        return self.penalises or self.corrects or isinstance(self.rule, MomentumRule)

    @property
    def adds(self) -> bool:
        """Whether a step's gradient is not that of the mean loss alone, before the optimizer."""
        options = self.options
        added = options.clip_norm is not None or bool(options.weight_decay)
        return self.penalises or self.corrects or added

    def open(self, job: Job) -> Opened:
        """Asks the rule where to start, and for the constants of its other hooks."""
        work = self._work(job)
        base = job.base.flat
        if self.torch_device != "cpu":
            base = base.to(self.torch_device)
        seen = base._version
        with asking(self.rule, "prepare"):
            start, context = self.rule.prepare(base, job.extras, job.memory, work)
        start = checked(start, self.initial.flat, self.rule)
        received = base if len(base) == len(start) else start
        context = {**context, "base": received[: self.initial.layout.trainable]}
        return Opened(job, work, base, start, context, seen)

    def close(self, opened: Opened, end: Tensor, losses: tuple[float, float]) -> JobResult:
        """Asks the rule what is sent.

        end: (P,), given away.
        losses: mean and root mean square.
        """
        work = opened.work
        with asking(self.rule, "report"):
            report = self.rule.report(end, opened.base, opened.context, work)
        if opened.base._version != opened.seen:
            raise PluginError(
                f"local rule {type(self.rule).__name__} altered the model that the device received,"
                " which other devices and the server share: work on a copy, as base.clone() makes"
            )
        sent = as_params(report, opened.job.base, self.rule)
        return JobResult(sent, work.examples, work.steps, work.epochs, *losses)

    def _work(self, job: Job) -> Work:
        """What the rule may know of the job."""
        n, options = int(self._sizes[job.device % len(self._sizes)]), self.options
        used = options.used(n)
        steps = local_steps(used, options.batch_size, job.epochs, job.steps)
        return Work(
            examples=n,
            mean_examples=self._mean_examples,
            epochs=examples_seen(used, options.batch_size, steps) / used,
            steps=steps,
            batch_size=options.batch_size,
            lr=options.rate(job.version, job.now_s),
            momentum=options.momentum,
            trainable=job.base.layout.trainable,
            gradient=lambda point: self._gradient(point, job.device),
            personal=self.personal(job),
        )

    def personal(self, job: Job) -> PersonalContext | None:
        """The context of the job's device for a `PersonalRule`; None for other rules."""
        if self.structure is None:
            return None
        return PersonalContext(
            structure=self.structure,
            initial=self.initial.flat.to(self.torch_device),
            accuracy=lambda point: self._accuracy(point, job.device),
            seed=self.streams.integer("rule", job.device, job.index),
            extras=job.extras,
            memory=job.memory,
        )

    @torch.no_grad()
    def _accuracy(self, point: Tensor, device: int) -> float:
        """Share of right answers of a (P,) point on what the device holds back, if anything."""
        x, y = (part.to(self.torch_device) for part in self.data.held_back(device))
        aside = self._beside()
        aside.load(point)
        aside.module.eval()
        right = 0
        with computing(self.model, f"trying the model on device {device}") as at:
            for at.x, ys in zip(x.split(_CHUNK), y.split(_CHUNK), strict=True):
                right += int((aside.module(at.x).argmax(-1) == ys).sum())
        aside.module.train()
        return right / len(y)

    def _beside(self) -> FlatModule:
        if self._aside is None:
            self._aside = FlatModule(self.model, self.torch_device)
        return self._aside

    def _gradient(self, point: Tensor, device: int) -> Tensor:
        """(T,) gradient of the mean loss over a device's data at a (P,) point."""
        aside = self._beside()
        x, y = (part.to(self.torch_device) for part in self.data.of(device))
        aside.load(point)
        aside.grad.zero_()
        with computing(self.model, f"the gradient over all examples of device {device}") as at:
            for at.x, ys in zip(x.split(_CHUNK), y.split(_CHUNK), strict=True):
                (self.options.objective.loss(aside.module(at.x), ys).sum() / len(x)).backward()
        return aside.grad.clone()


def asking(rule: LocalRule, hook: str) -> plugin_errors:
    """Whatever a local rule raises inside becomes a PluginError that names rule and hook."""
    return plugin_errors(f"local rule {type(rule).__name__}.{hook}")


def inherits_its_hooks(rule: LocalRule) -> LocalRule:
    """The rule; PluginError if it defines a hook of a special rule that it does not inherit from.

    Such a hook would never be called.
    """
    for hook, special in HOOKS.items():
        if callable(getattr(type(rule), hook, None)) and not isinstance(rule, special):
            raise PluginError(
                f"local rule {type(rule).__name__}.{hook} would never be called: it is a hook of "
                f"{special.__name__}; inherit from simfl.strategy.special_rules.{special.__name__}"
            )
    return rule


def is_affine(rule: LocalRule) -> bool:
    """Whether `affine` is the whole of what the rule does in a step, and not that of a parent."""
    if not isinstance(rule, AffineRule) or isinstance(rule, MomentumRule):
        return False
    line = type(rule).__mro__

    def place(hook: str) -> int:
        return next(at for at, cls in enumerate(line) if hook in vars(cls))

    return place("affine") <= min(place("penalty"), place("correct"))


def checked(point: Any, base: Tensor, rule: LocalRule, hook: str = "prepare") -> Tensor:
    """The point that a hook returned, if it is a tensor like the base; else PluginError."""
    if not isinstance(point, Tensor) or point.shape != base.shape:
        raise PluginError(
            f"local rule {type(rule).__name__}.{hook} returned {_described(point)} as a model, "
            f"expected a tensor of shape {tuple(base.shape)}"
        )
    return point


def as_params(report: Any, base: Params, rule: LocalRule) -> Report:
    """The report with its delta as Params on the CPU; PluginError if it is no delta."""
    delta = report.delta if isinstance(report, Report) else report
    if isinstance(delta, Tensor) and delta.shape == base.flat.shape:
        delta = base.like(delta.cpu())
    if not isinstance(report, Report) or not isinstance(delta, Params):
        raise PluginError(
            f"local rule {type(rule).__name__}.report returned {_described(delta)}, expected a "
            f"Report whose delta is Params or a tensor of shape {tuple(base.flat.shape)}"
        )
    if report.memory:  # the device may go on working with what it sent
        delta = delta.like(delta.flat.clone())
    return replace(report, delta=delta)


def moments(losses: Sequence[Tensor]) -> tuple[float, float]:
    """Mean and root mean square of all losses, accumulated in float64; nan if there are none."""
    if not losses:
        return math.nan, math.nan
    each = torch.cat(list(losses)).double()
    return float(each.mean()), float(each.square().mean().sqrt())


def _described(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"
