"""The reference trainer: one job after another, plain PyTorch autograd.

One step, with the local rule's hooks in their places:

    g = gradient of (mean batch loss + penalty(y));  g = clip(g);  g = g + weight_decay * y
    g = correct(g, y);  v = momentum * v + g;  y = y - lr * v

With the identity rule that is torch.optim.SGD after clip_grad_norm_, in the same order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from simfl.errors import PluginError
from simfl.learn.flat import FlatModule
from simfl.learn.jobs import Job, LocalData, Trained, TrainingOptions, passes, work_of
from simfl.learn.models import example_losses
from simfl.params import Params
from simfl.strategy.base import Context, LocalRule, Report, Work
from simfl.streams import Streams

_CHUNK = 1000  # examples per pass when a gradient over all local data is asked for


@contextmanager
def single_thread() -> Iterator[None]:
    """Torch computes on one thread inside: small models are faster so, and sums repeat exactly."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def asking(rule: LocalRule, hook: str) -> Iterator[None]:
    """Whatever a local rule raises inside becomes a PluginError that names rule and hook."""
    try:
        yield
    except PluginError:
        raise
    except Exception as error:
        raise PluginError(
            f"local rule {type(rule).__name__}.{hook} failed ({type(error).__name__}: {error})"
        ) from error


def overrides(rule: LocalRule, hook: str) -> bool:
    """Whether the rule has a hook of its own; one that it inherits is the identity."""
    return getattr(type(rule), hook) is not getattr(LocalRule, hook)


class OneByOne:
    """Trains jobs one after another. The model passed in is copied and never altered."""

    width = 1

    def __init__(
        self,
        model: nn.Module,
        data: LocalData,
        options: TrainingOptions,
        rule: LocalRule,
        streams: Streams,
        device: torch.device | str = "cpu",
    ) -> None:
        self.data = data
        self.options = options
        self.rule = rule
        self.streams = streams
        self.device = device
        self._model = FlatModule(model, device)
        self._penalises = overrides(rule, "penalty")
        self._corrects = overrides(rule, "correct")

    def train(self, jobs: Sequence[Job]) -> list[Trained]:
        """The results in the order of the jobs."""
        # Dropout and its like draw from torch's global generator: seeded per job, then restored.
        with torch.random.fork_rng(devices=[]):
            return [self._one(job) for job in jobs]

    def _one(self, job: Job) -> Trained:
        torch.default_generator.manual_seed(self.streams.integer("dropout", job.device, job.index))
        x, y = (part.to(self.device) for part in self.data.of(job.device))
        work = work_of(job, len(x), self.data.mean_examples, self.options)
        work = replace(work, gradient=lambda point: self._gradient(point, x, y))
        base = job.base.flat.to(self.device)
        with asking(self.rule, "prepare"):
            start, context = self.rule.prepare(base, job.extras, job.memory, work)
        context = {**context, "base": base[: job.base.layout.trainable]}
        self._model.load(checked(start, base, self.rule))
        losses = self._descend(job, x, y, work, context)
        end = self._model.flat.clone()
        with asking(self.rule, "report"):
            report = self.rule.report(end, base, context, work)
        loss, rms = moments(losses)
        sent = as_params(report, job.base, self.rule)
        return Trained(sent, work.examples, work.steps, work.epochs, loss, rms)

    def _descend(
        self, job: Job, x: Tensor, y: Tensor, work: Work, context: Context
    ) -> list[Tensor]:
        """Runs the job's steps on the loaded model; returns the per-example losses met."""
        velocity = torch.zeros_like(self._model.grad) if self.options.momentum else None
        size, losses = work.batch_size, []
        for order in passes(self.streams, job.device, job.index, len(x), size, work.steps):
            mine = torch.from_numpy(order).to(self.device)
            for xs, ys in zip(x[mine].split(size), y[mine].split(size), strict=True):
                losses.append(self._slope(xs, ys, context))
                self._move(work.lr, context, velocity)
        return losses

    def _slope(self, x: Tensor, y: Tensor, context: Context) -> Tensor:
        """Sets `grad` to the gradient of one mini-batch; returns its per-example losses."""
        model = self._model
        model.grad.zero_()
        each = example_losses(model.module(x), y)
        each.mean().backward()
        if self._penalises:
            point = model.trained.detach().requires_grad_()
            point.grad = model.grad  # autograd adds to it
            with asking(self.rule, "penalty"):
                self.rule.penalty(point, context).backward()
        return each.detach()

    @torch.no_grad()
    def _move(self, lr: float, context: Context, velocity: Tensor | None) -> None:
        """One step along `grad`."""
        options, y, g = self.options, self._model.trained, self._model.grad
        if options.clip_norm is not None:
            g.mul_((options.clip_norm / (torch.linalg.vector_norm(g) + 1e-6)).clamp(max=1.0))
        if options.weight_decay:
            g.add_(y, alpha=options.weight_decay)
        if self._corrects:
            with asking(self.rule, "correct"):
                g = self.rule.correct(g, y, context)
        if velocity is not None:
            g = velocity.mul_(options.momentum).add_(g)
        y.add_(g, alpha=-lr)

    def _gradient(self, point: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """(T,) gradient of the mean loss over x, y at a (P,) point. Overwrites the loaded model."""
        model = self._model
        model.load(point)
        model.grad.zero_()
        for xs, ys in zip(x.split(_CHUNK), y.split(_CHUNK), strict=True):
            (example_losses(model.module(xs), ys).sum() / len(x)).backward()
        return model.grad.clone()


def checked(start: Any, base: Tensor, rule: LocalRule) -> Tensor:
    """The starting point, if it is a tensor like the base; else PluginError."""
    if not isinstance(start, Tensor) or start.shape != base.shape:
        raise PluginError(
            f"local rule {type(rule).__name__}.prepare returned {_described(start)} to start from, "
            f"expected a tensor of shape {tuple(base.shape)}"
        )
    return start


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
