"""Dense models as machine code: all steps of a job in one call of a C function.

Where a step takes a few microseconds, what PyTorch spends between two operations is most of the
time, batched or not. `dense.c` has the same steps without anything between them, and no matrix
product waits for another job.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import lru_cache
from math import sqrt
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from simfl.learn.trainers.dense import dense_widths
from simfl.learn.trainers.jobs import Job, Trained, Trainer, passes
from simfl.learn.trainers.local_training import Local, Opened, asking, overrides
from simfl.learn.trainers.native import CannotBuild, shared_library
from simfl.strategy.base import Report
from simfl.strategy.special_rules import AffineRule

_MAX_LAYERS = 16  # as in dense.c


class _Problem(ctypes.Structure):
    _fields_ = (
        ("layers", ctypes.c_int64),
        ("widths", ctypes.c_void_p),
        ("x", ctypes.c_void_p),
        ("y", ctypes.c_void_p),
        ("batch", ctypes.c_int64),
        ("momentum", ctypes.c_float),
        ("decay", ctypes.c_float),
        ("clip", ctypes.c_float),
    )


class _Job(ctypes.Structure):
    _fields_ = (
        ("start", ctypes.c_void_p),
        ("minus", ctypes.c_void_p),
        ("order", ctypes.c_void_p),
        ("seen", ctypes.c_int64),
        ("n", ctypes.c_int64),
        ("lr", ctypes.c_float),
        ("a", ctypes.c_float),
        ("base", ctypes.c_void_p),
        ("b", ctypes.c_void_p),
        ("end", ctypes.c_void_p),
    )


def cannot_compile(local: Local) -> str | None:
    """Why the steps cannot run as machine code; None if they can."""
    widths = dense_widths(local.model)
    if widths is None or len(widths) > _MAX_LAYERS + 1 or local.data.dataset.sequence:
        return "the model is not a chain of linear layers and ReLU"
    if local.hooked and not local.affine:
        return f"{type(local.rule).__name__} takes part in every step"
    if local.penalises and local.options.clip_norm is not None:
        return f"{type(local.rule).__name__} adds to what is clipped"
    if torch.device(local.device).type != "cpu":
        return "machine code runs on the CPU only"
    try:
        _library()
    except CannotBuild as reason:
        return str(reason)
    return None


class CompiledDense(Trainer):
    """Trains jobs of a dense model in C, one after another. Ask `cannot_compile` first."""

    width = 1

    def __init__(self, local: Local) -> None:
        self.local = local
        widths = dense_widths(local.model)
        assert widths is not None
        dataset, options = local.data.dataset, local.options
        self._widths = np.array(widths, np.int64)
        self._x = _floats(dataset.x.flatten(1))
        self._y = dataset.y.contiguous()
        self._problem = _Problem(
            len(widths) - 1,
            self._widths.ctypes.data,
            self._x.data_ptr(),
            self._y.data_ptr(),
            min(options.batch_size, int(local.data.partition.sizes.max())),
            options.momentum,
            options.weight_decay,
            options.clip_norm or 0.0,
        )
        self._call = _library().train
        self._scratch = torch.empty(_library().scratch_size(ctypes.byref(self._problem)))
        self._losses = np.empty(2)
        # With nothing to ask the rule, what is sent is written down without the model at the end.
        self._differs = not (overrides(local.rule, "prepare") or overrides(local.rule, "report"))

    def train(self, jobs: Sequence[Job]) -> list[Trained]:
        """The results in the order of the jobs."""
        return [self._one(job) for job in jobs]

    def _one(self, job: Job) -> Trained:
        opened = self.local.open(job)
        start = _floats(opened.start)
        out, losses = self._run(opened, start, minus=start if self._differs else None)
        if not self._differs:
            return self.local.close(opened, out, losses)
        work = opened.work
        report = Report(job.base.like(out))
        return Trained(report, work.examples, work.steps, work.epochs, *losses)

    def _run(
        self, opened: Opened, start: Tensor, minus: Tensor | None
    ) -> tuple[Tensor, tuple[float, float]]:
        """(P,) model at the end, less `minus`; mean and root mean square of the losses."""
        order, (a, base, b) = self._order(opened), self._added(opened)
        end = torch.empty_like(start)
        job = _Job(
            start=start.data_ptr(),
            minus=_pointer(minus),
            order=order.ctypes.data,
            seen=len(order),
            n=opened.work.examples,
            lr=opened.work.lr,
            a=a,
            base=_pointer(base),
            b=_pointer(b),
            end=end.data_ptr(),
        )
        scratch, losses = self._scratch.data_ptr(), self._losses.ctypes.data
        self._call(ctypes.byref(self._problem), ctypes.byref(job), scratch, losses)
        total, squares = self._losses.tolist()
        return end, (total / len(order), sqrt(squares / len(order)))

    def _added(self, opened: Opened) -> tuple[float, Tensor, Tensor | None]:
        """a, base and b of what the rule adds to each gradient: a (y - base) + b."""
        base = opened.context["base"]
        rule = self.local.rule
        if not (self.local.hooked and isinstance(rule, AffineRule)):
            return 0.0, base, None
        with asking(rule, "affine"):
            added = rule.affine(opened.context)
            b = None if added.b is None else _floats(added.b.expand(base.shape))
            return float(added.a), _floats(base), b

    def _order(self, opened: Opened) -> np.ndarray:
        """(seen,) int32, the data set's rows in the order in which the job meets them."""
        job, work, local = opened.job, opened.work, self.local
        n, size = work.examples, work.batch_size
        orders = passes(local.streams, job.device, job.index, n, size, work.steps)
        mine = local.data.partition[job.device]
        return mine[np.concatenate(list(orders))].astype(np.int32, copy=False)


def _floats(x: Tensor) -> Tensor:
    return x.to(torch.float32).contiguous()


def _pointer(x: Tensor | None) -> int | None:
    return None if x is None else x.data_ptr()


@lru_cache
def _library() -> ctypes.CDLL:
    library = shared_library(Path(__file__).with_name("dense.c"))
    pointer = ctypes.POINTER
    library.train.argtypes = (pointer(_Problem), pointer(_Job), ctypes.c_void_p, ctypes.c_void_p)
    library.train.restype = None
    library.scratch_size.argtypes = (pointer(_Problem),)
    library.scratch_size.restype = ctypes.c_int64
    return library
