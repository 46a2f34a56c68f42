"""Many jobs at once: K models stacked to a (K, P) matrix, one step of all in each operation.

Jobs with more steps come first, so that those still at work are always a prefix of the stack.
Chunks are sized to the cache. On one thread a job's result does not depend, to the last bit, on
which jobs it shares a chunk with: products are taken model by model at addresses that are alike,
everything else element by element or along a row. `trial` refuses models of which this is not so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from simfl.learn.failures import computing
from simfl.learn.trainers.jobs import Job, JobResult, Trainer
from simfl.learn.trainers.kernels import Kernel, aligned
from simfl.learn.trainers.local_training import Local, Opened, asking, moments
from simfl.learn.trainers.minibatches import Plan, chunks, plan
from simfl.strategy.base import Context
from simfl.strategy.special_rules import MomentumRule


@dataclass(eq=False)
class Stack:
    """K models under way. Rows are padded to whole cache lines."""

    values: Tensor  #: (K, P)
    slope: Tensor  #: (K, T)
    velocity: Tensor  #: (K, T); without momentum the slope itself
    context: Context  #: (K, T) or (K, 1) each
    rate: Tensor  #: (K, 1), the learning rates

    def first(self, k: int) -> Stack:
        """Views of the first k models."""
        context = {name: tensor[:k] for name, tensor in self.context.items()}
        parts = (self.values[:k], self.slope[:k], self.velocity[:k])
        return Stack(*parts, context, self.rate[:k])


class Batched(Trainer):
    """Trains jobs together, in chunks.

    width: jobs it likes to be given at once.
    chunk: jobs in one stack.
    slots: for so many jobs at work, the models that the kernel is called with; those without a job
        have weight zero.
    """

    def __init__(
        self,
        local: Local,
        kernel: Kernel,
        width: int,
        chunk: int,
        slots: Callable[[int], int] = lambda k: k,
    ) -> None:
        self.local = local
        self.width = width
        self._kernel = kernel
        self._chunk = chunk
        self._slots = slots
        dataset = local.data.dataset
        self._x = dataset.x.to(local.torch_device)
        self._y = dataset.y.to(local.torch_device)

    def train(self, jobs: Sequence[Job]) -> list[JobResult]:
        """The results in the order of the jobs."""
        opened = [self.local.open(job) for job in jobs]
        trained: dict[int, JobResult] = {}
        for together in chunks(opened, self._chunk, self._kernel.grain):
            trained |= zip(together, self._together([opened[at] for at in together]), strict=True)
        return [trained[at] for at in range(len(jobs))]

    @torch.no_grad()
    def _together(self, opened: list[Opened]) -> list[JobResult]:
        slots = self._slots(len(opened))
        batches = plan(self.local, opened, slots, self._kernel.grain)
        stack = self._stacked(opened, slots)
        losses = self._descend(stack, batches).cpu()
        real = batches.shares.cpu() > 0
        results = []
        for at, one in enumerate(opened):
            end = stack.values[at, : len(one.start)].clone()
            met = losses[: one.work.steps, at][real[: one.work.steps, at]]
            results.append(self.local.close(one, end, moments([met])))
        return results

    def _stacked(self, opened: list[Opened], slots: int) -> Stack:
        start = opened[0].start
        trainable = self.local.initial.layout.trainable
        values = aligned(start, slots, len(start))
        for row, one in zip(values, opened, strict=False):
            row.copy_(one.start)
        slope = aligned(start, slots, trainable)
        velocity = aligned(start, slots, trainable) if self.local.options.momentum else slope
        context = self._contexts(opened)
        rate = start.new_tensor([[one.work.lr] for one in opened])
        return Stack(values, slope, velocity, context, rate)

    def _contexts(self, opened: list[Opened]) -> Context:
        """What the hooks inside a step see; nothing where there are none."""
        if not self.local.hooked:
            return {}
        with asking(self.local.rule, "prepare"):
            names = opened[0].context
            return {n: torch.stack([one.context[n].reshape(-1) for one in opened]) for n in names}

    def _descend(self, stack: Stack, batches: Plan) -> Tensor:
        """Takes all steps; returns the (S, K, B) losses met."""
        losses = stack.values.new_zeros(batches.rows.shape)
        k = 0
        for step, active in enumerate(batches.active):
            if active != k:
                k, slots = active, self._slots(active)
                now = stack.first(k)
                slope_of = self._kernel.bind(stack.values[:slots], stack.slope[:slots])
            rows = batches.rows[step, :slots]
            x, y = (_take(part, rows) for part in (self._x, self._y))
            with computing(self.local.model, f"training on {slots} devices at once") as at:
                at.x = x
                losses[step, :slots] = slope_of(x, y, batches.shares[step, :slots])
            self._move(now)
        return losses

    def _move(self, now: Stack) -> None:
        """One step along the slope, hooks in the order of the reference trainer."""
        local, options, rule, g = self.local, self.local.options, self.local.rule, now.slope
        y = now.values[:, : g.shape[1]]
        if local.penalises:
            g += self._pull(y, now.context)
        if options.clip_norm is not None:
            norm = torch.linalg.vector_norm(g, dim=1, keepdim=True)
            g *= (options.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        if options.weight_decay:
            g.add_(y, alpha=options.weight_decay)
        if local.corrects:
            with asking(rule, "correct"):
                g = rule.correct(g, y, now.context)
        if options.momentum:
            g = now.velocity.mul_(options.momentum).add_(g)
        if isinstance(rule, MomentumRule):
            with asking(rule, "momentum_correction"):
                g = g + rule.momentum_correction(y, now.context)
        y.addcmul_(g, now.rate, value=-1.0)

    def _pull(self, y: Tensor, context: Context) -> Tensor:
        """(K, T) gradient of the rule's penalty."""
        with torch.enable_grad(), asking(self.local.rule, "penalty"):
            point = y.detach().requires_grad_()
            return torch.autograd.grad(self.local.rule.penalty(point, context).sum(), point)[0]


def _take(part: Tensor, rows: Tensor) -> Tensor:
    """(K, B, ...) examples at (K, B) rows."""
    return part.index_select(0, rows.reshape(-1)).view(*rows.shape, *part.shape[1:])
