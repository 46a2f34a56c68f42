"""Control variates against client drift.

Karimireddy et al., "SCAFFOLD: stochastic controlled averaging for federated learning", ICML 2020,
arXiv 1910.06378. Device i keeps cᵢ, the server c, all zero at first:

    device:  y ← y - η (g(y) - cᵢ + c), K times from w
    I:       cᵢ⁺ = gradient of F_i at w, over all local data
    II:      cᵢ⁺ = cᵢ - c + (w - y)/(aη),   a the length of the local path
    server:  w ← w + server_lr · Σ qᵢ dᵢ,   c ← c + Σ pᵢ (cᵢ⁺ - cᵢ)

over the devices that reported, qᵢ being pᵢ divided by their sum.

- `weights = "examples"`, the default: pᵢ = nᵢ/Σnⱼ over the fleet, so that c is the gradient of the
  loss over all examples, the objective that FedAvg has, and both sums agree on it.
- `weights = "uniform"`: pᵢ = 1/N, the paper's letter; every device's mean loss counts alike. With
  equal data the two are one.
- a is K for plain SGD, as in the paper. With momentum each gradient goes further than one step,
  and a is the sum of how far (FedNova's length); divided by K, cᵢ would be up to 1/(1 - ρ) times
  too long. Weight decay and clipping count as part of the gradient.

Both directions carry c beside the model, and cᵢ⁺ is kept only when the upload arrives. Option I's
extra pass over the local data is charged as time.

The asynchronous form is an extension of the paper: c is fixed at dispatch, and what a device learnt
is added when its update is folded or thrown away for its age, since the device has kept it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from simfl.errors import ScenarioError
from simfl.messages import Update
from simfl.strategy.aggregation import discounted, mean
from simfl.strategy.base import Change, Context, LocalRule, Report, Server, Work
from simfl.strategy.common import Options, State
from simfl.strategy.local_rules import path_length
from simfl.strategy.methods.asynchronous import AsyncState
from simfl.strategy.methods.fedavg import FedAvg
from simfl.strategy.methods.fedbuff import FedBuff
from simfl.strategy.special_rules import Affine, AffineRule
from simfl.strategy.tensors import trained

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class ControlVariate(AffineRule):
    """Correct each gradient by c - cᵢ (SCAFFOLD). option: how cᵢ is renewed."""

    needs_sgd: ClassVar[bool] = True

    option: Literal["I", "II"] = "II"

    def prepare(
        self, base: Tensor, extras: Mapping[str, Any], memory: Mapping[str, Any], work: Work
    ) -> tuple[Tensor, Context]:
        c = extras["c"].to(base.device)
        c_i = memory["c_i"] if memory else c * 0.0
        return base, {"c": c, "c_i": c_i, "shift": c - c_i}

    def correct(self, grad: Tensor, y: Tensor, context: Context) -> Tensor:
        return grad + context["shift"]

    def affine(self, context: Context) -> Affine:
        return Affine(0.0, context["shift"])

    def passes(self) -> float:
        return 1.0 if self.option == "I" else 0.0

    def sends(self, params: Any) -> Mapping[str, Any]:
        return {"c": trained(params)}

    def report(self, end: Tensor, base: Tensor, context: Context, work: Work) -> Report:
        delta = end - base
        if self.option == "I" and work.gradient is not None:
            renewed = work.gradient(base)
        else:
            path = delta[: context["c"].shape[-1]]
            length = path_length(work.steps, work.lr, work.momentum) * work.lr
            renewed = -context["shift"] - path / length
        return Report(delta, {"c": renewed - context["c_i"]}, {"c_i": renewed})


@dataclass(slots=True, kw_only=True)
class ScaffoldState(State):
    """c: (T,) the server's variate."""

    c: Any


@dataclass(slots=True, kw_only=True)
class AsyncScaffoldState(AsyncState):
    """c: (T,) the server's variate."""

    c: Any


Running = ScaffoldState | AsyncScaffoldState


@dataclass(frozen=True, kw_only=True)
class _Variates(Options):
    """The server's side of control variates, over any way to fold.

    weights: "examples" for the loss over all examples, "uniform" for the paper's letter.
    """

    reference: ClassVar[str] = "Karimireddy et al., ICML 2020, arXiv 1910.06378"

    weights: Literal["examples", "uniform"] = "examples"
    local: LocalRule = ControlVariate()

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.local, ControlVariate):
            raise ScenarioError('SCAFFOLD needs local = { kind = "controlvariate" }')

    def parts(self, params: Any) -> dict[str, Any]:
        return {**super().parts(params), "c": trained(params) * 0.0}

    def extras(self, state: Running) -> Mapping[str, Any]:
        return {"c": state.c}

    def absorb(self, state: Running, server: Server, updates: Sequence[Update]) -> None:
        """The server's variate hears what these updates' devices have kept."""
        for update in sorted(updates, key=lambda u: (u.device, u.task)):
            if update.extras:  # nothing is sent without learning
                state.c = state.c + update.extras["c"] * self.share(server, update)

    def share(self, server: Server, update: Update) -> float:
        """pᵢ: what the device counts in the objective; over the fleet these add up to one."""
        if self.weights == "uniform":
            return 1.0 / server.devices
        return float(update.examples / server.examples.sum())

    def fold(self, state: Any, server: Server, updates: list[Update]) -> Change:
        self.absorb(state, server, updates)
        return self.average(server, updates)

    def average(self, server: Server, updates: list[Update]) -> Change:
        """Σ qᵢ dᵢ."""
        return mean(updates, self.weights)


@dataclass(frozen=True, kw_only=True)
class Scaffold(_Variates, FedAvg):
    """Synchronous rounds with control variates against client drift."""

    def init(self, params: Any) -> ScaffoldState:
        return ScaffoldState(**self.parts(params))


@dataclass(frozen=True, kw_only=True)
class AsyncScaffold(_Variates, FedBuff):
    """Buffered asynchrony with control variates: an extension of the paper."""

    def init(self, params: Any) -> AsyncScaffoldState:
        return AsyncScaffoldState(**self.parts(params))

    def average(self, server: Server, updates: list[Update]) -> Change:
        def weight(update: Update) -> float:
            return self.weighting(update.staleness) * self.share(server, update) * server.devices

        return discounted(updates, weight, self.normalise)

    def drop(self, state: AsyncScaffoldState, server: Server, limit: int) -> None:
        self.absorb(state, server, [u for u in state.pending if u.staleness > limit])
        super().drop(state, server, limit)
