"""Dense models as machine code: all steps of a job in one call.

Where a step takes a few microseconds, what PyTorch spends between two operations is most of the
time, batched or not. `steps` makes the same steps without anything between them, and no matrix
product waits for another job.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np
import torch
from torch import Tensor

from simfl.learn.objective.base import title
from simfl.learn.objective.losses import is_plain
from simfl.learn.trainers.dense import dense_widths
from simfl.learn.trainers.dense.layout import laid_out
from simfl.learn.trainers.dense.machine_code import compiled_steps
from simfl.learn.trainers.jobs import Job, JobResult, Trainer, passes
from simfl.learn.trainers.local_training import Local, Opened, asking
from simfl.strategy.base import Report, overrides
from simfl.strategy.special_rules import AffineRule

_NOTHING = np.empty(0, np.float32)


def cannot_compile(local: Local) -> str | None:
    """Why the steps cannot run as machine code; None if they can."""
    if dense_widths(local.model) is None or local.data.dataset.sequence:
        return "the model is not a chain of linear layers and ReLU"
    if not is_plain(local.options.objective):
        return f"the loss of {title(local.options.objective)} is not plain cross-entropy"
    if local.hooked and not local.affine:
        return f"{type(local.rule).__name__} takes part in every step"
    if local.penalises and local.options.clip_norm is not None:
        return f"{type(local.rule).__name__} adds to what is clipped"
    if torch.device(local.torch_device).type != "cpu":
        return "machine code runs on the CPU only"
    return None


class CompiledDense(Trainer):
    """Trains jobs of a dense model, one after another. Ask `cannot_compile` first."""

    width = 1

    def __init__(self, local: Local) -> None:
        self.local = local
        widths = dense_widths(local.model)
        assert widths is not None
        dataset, options = local.data.dataset, local.options
        self._steps = compiled_steps()
        self._x = _floats(dataset.x.flatten(1))
        self._y = dataset.y.contiguous().numpy()
        self._batch = min(options.batch_size, int(local.data.partition.sizes.max()))
        self._options = np.array(
            [0.0, options.momentum, options.weight_decay, options.clip_norm or 0.0, 0.0], np.float32
        )
        self._layers, model, inside = laid_out(widths, self._batch)
        # PyTorch's own memory, for it begins where a line of the cache does.
        self._scratch = torch.empty(5 * model + inside).numpy()
        self._unit = np.ones(1, np.float32)
        self._losses = np.empty(2)
        # With nothing to ask the rule, what is sent is written down without the model at the end.
        self._differs = not (overrides(local.rule, "prepare") or overrides(local.rule, "report"))

    def train(self, jobs: Sequence[Job]) -> list[JobResult]:
        """The results in the order of the jobs."""
        return [self._one(job) for job in jobs]

    def _one(self, job: Job) -> JobResult:
        opened = self.local.open(job)
        start = _floats(opened.start)
        out, losses = self._run(opened, start, minus=start if self._differs else _NOTHING)
        if not self._differs:
            return self.local.close(opened, out, losses)
        work = opened.work
        report = Report(job.base.like(out))
        return JobResult(report, work.examples, work.steps, work.epochs, *losses)

    def _run(
        self, opened: Opened, start: np.ndarray, minus: np.ndarray
    ) -> tuple[Tensor, tuple[float, float]]:
        """(P,) model at the end, less `minus`; mean and root mean square of the losses."""
        order, (a, base, b) = self._order(opened), self._added(opened)
        used = self.local.options.used(opened.work.examples)
        end = torch.empty(len(start))
        self._options[0], self._options[4] = opened.work.lr, a
        self._steps(
            self._layers, self._x, self._y, self._batch, self._options, start, minus, order,
            used, base, b, self._scratch, self._unit, end.numpy(), self._losses,
        )  # fmt: skip
        total, squares = self._losses.tolist()
        return end, (total / len(order), sqrt(squares / len(order)))

    def _added(self, opened: Opened) -> tuple[float, np.ndarray, np.ndarray]:
        """a, base and b of what the rule adds to each gradient: a (y - base) + b."""
        rule = self.local.rule
        if not (self.local.hooked and isinstance(rule, AffineRule)):
            return 0.0, _NOTHING, _NOTHING
        base = opened.context["base"]
        with asking(rule, "affine"):
            added = rule.affine(opened.context)
            a = float(added.a)
            b = _NOTHING if added.b is None else _floats(added.b.expand(base.shape))
            return a, _floats(base) if a else _NOTHING, b

    def _order(self, opened: Opened) -> np.ndarray:
        """(seen,) int32, the data set's rows in the order in which the job meets them."""
        job, work, local = opened.job, opened.work, self.local
        n, size = work.examples, work.batch_size
        drop_last = local.options.drop_last
        orders = passes(local.streams, job.device, job.index, n, size, work.steps, drop_last)
        mine = local.data.partition[job.device]
        return mine[np.concatenate(list(orders))].astype(np.int32, copy=False)


def _floats(x: Tensor) -> np.ndarray:
    values: np.ndarray = x.to(torch.float32).contiguous().numpy()
    return values
