"""The reference trainer: one job after another, plain PyTorch autograd.

One step, with the local rule's hooks in their places:

    g = gradient of (mean batch loss + penalty(y));  g = clip(g);  g = g + weight_decay * y
    g = correct(g, y);  v = momentum * v + g;  y = y - lr * (v + correction(y))

With the identity rule that is torch.optim.SGD after clip_grad_norm_, in the same order. Another
optimizer stands where v is made and followed; its rate is lr times what the schedule says:

    y = optimizer(y, g, lr);  y = y - lr * correction(y)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from simfl.errors import plugin_errors
from simfl.learn.failures import computing
from simfl.learn.models.flat import FlatModule
from simfl.learn.optimizers import Kept, begin, keeps, name_of, restore, state_of
from simfl.learn.schedules import factor
from simfl.learn.trainers.features import penalty_of
from simfl.learn.trainers.jobs import Job, JobResult, Trainer, TrainingOptions
from simfl.learn.trainers.local_training import Local, Opened, asking, moments
from simfl.learn.trainers.minibatches import met
from simfl.strategy.base import Context
from simfl.strategy.special_rules import MomentumRule


@contextmanager
def single_thread() -> Iterator[None]:
    """Torch computes on one thread inside: small models are faster so, and sums repeat exactly."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Optimised:
    """The optimizer of one task, in place of plain SGD."""

    def __init__(self, model: FlatModule, options: TrainingOptions, opened: Opened) -> None:
        self.optimizer = begin(options.optimizer, model.learnt, opened.work.lr)
        if opened.job.kept:
            restore(self.optimizer, opened.job.kept)
        self._model, self._options = model, options
        self._lr, self._taken = opened.work.lr, 0

    def step(self, grad: Tensor) -> float:
        """One step along a (T,) gradient; returns the learning rate that it had."""
        lr = self.next_rate()
        self._model.grad.copy_(grad)
        with plugin_errors(f"optimizer {name_of(self._options.optimizer)}.step"):
            self.optimizer.step()
        return lr

    def next_rate(self) -> float:
        """The learning rate of the next step, which the optimizer takes over."""
        lr = self._lr * factor(self._options.schedule, "steps", self._taken)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self._taken += 1
        return lr

    def kept(self) -> Kept:
        """Its state, if that stays on the device; else nothing."""
        return state_of(self.optimizer) if keeps(self._options.optimizer) else {}


class OneByOne(Trainer):
    """Trains jobs one after another. The model of `local` is copied and never altered.

    turn: what is done to the inputs of each epoch before they are cut into mini-batches.
    """

    width = 1

    def __init__(self, local: Local, turn: Callable[[Tensor], Tensor] | None = None) -> None:
        options = local.options
        self.local = local
        self._turn = turn
        self._model = FlatModule(local.model, local.torch_device)
        self._loss = options.objective.loss
        self._correction = correction_of(local)
        self._penalty = penalty_of(local, self._model)
        added = local.adds or options.momentum or self._correction or self._penalty
        self._plain = not (added or options.special)

    def train(self, jobs: Sequence[Job]) -> list[JobResult]:
        """The results in the order of the jobs."""
        # Dropout and its like draw from torch's global generator: seeded per job, then restored.
        with torch.random.fork_rng(devices=[]):
            return [self._one(job) for job in jobs]

    def _one(self, job: Job) -> JobResult:
        seed = self.local.streams.integer("dropout", job.device, job.index)
        torch.default_generator.manual_seed(seed)
        opened = self.local.open(job)
        self._model.load(opened.start)
        options = self.local.options
        steps = None if options.special is None else Optimised(self._model, options, opened)
        losses = self._descend(opened, steps)
        trained = self.local.close(opened, self._model.flat.clone(), moments(losses))
        return trained if steps is None else replace(trained, kept=steps.kept())

    def _descend(self, opened: Opened, steps: Optimised | None) -> list[Tensor]:
        """Runs the job's steps on the loaded model; returns the per-example losses met."""
        local, work = self.local, opened.work
        velocity = torch.zeros_like(self._model.grad) if local.options.momentum else None
        losses = []
        with computing(local.model, f"training on device {opened.job.device}") as at:
            for xs, ys in met(local, opened, self._turn):
                at.x = xs
                if self._plain:
                    losses.append(self._plain_step(xs, ys, work.lr))
                    continue
                losses.append(self._slope(xs, ys, opened.context))
                self._move(work.lr, opened.context, steps or velocity)
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
        loss = each.mean()
        if self._penalty is not None:
            loss = loss + self._penalty(x, context)
        loss.backward()
        add_penalty(model, self.local, context)
        return each.detach()

    @torch.no_grad()
    def _move(self, lr: float, context: Context, steps: Optimised | Tensor | None) -> None:
        """One step along `grad`.

        steps: an optimizer, else the velocity of momentum.
        """
        y = self._model.trained
        g = corrected(self._model.grad, y, self.local, context)
        if isinstance(steps, Optimised):
            lr, g = steps.step(g), g.new_zeros(())
        elif steps is not None:
            g = steps.mul_(self.local.options.momentum).add_(g)
        if self._correction is not None:
            g = g + self._correction(y, context)
        y.add_(g, alpha=-lr)


def add_penalty(model: FlatModule, local: Local, context: Context) -> None:
    """Adds the gradient of the local rule's penalty to `grad`."""
    if local.penalises:
        point = model.trained.detach().requires_grad_()
        point.grad = model.grad  # autograd adds to it
        with asking(local.rule, "penalty"):
            local.rule.penalty(point, context).backward()


def corrected(grad: Tensor, y: Tensor, local: Local, context: Context) -> Tensor:
    """(T,) the gradient clipped, with the decay of weights, and as the rule corrects it.

    `grad` is altered on the way.
    """
    options = local.options
    if options.clip_norm is not None:
        norm = torch.linalg.vector_norm(grad)
        grad.mul_((options.clip_norm / (norm + 1e-6)).clamp(max=1.0))
    if options.weight_decay:
        grad.add_(y, alpha=options.weight_decay)
    if local.corrects:
        with asking(local.rule, "correct"):
            return local.rule.correct(grad, y, context)
    return grad


def correction_of(local: Local) -> Callable[[Tensor, Context], Tensor] | None:
    """What the local rule adds behind the momentum; None for most rules."""
    rule = local.rule
    if not isinstance(rule, MomentumRule):
        return None

    def correction(y: Tensor, context: Context) -> Tensor:
        with asking(rule, "momentum_correction"):
            return rule.momentum_correction(y, context)

    return correction
