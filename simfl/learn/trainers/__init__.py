"""Trainers: who does the local work of a run, and why.

- `one-by-one`: plain PyTorch, one job after another; the reference.
- `batched`: all jobs at once as one stack of models.
- `compiled`: dense models as machine code, others batched and through torch.compile.
- `auto`: what the rule in `_fastest` says. It never looks at a clock, so a run repeats itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from simfl.errors import ScenarioError
from simfl.learn.models.flops import flops_per_example
from simfl.learn.trainers.batched import Batched
from simfl.learn.trainers.can_batch import trouble
from simfl.learn.trainers.compiled import CompiledDense, cannot_compile
from simfl.learn.trainers.dense import dense_widths
from simfl.learn.trainers.inductor import InductorKernel, cannot_compile_steps
from simfl.learn.trainers.jobs import Trainer
from simfl.learn.trainers.kernels import DenseKernel, FunctionalKernel, Kernel
from simfl.learn.trainers.local_training import Local
from simfl.learn.trainers.one_by_one import OneByOne, single_thread
from simfl.learn.trainers.workers import Workers

Kind = Literal["auto", "one-by-one", "batched", "compiled"]
Device = Literal["cpu", "cuda", "auto"]

_HELD_BYTES = 256 * 2**20  # of results that wait to be used
_CHUNK_BYTES = {"cpu": 3 * 2**20, "cuda": 512 * 2**20}  # of models in one stack
_CHUNK_MAX = {"cpu": 32, "cuda": 256}
_SMALL_FLOPS = 20e6  # of a step, below which a CPU spends most of it between operations


@dataclass(frozen=True, eq=False)
class Choice:
    """A trainer, the kind that it is, and the reason, as `explain` and the summary tell them."""

    trainer: Trainer
    kind: Kind
    why: str


def make(kind: Kind, local: Local, workers: int = 1) -> Choice:
    """The trainer of a run, in this process or on so many others."""
    choice = choose(kind, local)
    if workers == 1:
        return choice
    trainer = Workers(local, choice.kind, workers, most_at_once(local))
    return Choice(trainer, choice.kind, choice.why)


def device_of(name: Device) -> str:
    """The device to compute on; "auto" takes a GPU where there is one. Raises ScenarioError."""
    found = torch.cuda.is_available()
    if name == "cuda" and not found:
        raise ScenarioError(
            'learning.device = "cuda", but PyTorch finds no CUDA GPU here; use "cpu", or "auto" to '
            "take a GPU only where there is one"
        )
    return "cuda" if found and name != "cpu" else "cpu"


@single_thread()
def choose(kind: Kind, local: Local) -> Choice:
    """The trainer asked for; where it cannot work, the next simpler one, and the reason.

    A model is tried as it will be trained, on one thread: several add up in another order.
    """
    if kind == "auto":
        return _fastest(local)
    if kind == "compiled":
        return _compiled(local, "as asked")
    return _batched(local, "as asked") if kind == "batched" else _one_by_one(local, "as asked")


def most_at_once(local: Local) -> int:
    """Jobs whose results may wait in memory."""
    return max(1, min(1000, _HELD_BYTES // (4 * local.initial.layout.size)))


def _fastest(local: Local) -> Choice:
    """Where each kind was measured to be the fastest, by kind of model and device."""
    if local.device != "cpu":
        return _batched(local, "a GPU gains from every model in a stack")
    if dense_widths(local.model) is not None:
        if cannot_compile(local) is None:
            return _compiled(local, "a dense model, plain steps")
        return _batched(local, f"a dense model; no machine code: {cannot_compile(local)}")
    if any(isinstance(part, _HEAVY) for part in local.model.modules()):
        return _one_by_one(local, "convolutions and recurrence gain nothing from company on a CPU")
    step = local.options.batch_size * flops_per_example(local.model, local.data.dataset.x[:1])
    if step <= _SMALL_FLOPS:
        return _batched(local, "a small model: steps cost less in company")
    return _one_by_one(local, "a large model keeps the CPU busy alone")


_HEAVY = (nn.modules.conv._ConvNd, nn.RNNBase)


def _compiled(local: Local, why: str) -> Choice:
    if cannot_compile(local) is None:
        return Choice(CompiledDense(local), "compiled", why)
    missing = cannot_compile_steps(local.device)
    if missing is not None:
        return _batched(local, f"not compiled: {missing}")
    # torch.compile does not take the dense kernel, which writes into views.
    kernel = InductorKernel(FunctionalKernel(local.model, local.device))
    choice = _stacked(local, kernel, "compiled", why)
    return choice if choice.kind == "compiled" else _batched(local, choice.why)


def _batched(local: Local, why: str) -> Choice:
    return _stacked(local, _kernel(local), "batched", why)


def _one_by_one(local: Local, why: str) -> Choice:
    parts = (local.model, local.data, local.options, local.rule, local.streams, local.device)
    return Choice(OneByOne(*parts), "one-by-one", why)


def _kernel(local: Local) -> Kernel:
    widths = dense_widths(local.model)
    if widths is not None:
        return DenseKernel(local.model, widths)
    return FunctionalKernel(local.model, local.device)


def _stacked(local: Local, kernel: Kernel, kind: Kind, why: str) -> Choice:
    """Stacks of models, if a trial step allows it.

    A stack shrinks as jobs end, unless its height would change the arithmetic.
    """
    device, nbytes = local.device, 4 * local.initial.layout.size
    chunk = max(1, min(_CHUNK_MAX[device], _CHUNK_BYTES[device] // nbytes))
    heights: list[Callable[[int], int]] = [lambda k: chunk]
    if kind == "batched" and device == "cpu":
        heights.insert(0, int)
    for seats in heights:
        found = trouble(local, kernel, seats)
        if found is None:
            width = max(chunk, most_at_once(local))
            return Choice(Batched(local, kernel, width, chunk, seats), kind, why)
    return _one_by_one(local, f"not {kind}: {found}")
