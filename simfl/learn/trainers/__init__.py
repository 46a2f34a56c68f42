"""Trainers: who does the local work of a run, and why.

- `one-by-one`: plain PyTorch, one job after another; the reference.
- `channels-last`: the same, with images in the order that convolutions prefer.
- `batched`: all jobs at once as one stack of models.
- `compiled`: dense models as machine code.
- `auto`: what the rule in `_fastest` says. It never looks at a clock, so a run repeats itself.

Trainers add up in another order, so the trainer is part of what a run is: `auto` is settled
before a run begins and written down, and a trainer asked for by name is used or refused.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from simfl.errors import ScenarioError
from simfl.learn.models.flops import flops_per_example
from simfl.learn.objective.losses import is_plain
from simfl.learn.trainers.batched import Batched
from simfl.learn.trainers.can_batch import why_not_batched
from simfl.learn.trainers.channels_last import channels_last, why_not_channels_last
from simfl.learn.trainers.dense import dense_widths
from simfl.learn.trainers.dense.trainer import CompiledDense, cannot_compile
from simfl.learn.trainers.jobs import Trainer
from simfl.learn.trainers.kernels import DenseKernel, FunctionalKernel, Kernel
from simfl.learn.trainers.local_training import Local
from simfl.learn.trainers.one_by_one import OneByOne, single_thread
from simfl.learn.trainers.workers import Workers
from simfl.strategy.special_rules import FeatureRule
from simfl.units import Cluster

Kind = Literal["auto", "one-by-one", "channels-last", "batched", "compiled"]
TorchDevice = Literal["cpu", "cuda", "mps", "auto"]

_HELD_BYTES = 256 * 2**20  # of results that wait to be used
_CHUNK_BYTES = {"cpu": 3 * 2**20, "cuda": 512 * 2**20, "mps": 128 * 2**20}  # of models in a stack
_CHUNK_MAX = {"cpu": 32, "cuda": 256, "mps": 64}
_SMALL_FLOPS = 20e6  # of a step, below which a CPU spends most of it between operations


@dataclass(frozen=True, eq=False)
class Choice:
    """A trainer, the kind that it is, and the reason, as `explain` and the summary tell them."""

    trainer: Trainer
    kind: Kind
    why: str


def make(kind: Kind, local: Local, workers: int = 1, on: Cluster | None = None) -> Choice:
    """The trainer of a run, in this process or on so many others.

    on: the cluster where they are; by default this machine.
    """
    choice = choose(kind, local)
    if on is not None:
        from simfl.learn.trainers.on_ray import OnRay

        away = OnRay(local, choice.kind, workers, most_at_once(local), on.address)
        return Choice(away, choice.kind, choice.why)
    if workers == 1:
        return choice
    trainer = Workers(local, choice.kind, workers, most_at_once(local))
    return Choice(trainer, choice.kind, choice.why)


def torch_device_of(name: TorchDevice) -> str:
    """The device to compute on; "auto" takes a GPU where there is one. Raises ScenarioError."""
    found = [gpu for gpu, is_here in _GPUS.items() if is_here()]
    if name == "auto":
        return next(iter(found), "cpu")
    if name != "cpu" and name not in found:
        raise ScenarioError(
            f'learning.device = "{name}", but PyTorch finds no such GPU here; use "cpu", or "auto" '
            "to take a GPU only where there is one"
        )
    return name


_GPUS: dict[str, Callable[[], bool]] = {
    "cuda": lambda: torch.cuda.is_available(),
    "mps": lambda: torch.backends.mps.is_available(),
}


@single_thread()
def choose(kind: Kind, local: Local) -> Choice:
    """The trainer asked for, or with "auto" the one of the rule. Raises ScenarioError.

    A model is tried as it will be trained, on one thread: several add up in another order.
    """
    if kind == "auto":
        return _fastest(local)
    made = _made(kind, local)
    if isinstance(made, str):
        raise ScenarioError(
            f'learning.trainer = "{kind}" cannot train this run: {made}; use "auto", or '
            '"one-by-one", which trains every model'
        )
    return Choice(made, kind, "as asked")


def most_at_once(local: Local) -> int:
    """Jobs whose results may wait in memory."""
    return max(1, min(1000, _HELD_BYTES // (4 * local.initial.layout.size)))


def _fastest(local: Local) -> Choice:
    """Where each kind was measured to be the fastest, by kind of model and device."""
    kind, why = _rule(local)
    made = _made(kind, local)
    if isinstance(made, str):
        kind, why = "one-by-one", f"not {kind}: {made}"
    elif kind != "one-by-one":
        return Choice(made, kind, why)
    turned = _made("channels-last", local) if local.torch_device == "cpu" else ""
    if isinstance(turned, str):
        return Choice(alone(local), kind, why)
    return Choice(turned, "channels-last", f"{why}; convolutions on a CPU prefer that order")


def _rule(local: Local) -> tuple[Kind, str]:
    reason = _alone(local)
    if reason is not None:
        return "one-by-one", reason
    if local.torch_device != "cpu":
        return "batched", "a GPU gains from every model in a stack"
    if dense_widths(local.model) is not None:
        reason = cannot_compile(local)
        if reason is None:
            return "compiled", "a dense model, plain steps"
        return "batched", f"a dense model; no machine code: {reason}"
    if any(isinstance(part, _HEAVY) for part in local.model.modules()):
        return "one-by-one", "convolutions and recurrence gain nothing from company on a CPU"
    step = local.options.batch_size * flops_per_example(local.model, local.data.dataset.x[:1])
    if step <= _SMALL_FLOPS:
        return "batched", "a small model: steps cost less in company"
    return "one-by-one", "a large model keeps the CPU busy alone"


def alone(local: Local) -> Trainer:
    """The trainer of one job after another: simfl's own loop, or the training function's."""
    from simfl.learn.loops.own_loop import OwnLoop  # it knows the modules of this folder

    return OneByOne(local) if local.options.train is None else OwnLoop(local)


_HEAVY = (nn.modules.conv._ConvNd, nn.RNNBase)


def _made(kind: Kind, local: Local) -> Trainer | str:
    """The trainer of this kind, or why it cannot train this run."""
    if kind == "one-by-one":
        return alone(local)
    if kind == "channels-last":
        return why_not_channels_last(local) or OneByOne(local, turn=channels_last)
    reason = _alone(local)
    if reason is not None:
        return reason
    if kind == "compiled":
        return cannot_compile(local) or CompiledDense(local)
    return _batched(local)


def _alone(local: Local) -> str | None:
    """Why no trainer may look at the data ahead, or make the steps by itself; None if all may."""
    if local.data.changes:
        return "its data change from version to version"
    if isinstance(local.rule, FeatureRule):
        return "its local rule looks at features of each mini-batch"
    return local.options.own_loop or local.data.dataset.batchwise or local.options.special


def _batched(local: Local) -> Trainer | str:
    """Stacks of models, if a trial step allows it.

    A stack shrinks as jobs end, unless its height would change the arithmetic.
    """
    torch_device, nbytes, kernel = local.torch_device, 4 * local.initial.layout.size, _kernel(local)
    chunk = max(1, min(_CHUNK_MAX[torch_device], _CHUNK_BYTES[torch_device] // nbytes))
    heights: list[Callable[[int], int]] = [lambda k: chunk]
    if torch_device == "cpu":
        heights.insert(0, int)
    reason = None
    for slots in heights:
        reason = why_not_batched(local, kernel, slots)
        if reason is None:
            return Batched(local, kernel, max(chunk, most_at_once(local)), chunk, slots)
    return str(reason)


def _kernel(local: Local) -> Kernel:
    widths, objective = dense_widths(local.model), local.options.objective
    if widths is not None and is_plain(objective):
        return DenseKernel(local.model, widths)
    return FunctionalKernel(local.model, local.torch_device, objective)
