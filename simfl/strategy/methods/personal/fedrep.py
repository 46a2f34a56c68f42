"""FedRep: a shared encoder under private predictors, of which one is trained at a time.

Collins, Hassani, Mokhtari and Shakkottai, "Exploiting shared representations for personalized
federated learning", ICML 2021, arXiv 2102.07078, algorithm 1. With encoder w and predictor h_i:

    h_i <- h_i - lr grad_h f_i(w, h_i)     `head_steps` times, then
    w_i <- w_i - lr grad_w f_i(w_i, h_i)   the task's mini-batches;  w_i travels

What differs: the predictor follows the gradient over all local data, each step charged as a pass,
where the paper takes epochs of mini-batches; head_lr is its own, as a full gradient bears a larger
step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from simfl.strategy.base import Context, Work
from simfl.strategy.methods.spatl.private import PrivateHead, personal_of
from simfl.units import Index, Positive

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FedRep(PrivateHead):
    """Fit the predictor first, then train the encoder under it, which alone travels.

    head_steps: of the predictor in each task; with 0 it stays what it was at first (FedBABU).
    head_lr: of these steps; by default the task's own rate.
    alternate: False trains both together in the mini-batches, which with head_steps = 0 is FedPer.
    """

    reference: ClassVar[str] = "Collins et al., ICML 2021, arXiv 2102.07078"

    head_steps: Index = 10
    head_lr: Positive | None = None
    alternate: bool = True

    def passes(self) -> float:
        return float(self.head_steps)

    def prepare(
        self, base: Tensor, extras: Mapping[str, Any], memory: Mapping[str, Any], work: Work
    ) -> tuple[Tensor, Context]:
        personal = personal_of(work)
        start, where, gradient = self.whole(base, personal), self.places(personal), work.gradient
        t = personal.structure.layout.trainable
        shared = where.shared[: where.trained]
        lr = work.lr if self.head_lr is None else self.head_lr
        assert gradient is not None
        for _ in range(self.head_steps):
            slope = gradient(start)
            slope[shared] = 0.0
            start[:t] -= lr * slope
        if not self.alternate:
            return start, {}
        moves = start.new_zeros(t)
        moves[shared] = 1.0
        return start, {"moves": moves}

    def correct(self, grad: Tensor, y: Tensor, context: Context) -> Tensor:
        return grad * context["moves"] if "moves" in context else grad
