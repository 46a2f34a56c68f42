"""Every update enters at once, weighed by its device's data; the slow take larger steps.

Chen, Ning, Slawski and Rangwala, "Asynchronous online federated learning for edge devices with
non-IID data" (ASO-Fed), IEEE BigData 2020, arXiv 1911.02134. With s the loss plus (λ/2)||y - w||²
around the model w received, device i remembers the gradient p of its last task and an average h:

    device:  y ← y - η r (∇s - p + h),   h ← β h + (1 - β) p first,   p ← mean ∇s of this task
             r = max(1, ln d),   d the mean seconds from dispatch to arrival of its tasks so far
    server:  w ← w + server_lr · (nᵢ/Σⱼ nⱼ) dᵢ,   the sum over the whole fleet

so that ∇s - p + h = ∇s - β (p - h). What differs from the paper, and why:

- p is the mean gradient of a whole task, from the path that it took; the paper's devices take one
  step at a time.
- With h as it was before, as the paper's lines can be read too, the second task of a device would
  follow ∇s - p and undo the first.
- Data do not grow. (`learning.shift` changes what devices hold.)
- The server's re-weighting of the first layer is left out: printed, it multiplies each weight by a
  softmax over its row, which shrinks the layer at every update.
- r goes down beside the model where it is not 1: the virtual clock is the server's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log
from typing import TYPE_CHECKING, Any, ClassVar

from simfl.errors import ScenarioError
from simfl.messages import Update
from simfl.strategy.aggregation import weighted
from simfl.strategy.base import Change, Context, LocalRule, Report, Server, Work
from simfl.strategy.common import counted_in
from simfl.strategy.local_rules import path_length
from simfl.strategy.methods.asynchronous import Asynchronous, AsyncState
from simfl.units import Fraction, NonNegative

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Balanced(LocalRule):
    """Stay near the model received, and lean on the gradients of past tasks (ASO-Fed).

    lam, beta: λ and β; with both 0 this is plain SGD at r times the rate.
    """

    needs_sgd: ClassVar[bool] = True

    lam: NonNegative = 1.0
    beta: Fraction = 0.001

    def prepare(
        self, base: Tensor, extras: Mapping[str, Any], memory: Mapping[str, Any], work: Work
    ) -> tuple[Tensor, Context]:
        h = shift = base.new_zeros(work.trainable)
        if memory:
            p = memory["gradient"]
            h = self.beta * memory["h"] + (1.0 - self.beta) * p
            shift = h - p
        rate = base.new_tensor([float(extras.get("rate", 1.0))])
        return base, {"h": h, "shift": shift, "rate": rate}

    def correct(self, grad: Tensor, y: Tensor, context: Context) -> Tensor:
        slope = grad + self.lam * (y - context["base"]) + context["shift"]
        return context["rate"] * slope

    def sends(self, params: Any) -> Mapping[str, Any]:
        return {}

    def report(self, end: Tensor, base: Tensor, context: Context, work: Work) -> Report:
        delta = end - base
        path = path_length(work.steps, work.lr, work.momentum) * work.lr * context["rate"]
        gradient = -delta[: work.trainable] / path - context["shift"]
        return Report(delta, memory={"gradient": gradient, "h": context["h"]})


@dataclass(slots=True, kw_only=True)
class AsoFedState(AsyncState):
    """delays: by device, how many of its tasks arrived, and their mean seconds."""

    delays: dict[int, tuple[int, float]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AsoFed(Asynchronous):
    """Pure asynchrony: an update weighs as its device's share of all data.

    hasten: devices whose tasks take more than e seconds on average take larger steps.
    """

    reference: ClassVar[str] = "Chen et al., IEEE BigData 2020, arXiv 1911.02134"

    hasten: bool = True
    local: LocalRule = Balanced()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hasten and not isinstance(self.local, Balanced):
            raise ScenarioError('hasten = true needs local = { kind = "balanced" }')

    def init(self, params: Any) -> AsoFedState:
        return AsoFedState(**self.parts(params))

    def observe(self, state: AsoFedState, server: Server, updates: Any) -> None:
        super().observe(state, server, updates)
        for update in updates:
            counted_in(state.delays, update.device, update.arrived_s - update.dispatched_s)

    def fold(self, state: AsoFedState, server: Server, updates: list[Update]) -> Change:
        (update,) = updates
        return weighted([update], [float(update.examples / server.examples.sum())])

    def rate_of(self, state: AsoFedState, device: int) -> float:
        """r of the device's next task."""
        mean_s = state.delays.get(device, (0, 0.0))[1]
        return max(1.0, log(mean_s)) if self.hasten and mean_s > 0.0 else 1.0

    def ask(self, state: AsoFedState, server: Server, devices: list[int]) -> list[int]:
        """As always; devices with a rate of their own are sent it."""
        serials: dict[int, int] = {}
        for device in devices:
            rate = self.rate_of(state, device)
            extras = {"rate": rate} if rate > 1.0 else None
            (serials[device],) = server.dispatch([device], **self.work, extras=extras)
        return [serials[device] for device in devices]
