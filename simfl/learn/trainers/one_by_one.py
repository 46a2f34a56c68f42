"""The reference trainer: one job after another, plain PyTorch autograd.

One step, with the local rule's hooks in their places:

    g = gradient of (mean batch loss + penalty(y));  g = clip(g);  g = g + weight_decay * y
    g = correct(g, y);  v = momentum * v + g;  y = y - lr * (v + correction(y))

With the identity rule that is torch.optim.SGD after clip_grad_norm_, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from simfl.learn.failures import computing
from simfl.learn.models.flat import FlatModule
from simfl.learn.trainers.jobs import Job, LocalData, Trained, Trainer, TrainingOptions
from simfl.learn.trainers.local_training import Local, Opened, asking, moments
from simfl.learn.trainers.minibatches import met
from simfl.strategy.base import Context, LocalRule
from simfl.strategy.special_rules import MomentumRule
from simfl.streams import Streams


@contextmanager
def single_thread() -> Iterator[None]:
    """Torch computes on one thread inside: small models are faster so, and sums repeat exactly."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class OneByOne(Trainer):
    """Trains jobs one after another. The model passed in is copied and never altered."""

    width = 1

    def __init__(
        self,
        model: nn.Module,
        data: LocalData,
        options: TrainingOptions,
        rule: LocalRule,
        streams: Streams,
        device: str = "cpu",
    ) -> None:
        self.local = Local(model, data, options, rule, streams, device)
        self._model = FlatModule(model, device)
        self._loss = options.objective.loss
        added = options.clip_norm is not None or options.weight_decay or options.momentum
        self._plain = not (self.local.hooked or added)

    def train(self, jobs: Sequence[Job]) -> list[Trained]:
        """The results in the order of the jobs."""
        # Dropout and its like draw from torch's global generator: seeded per job, then restored.
        with torch.random.fork_rng(devices=[]):
            return [self._one(job) for job in jobs]

    def _one(self, job: Job) -> Trained:
        seed = self.local.streams.integer("dropout", job.device, job.index)
        torch.default_generator.manual_seed(seed)
        opened = self.local.open(job)
        self._model.load(opened.start)
        losses = self._descend(opened)
        return self.local.close(opened, self._model.flat.clone(), moments(losses))

    def _descend(self, opened: Opened) -> list[Tensor]:
        """Runs the job's steps on the loaded model; returns the per-example losses met."""
        local, work = self.local, opened.work
        velocity = torch.zeros_like(self._model.grad) if local.options.momentum else None
        losses = []
        with computing(local.model, f"training on device {opened.job.device}") as at:
            for xs, ys in met(local, opened):
                at.x = xs
                if self._plain:
                    losses.append(self._plain_step(xs, ys, work.lr))
                    continue
                losses.append(self._slope(xs, ys, opened.context))
                self._move(work.lr, opened.context, velocity)
        return losses

    def _plain_step(self, x: Tensor, y: Tensor, lr: float) -> Tensor:
        """One step with nothing added to the gradient; returns the per-example losses.

        The same to the bit, without a pass over a flat gradient to clear it and one to add to it:
        3 % of a step of a network with 1.7 million parameters.
        """
        self._model.forget()
        each = self._loss(self._model.module(x), y)
        each.mean().backward()
        self._model.descend(lr)
        return each.detach()

    def _slope(self, x: Tensor, y: Tensor, context: Context) -> Tensor:
        """Sets `grad` to the gradient of one mini-batch; returns its per-example losses."""
        model = self._model
        model.grad.zero_()
        each = self._loss(model.module(x), y)
        each.mean().backward()
        if self.local.penalises:
            point = model.trained.detach().requires_grad_()
            point.grad = model.grad  # autograd adds to it
            with asking(self.local.rule, "penalty"):
                self.local.rule.penalty(point, context).backward()
        return each.detach()

    @torch.no_grad()
    def _move(self, lr: float, context: Context, velocity: Tensor | None) -> None:
        """One step along `grad`."""
        options, rule = self.local.options, self.local.rule
        y, g = self._model.trained, self._model.grad
        if options.clip_norm is not None:
            g.mul_((options.clip_norm / (torch.linalg.vector_norm(g) + 1e-6)).clamp(max=1.0))
        if options.weight_decay:
            g.add_(y, alpha=options.weight_decay)
        if self.local.corrects:
            with asking(rule, "correct"):
                g = rule.correct(g, y, context)
        if velocity is not None:
            g = velocity.mul_(options.momentum).add_(g)
        if isinstance(rule, MomentumRule):
            with asking(rule, "momentum_correction"):
                g = g + rule.momentum_correction(y, context)
        y.add_(g, alpha=-lr)
