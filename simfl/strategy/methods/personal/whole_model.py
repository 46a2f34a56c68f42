"""Rules under which every device judges a whole model of its own.

    alone       w_i <- SGD(w_i) from the initial model on; nothing is sent either way
    finetuned   w as the strategy makes it; a device is judged by w_i = SGD(w), a few epochs
    ditto       w as above; v_i <- v_i - lr (grad f_i(v_i) + mu (v_i - w)), and v_i is judged

Ditto: Li, Hu, Beirami and Smith, "Ditto: fair and robust federated learning through
personalization", ICML 2021, arXiv 2012.04221, algorithm 1. Fine-tuning: Yu, Bagdasaryan and
Shmatikov, "Salvaging federated learning by local adaptation", arXiv 2002.04758.

What differs: Ditto's devices take `personal_steps` steps along the gradient over all local data,
each charged as a pass, where the paper takes epochs of mini-batches; v_i is pulled to the model as
it came, and begins there in the device's first task.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from simfl.strategy.base import Context, LocalRule, Report, Work
from simfl.strategy.methods.spatl.private import personal_of
from simfl.strategy.special_rules import PersonalContext, PersonalRule, Split
from simfl.structure import ModelStructure
from simfl.units import Index, NonNegative, Positive

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Alone(PersonalRule):
    """Local training alone: each device trains its own model, and no model travels.

    Tasks, their times and 64 bytes of framing stay, so that it stands beside other rules.
    """

    reference: ClassVar[str] = "the lower bound of every personal method"

    def split(self, structure: ModelStructure) -> Split:
        return Split(())

    def whole(self, shared: Tensor, personal: PersonalContext) -> Tensor:
        kept: Tensor = personal.memory.get("model", personal.initial)
        return kept.to(personal.initial.device)

    def prepare(
        self, base: Tensor, extras: Mapping[str, Any], memory: Mapping[str, Any], work: Work
    ) -> tuple[Tensor, Context]:
        return self.whole(base, personal_of(work)), {}

    def sends(self, params: Any) -> Mapping[str, Any] | None:
        return {}

    def report(self, end: Tensor, base: Tensor, context: Context, work: Work) -> Report:
        return Report(base * 0.0, memory={"model": end.cpu()})


class _WholeShared(PersonalRule):
    """The whole model travels and is trained as under the plain rule."""

    def split(self, structure: ModelStructure) -> Split:
        return Split(structure.layout.names)

    def whole(self, shared: Tensor, personal: PersonalContext) -> Tensor:
        kept: Tensor = personal.memory.get("model", shared)
        return kept.to(shared.device)

    def sends(self, params: Any) -> Mapping[str, Any] | None:
        return {}


@dataclass(frozen=True)
class FineTuned(_WholeShared):
    """One model for all, which each device trains on before it is judged.

    finetune_epochs: of that training; with 0 the rule is the plain one. It is neither charged nor
        kept.
    """

    reference: ClassVar[str] = "Yu et al., arXiv 2002.04758"

    finetune_epochs: NonNegative = 1.0

    def transfer(self) -> tuple[LocalRule, float] | None:
        return (_Kept(), self.finetune_epochs) if self.finetune_epochs else None


@dataclass(frozen=True)
class _Kept(_WholeShared):
    """What was trained is what the device keeps."""

    def report(self, end: Tensor, base: Tensor, context: Context, work: Work) -> Report:
        return Report(end - base, memory={"model": end})


@dataclass(frozen=True)
class Ditto(_WholeShared):
    """Beside the model that all share each device has one of its own, which is pulled to it.

    mu: how strongly; 0 trains alone, by full gradients. The paper's lambda.
    personal_steps: of the own model in each task; with 0 the rule is the plain one.
    personal_lr: of these steps; by default the task's own rate.
    """

    reference: ClassVar[str] = "Li et al., ICML 2021, arXiv 2012.04221"

    mu: NonNegative = 0.1
    personal_steps: Index = 5
    personal_lr: Positive | None = None

    def passes(self) -> float:
        return float(self.personal_steps)

    def report(self, end: Tensor, base: Tensor, context: Context, work: Work) -> Report:
        if not self.personal_steps:
            return Report(end - base)
        own = self.whole(base, personal_of(work)).clone()
        own[work.trainable :] = end[work.trainable :]  # running statistics are the device's latest
        t, gradient = work.trainable, work.gradient
        lr = work.lr if self.personal_lr is None else self.personal_lr
        assert gradient is not None
        for _ in range(self.personal_steps):
            pull = self.mu * (own[:t] - base[:t])
            own[:t] -= lr * (gradient(own) + pull)
        return Report(end - base, memory={"model": own})
