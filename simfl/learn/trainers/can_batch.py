"""Whether a model can be trained in a stack: one step tells."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

import torch
from torch import Tensor

from simfl.learn.models.flat import FlatModule
from simfl.learn.trainers.kernels import Kernel, aligned
from simfl.learn.trainers.local_training import Local
from simfl.learn.trainers.minibatches import breadth

_MODELS = 6  # in the stack: more than there are addresses modulo 16 bytes
_FEW = 3  # examples of a batch that is shorter than others


def why_not_batched(local: Local, kernel: Kernel, slots: Callable[[int], int]) -> str | None:
    """Why this kernel must not train this model; None if a trial step comes out right.

    Models are found out that keep state, draw random numbers or mix the examples of a batch, and
    those whose gradients depend, in their last bits, on their place in the stack or its height.
    """
    if next(local.model.buffers(), None) is not None:
        return "the model keeps state from step to step"
    if not kernel.even:
        return "its matrices have odd sizes, and last bits would depend on places in the stack"
    x, y = _batch(local, kernel.grain)
    try:
        together = _slopes(local, kernel, slots(_MODELS), x, y, len(x))
        alone = _slopes(local, kernel, slots(1), x, y, len(x))
        short = _slopes(local, kernel, slots(1), x, y, _FEW)
    except Exception as error:  # whatever a model does that cannot be batched
        reason = str(error).partition("\n")[0]
        return f"a trial step failed ({type(error).__name__}: {reason})"
    if not (_near(alone[0], local, x, y) and _near(short[0], local, x[:_FEW], y[:_FEW])):
        return "a batched trial step gave other gradients"
    if not all(torch.equal(slope, alone[0]) for slope in together):
        return "last bits would depend on places in the stack"
    return None


def _batch(local: Local, grain: int) -> tuple[Tensor, Tensor]:
    """Examples for a batch of the most common size."""
    dataset, largest = local.data.dataset, int(local.data.partition.sizes.max())
    rows = torch.arange(breadth(largest, local.options.batch_size, grain)) % len(dataset)
    return dataset.x[rows].to(local.torch_device), dataset.y[rows].to(local.torch_device)


@torch.no_grad()
def _slopes(local: Local, kernel: Kernel, k: int, x: Tensor, y: Tensor, n: int) -> Tensor:
    """(k, T) gradients of k equal models on the first n examples, the others without weight."""
    start = local.initial.flat.to(local.torch_device)
    values, slopes = (aligned(start, k, m) for m in (len(start), local.initial.layout.trainable))
    values.copy_(start)
    shares = start.new_zeros(k, len(x))
    shares[:, :n] = 1.0 / len(x[:n])
    kernel.bind(values, slopes)(torch.stack([x] * k), torch.stack([y] * k), shares)
    return slopes


def _near(slope: Tensor, local: Local, x: Tensor, y: Tensor) -> bool:
    """Whether this is the gradient of the mean loss, but for rounding."""
    reference = FlatModule(local.model, local.torch_device)
    local.options.objective.loss(reference.module(x), y).mean().backward()
    scale = float(reference.grad.abs().max())
    return isfinite(scale) and torch.allclose(slope, reference.grad, rtol=1e-3, atol=1e-4 * scale)
