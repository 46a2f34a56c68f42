"""One late update: the search for data that explains it, and what that data makes today."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from simfl.lazy import torch
from simfl.messages import Update
from simfl.params import Params
from simfl.strategy.base import LearningInfo
from simfl.strategy.methods.gradientinversion.recover import (
    Draft,
    Effort,
    pace_of,
    random_draft,
    recover,
    retrained,
)

if TYPE_CHECKING:
    from torch import Tensor


def rows_of(info: LearningInfo, update: Update, share: float) -> int:
    """How many examples to recover: a share of the device's, at least 8 and one for each batch."""
    return max(8, round(share * update.examples), -(-update.examples // info.batch_size))


def search(
    info: LearningInfo,
    update: Update,
    rows: int,
    effort: Effort,
    begin: Draft | None,
    rng: np.random.Generator,
) -> Draft:
    """Data that explains the update, from this draft on; from a random one if it does not fit."""
    if begin is None or len(begin) != rows:
        begin = random_draft(info, rows, rng)
    pace = pace_of(info, rows, update.examples, update.steps, update.lr)
    return recover(info, update.base, update.delta.trained, pace, begin, effort)


def estimate(
    info: LearningInfo, update: Update, draft: Draft, params: Params, version: int
) -> Tensor:
    """(T,) the update that the device would have made from the model of this version."""
    lr = info.training.rate(version)
    pace = pace_of(info, len(draft), update.examples, update.steps, lr)
    return retrained(info, params, draft, pace)


def search_flops(info: LearningInfo, rows: int, epochs: float, effort: Effort) -> float:
    """FLOP of a search over so many rows.

    Backwards through a training step costs twice the step itself, so that an iteration costs
    three times the training that it looks into.
    """
    return 3.0 * effort.iterations * rows * epochs * info.flops


def is_sound(made: Tensor, update: Update, growth: float) -> bool:
    """Whether an estimate is finite and at most so many times as long as the update itself."""
    return bool(torch.linalg.vector_norm(made) <= growth * update.delta.norm())


def is_whole(update: Update) -> bool:
    """Whether the update is learnt and has all of the model."""
    layout = getattr(update.delta, "layout", None)
    return layout is not None and layout == update.base.layout


def with_trained(update: Update, trained: Tensor) -> Update:
    """The update with other trained elements; running statistics stay what the device sent."""
    rest = update.delta.flat[update.delta.layout.trainable :]
    return replace(update, delta=update.delta.like(torch.cat([trained, rest])))
