"""Control variates against client drift.

Karimireddy et al., "SCAFFOLD: stochastic controlled averaging for federated learning", ICML 2020,
arXiv 1910.06378. Device i keeps cᵢ, the server c, all zero at first:

    device:  y ← y - η (g(y) - cᵢ + c), K times from w
    I:       cᵢ⁺ = gradient of F_i at w, over all local data
    II:      cᵢ⁺ = cᵢ - c + (w - y)/(Kη)
    server:  w ← w + server_lr · mean dᵢ,   c ← c + (1/N) Σ (cᵢ⁺ - cᵢ),   N the whole fleet.

Both directions carry c beside the model, and cᵢ⁺ is kept only when the upload arrives. With local
momentum, weight decay or clipping Kη is no longer the length of the path and option II loses its
meaning. Option I's extra pass over the local data is charged as time.

The asynchronous form is an extension of the paper: c is fixed at dispatch, and what a device learnt
is added when its update is folded or thrown away for its age, since the device has kept it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from simfl.errors import ScenarioError
from simfl.messages import Update
from simfl.strategy.aggregation import Weights
from simfl.strategy.base import Change, Context, LocalRule, Report, Server, Work
from simfl.strategy.common import Options, State
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
            renewed = -context["shift"] - path / (work.steps * work.lr)
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
    """The server's side of control variates, over any way to fold."""

    reference: ClassVar[str] = "Karimireddy et al., ICML 2020, arXiv 1910.06378"

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
                state.c = state.c + update.extras["c"] * (1.0 / server.devices)

    def fold(self, state: Any, server: Server, updates: list[Update]) -> Change:
        self.absorb(state, server, updates)
        return super().fold(state, server, updates)


@dataclass(frozen=True, kw_only=True)
class Scaffold(_Variates, FedAvg):
    """Synchronous rounds with control variates against client drift."""

    weights: Weights = "uniform"

    def init(self, params: Any) -> ScaffoldState:
        return ScaffoldState(**self.parts(params))


@dataclass(frozen=True, kw_only=True)
class AsyncScaffold(_Variates, FedBuff):
    """Buffered asynchrony with control variates: an extension of the paper."""

    def init(self, params: Any) -> AsyncScaffoldState:
        return AsyncScaffoldState(**self.parts(params))

    def drop(self, state: AsyncScaffoldState, server: Server, limit: int) -> None:
        self.absorb(state, server, [u for u in state.pending if u.staleness > limit])
        super().drop(state, server, limit)
