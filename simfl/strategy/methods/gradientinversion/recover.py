"""Data that explains an update: inputs and soft labels from which training would have made it.

Wang and Gao, "Tackling intertwined data and device heterogeneities in federated learning with
unlimited staleness", AAAI 2025, arXiv 2309.13536. With u the update that came from the model w,
LU(w; D) local training from w on data D, and a mask of the largest entries of u:

    D_rec = argmin_D || mask ⊙ (LU(w; D) - w - u) ||₁ / || mask ⊙ u ||₁

The division is not in the paper; it makes losses comparable between rounds and scales the
gradients for Adam. Inputs are kept as z in [-2, 2], which stands for the range of the real ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf, isfinite
from typing import TYPE_CHECKING

import numpy as np

from simfl.lazy import torch
from simfl.params import Params
from simfl.strategy.base import LearningInfo
from simfl.strategy.methods.gradientinversion.unroll import Pace, even_pace, local_training

if TYPE_CHECKING:
    from torch import Tensor

BOX = 2.0  #: |z| of the least and the largest input
DECAYS = (3 / 8, 5 / 8, 7 / 8)  #: shares of the iterations after which the rate falls tenfold


@dataclass(frozen=True, slots=True, eq=False)
class Draft:
    """Recovered data.

    loss: relative distance to the update that it explains.
    """

    z: Tensor  #: (m, ...) inputs, within the box
    logits: Tensor  #: (m, classes) of soft labels
    loss: float = inf

    def __len__(self) -> int:
        """How many examples it has."""
        return len(self.z)

    @property
    def nbytes(self) -> int:
        return self.z.nbytes + self.logits.nbytes


@dataclass(frozen=True)
class Effort:
    """How hard to look.

    keep: share of the update's entries that are matched, the largest.
    """

    iterations: int
    lr: float = 0.1
    keep: float = 1.0


def random_draft(info: LearningInfo, rows: int, rng: np.random.Generator) -> Draft:
    """Standard normal inputs and label logits."""
    draw = lambda *shape: torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))  # noqa: E731
    z = draw(rows, *info.shape).clamp_(-BOX, BOX)
    return Draft(z, draw(rows, info.classes))


def pace_of(info: LearningInfo, rows: int, examples: int, steps: int, lr: float) -> Pace:
    """As many steps as the device made on its examples, over so many recovered rows."""
    used = info.training.used(examples)
    return even_pace(rows, lr, steps, -(-used // info.batch_size))


def data_of(info: LearningInfo, draft: Draft) -> tuple[Tensor, Tensor]:
    """The inputs of a draft in their real range, and the probabilities of its labels."""
    low, high = info.bounds or (-BOX, BOX)
    x = (low + high) / 2 + draft.z * ((high - low) / (2 * BOX))
    return x, draft.logits.softmax(-1)


def recover(
    info: LearningInfo, base: Params, sent: Tensor, pace: Pace, draft: Draft, effort: Effort
) -> Draft:
    """The best draft met on the way from the given one, with its relative loss.

    base: the model that training began with.
    sent: (T,) update. Empty updates, and searches that leave the finite numbers, end with the loss
        `inf`.
    """
    rows = largest(sent, effort.keep)
    goal = sent[rows]
    scale = float(goal.abs().sum())
    best = replace(draft, loss=inf)
    if not (isfinite(scale) and scale >= 1e-12):
        return best
    z, logits = (part.clone().requires_grad_() for part in (draft.z, draft.logits))
    adam = torch.optim.Adam([z, logits], lr=effort.lr)
    drops = [round(share * effort.iterations) for share in DECAYS]
    for i in range(effort.iterations + 1):
        data = data_of(info, Draft(z, logits))
        made = local_training(info, base.layout, base.flat, data, pace) - base.trained
        loss = (made[rows] - goal).abs().sum() / scale
        value = float(loss.detach())
        if not isfinite(value):
            break
        if value < best.loss:
            best = Draft(z.detach().clone(), logits.detach().clone(), value)
        if i < effort.iterations:
            adam.param_groups[0]["lr"] = effort.lr * 0.1 ** sum(i >= drop for drop in drops)
            _descend(adam, loss, z, logits)
    return best


def retrained(info: LearningInfo, params: Params, draft: Draft, pace: Pace) -> Tensor:
    """The (T,) update that the recovered data gives from another model: LU(w'; D_rec) - w'."""
    data = data_of(info, draft)
    return local_training(info, params.layout, params.flat, data, pace) - params.trained


def largest(sent: Tensor, keep: float) -> Tensor:
    """Indices of exactly this share of the entries, the largest by magnitude, at least one."""
    count = max(1, round(keep * len(sent)))
    if count >= len(sent):
        return torch.arange(len(sent))
    return sent.abs().argsort(descending=True, stable=True)[:count]


def _descend(adam: torch.optim.Adam, loss: Tensor, z: Tensor, logits: Tensor) -> None:
    """One step, within the box."""
    z.grad, logits.grad = torch.autograd.grad(loss, [z, logits])
    adam.step()
    with torch.no_grad():
        z.clamp_(-BOX, BOX)
