"""Asynchrony that measures staleness by how far the model has moved, and adapts local work.

Wang, Yang, He, Shi and Chen, "AsyncFedED: asynchronous federated learning with Euclidean distance
based adaptive weight aggregation", arXiv 2205.13797 (2022). When an update d of device i, which
made K epochs from the model x_{t-τ}, meets the model x_t:

    γ = ||x_t - x_{t-τ}|| / ||d||                                        (1)
    η_g = λ / (γ + ε)                                                    (2)
    x_{t+1} = x_t + η_g d                                                (3)
    K ← K + ⌊(γ̄ - γ) κ⌋, for the device's next task                      (4)

λ/ε is the step for a fresh update: to be set beside FedAsync's alpha. In the table of tasks γ is
`drift`, η_g is `weight` and K is `epochs`. What the paper leaves open, and what is done here:

- K is kept within [k_min, k_max]; (4) alone can bring it to 0, and a device that does nothing
  would divide by zero in (1).
- The floor in (4) is biased: with a small κ every γ above γ̄ takes an epoch away and no γ below
  gives one. `rounding` offers the nearest whole number and truncation as well.
- An update without a direction (||d|| below 1e-12, or not finite) is discarded; K stays.
- γ is over trained elements, and over those that were sent. Running statistics move by
  min(1, η_g) d: they are no direction to extrapolate.
- The server keeps x_{t-τ}, one snapshot per version that is still in flight. With
  `local = "returnsbase"` the devices send it back instead, which doubles the upload.
- Updates of one instant enter in the order of their devices, and all of these leave with the
  model that has them all.
- Without learning there are no distances: γ counts as γ̄, so that K stays what it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import floor, inf, trunc
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from simfl.errors import ScenarioError
from simfl.messages import Nothing, Update
from simfl.strategy.aggregation import scaled, weighted
from simfl.strategy.base import Change, Context, LocalRule, Report, Server, Work
from simfl.strategy.methods.asynchronous import Asynchronous, AsyncState
from simfl.strategy.tensors import of_trained, trained
from simfl.units import Count, NonNegative, Positive

if TYPE_CHECKING:
    from torch import Tensor

TINY = 1e-12  #: an update shorter than this points nowhere

ROUNDINGS: dict[str, Callable[[float], int]] = {
    "floor": floor,
    "nearest": lambda x: floor(x + 0.5),
    "truncate": trunc,
}


@dataclass(frozen=True)
class ReturnsBase(LocalRule):
    """Send the model received back beside the update, for servers that keep no snapshots."""

    def sends(self, params: Any) -> Mapping[str, Any]:
        return {"base": trained(params)}

    def report(self, end: Tensor, base: Tensor, context: Context, work: Work) -> Report:
        return Report(end - base, {"base": context["base"]})


@dataclass(slots=True, kw_only=True)
class AsyncFedEdState(AsyncState):
    """k: by device, K of its next task; `k_0` for a device without updates so far."""

    k: dict[int, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AsyncFedEd(Asynchronous):
    """Pure asynchrony: weigh updates by how far the model moved meanwhile, and adapt local work.

    lam, eps: λ and ε of the step.
    gamma_bar, kappa: set-point and gain of the local work; `kappa = 0` leaves it alone. `epochs`
        (or `steps`) is the K that every device starts with.
    """

    reference: ClassVar[str] = "Wang et al., arXiv 2205.13797"

    concurrency: Count = 10
    epochs: Positive = 10.0
    refill: Literal["uniform", "same"] = "same"
    on_loss: Literal["wait", "replace"] = "replace"
    lam: Positive = 1.0
    eps: Positive = 1.0
    gamma_bar: NonNegative = 3.0
    kappa: NonNegative = 1.0
    k_min: Count = 1
    k_max: Count = 30
    rounding: Literal["floor", "nearest", "truncate"] = "floor"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.k_min <= self.k_0 <= self.k_max:
            raise ScenarioError(
                f"local work starts at {self.k_0:g} but is kept between k_min = {self.k_min} and "
                f"k_max = {self.k_max}: expected k_min <= epochs (or steps) <= k_max"
            )

    @property
    def k_0(self) -> float:
        """Local work that every device starts with, in epochs or steps."""
        (amount,) = self.work.values()
        return float(amount)

    def init(self, params: Any) -> AsyncFedEdState:
        return AsyncFedEdState(**self.parts(params))

    def ready(self, state: AsyncFedEdState, server: Server) -> list[Update]:
        lame = [update for update in state.pending if not _points(update)]
        server.discard(lame, "no direction")
        kept = [update for update in state.pending if update not in lame]
        state.pending = sorted(kept, key=lambda update: update.device)
        return super().ready(state, server)

    def fold(self, state: AsyncFedEdState, server: Server, updates: list[Update]) -> Change:
        (update,) = updates
        gamma = self.gamma(update, server.params)
        state.k[update.device] = self.next_k(state.k.get(update.device, self.k_0), gamma)
        eta_g = self.lam / (gamma + self.eps)
        return scaled(weighted([update], [min(1.0, eta_g)]), max(1.0, eta_g))

    def gamma(self, update: Update, params: Any) -> float:
        """Staleness (1) of an update that meets these parameters."""
        if isinstance(update.delta, Nothing):
            return self.gamma_bar
        if not update.staleness:
            return 0.0
        length: float = update.delta.norm()
        return _moved(update, params) / length

    def next_k(self, k: float, gamma: float) -> float:
        """K of the next task (4), within its bounds."""
        change = ROUNDINGS[self.rounding]((self.gamma_bar - gamma) * self.kappa)
        return float(min(max(k + change, self.k_min), self.k_max))

    def ask(self, state: AsyncFedEdState, server: Server, devices: list[int]) -> list[int]:
        k = [state.k.get(device, self.k_0) for device in devices]
        if self.steps is None:
            return server.dispatch(devices, epochs=k, extras=self.extras(state))
        whole = [int(amount) for amount in k]
        return server.dispatch(devices, steps=whole, extras=self.extras(state))


def _points(update: Update) -> bool:
    """Whether the update has a length to divide by."""
    return isinstance(update.delta, Nothing) or TINY <= update.delta.norm() < inf


def _moved(update: Update, params: Any) -> float:
    """How far the model has gone from the update's base, over what the device sent."""
    base, part = update.base, update.delta.layout
    if "base" in update.extras:
        base = of_trained(lambda kept: update.extras["base"], base)
    moved = params - base
    return float((moved if part == moved.layout else moved.select(part.names)).norm())
