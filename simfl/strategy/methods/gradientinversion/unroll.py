"""Local training as a differentiable function of the data that it sees.

The same SGD that devices run (batches, momentum, weight decay, clipping), except that labels are
probabilities and that the graph may be kept through all steps, so that autograd can tell how the
final model would change with every input and every label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simfl.lazy import functional as F
from simfl.lazy import torch
from simfl.params import Layout
from simfl.strategy.base import LearningInfo

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Pace:
    """One local training run. batches: the rows of each step, in order."""

    lr: float
    batches: Sequence[Tensor]


def even_pace(rows: int, lr: float, steps: int, per_epoch: int) -> Pace:
    """Steps over so many rows, which each epoch cuts into the same, nearly equal batches.

    Rows of recovered data can take any place, so that nothing is gained by shuffling them.
    """
    cut = torch.tensor_split(torch.arange(rows), min(rows, per_epoch))
    return Pace(lr, [cut[step % len(cut)] for step in range(steps)])


def local_training(
    info: LearningInfo, layout: Layout, start: Tensor, data: tuple[Tensor, Tensor], pace: Pace
) -> Tensor:
    """The (T,) trained elements after training from the (P,) point `start`.

    data: inputs (m, ...), and (m, classes) probabilities of labels. The result has a graph back
    to the data where these require gradients.
    """
    x, targets = data
    keep = x.requires_grad or targets.requires_grad
    y = start[: layout.trainable].detach().requires_grad_()
    rest, velocity, options = start[layout.trainable :].detach(), None, info.training
    for rows in pace.batches:
        loss = soft_loss(info, layout, torch.cat([y, rest]), x[rows], targets[rows])
        (grad,) = torch.autograd.grad(loss, y, create_graph=keep)
        grad = _bounded(grad, options.clip_norm)
        if options.weight_decay:
            grad = grad + options.weight_decay * y
        velocity = grad if velocity is None else options.momentum * velocity + grad
        y = y - pace.lr * velocity
        if not keep:
            y, velocity = y.detach().requires_grad_(), velocity.detach()
    return y if keep else y.detach()


def soft_loss(
    info: LearningInfo, layout: Layout, flat: Tensor, x: Tensor, targets: Tensor
) -> Tensor:
    """Mean cross-entropy of a (P,) point with labels that are probabilities."""
    sizes = [where.stop - where.start for where in layout.slices.values()]
    parts = zip(layout.shapes, flat.split(sizes), strict=True)
    named = {name: part.view(shape) for (name, shape), part in parts}
    logits = torch.func.functional_call(info.model, named, x)
    return -(targets * F.log_softmax(logits, -1)).sum(-1).mean()


def _bounded(grad: Tensor, clip_norm: float | None) -> Tensor:
    if clip_norm is None:
        return grad
    return grad * (clip_norm / (torch.linalg.vector_norm(grad) + 1e-6)).clamp(max=1.0)
