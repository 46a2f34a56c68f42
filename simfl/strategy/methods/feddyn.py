"""Dynamic regularisation: local objectives that agree with the global one where both are at rest.

Acar, Zhao, Matas Navarro, Mattina, Whatmough and Saligrama, "Federated learning based on dynamic
regularization" (FedDyn), ICLR 2021, arXiv 2111.04263. Device k keeps H_k, zero at first; the
server keeps S, the mean of all H_k over the m devices of the fleet:

    device:  θ_k = argmin_u L_k(u) + α_k ⟨u, H_k - θ⟩ + (α_k/2)||u||²
             H_k ← H_k + (θ_k - θ)                        (-α_k H_k estimates the gradient of L_k)
    server:  S ← S + (1/m) Σ (θ_k - θ),   θ ← A + S,   A = mean θ_k over the devices that reported

This is the authors' code, with H_k = -g_k/α_k and S = -h/α in the letters of the paper. Printed,
the server's sum can be read as Σ θ_k - θ; the subtraction belongs inside, or the model explodes.
With unequal data α_k = α n̄/n_k, so that the fixed point is that of the loss over all examples
although A is a plain mean. The minimum is approached by SGD from θ. The linear term is part of
the loss that `clip_norm` clips, the quadratic one acts like weight decay, as in the authors' code.

Three models are evaluated: "sel", A; "all", the mean of the latest θ_k of the whole fleet (the
initial model for those never heard of); "cloud", θ, which is sent out and saved. The paper judges
"sel" or "all".

H_k and S change when an upload has been delivered, both or neither, so that S is the mean of the
H_k whatever is lost; a lossy uplink codec breaks this, since the device keeps what it meant to
send. The asynchronous form is an extension of the paper: θ_k - θ is taken from the model that was
sent, so that H_k stays a gradient at θ_k however stale the update is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from simfl.errors import ScenarioError
from simfl.messages import Update
from simfl.strategy.aggregation import Weights, mean
from simfl.strategy.base import Change, Context, LocalRule, Report, Server, Work
from simfl.strategy.common import Choosing, State
from simfl.strategy.methods.asynchronous import AsyncState, Buffered
from simfl.strategy.methods.fedavg import FedAvg
from simfl.strategy.special_rules import Affine, AffineRule
from simfl.strategy.tensors import of_trained
from simfl.units import Positive

if TYPE_CHECKING:
    from torch import Tensor

Score = Callable[[Any], dict[str, float]]
Evaluated = Literal["sel", "all", "cloud"]


@dataclass(frozen=True)
class Dynamic(AffineRule):
    """Minimise the local loss plus a linear and a quadratic term that change with time (FedDyn)."""

    alpha: Positive = 0.01

    def alpha_k(self, work: Work) -> float:
        """Stiffer for devices with less data than the mean."""
        return self.alpha * work.mean_examples / work.examples

    def prepare(
        self, base: Tensor, extras: Mapping[str, Any], memory: Mapping[str, Any], work: Work
    ) -> tuple[Tensor, Context]:
        alpha_k, theta = self.alpha_k(work), base[: work.trainable]
        h = memory["h"] if memory else theta * 0.0
        return base, {"h": h, "slope": alpha_k * (h - theta), "alpha_k": base.new_tensor([alpha_k])}

    def penalty(self, y: Tensor, context: Context) -> Tensor:
        return (context["slope"] * y).sum(-1)

    def correct(self, grad: Tensor, y: Tensor, context: Context) -> Tensor:
        return grad + context["alpha_k"] * y

    def affine(self, context: Context) -> Affine:
        alpha_k = float(context["alpha_k"])
        return Affine(alpha_k, alpha_k * context["h"])

    def sends(self, params: Any) -> Mapping[str, Any]:
        return {}

    def report(self, end: Tensor, base: Tensor, context: Context, work: Work) -> Report:
        delta = end - base
        return Report(delta, memory={"h": context["h"] + delta[: work.trainable]})


@dataclass(slots=True, kw_only=True)
class Dynamics:
    """S, the models that are evaluated, and what they are made from."""

    s: Any
    sel: Any
    all: Any
    start: Any  #: the initial model
    own: dict[int, Any] = field(default_factory=dict)  #: by device, its latest model


@dataclass(slots=True, kw_only=True)
class FedDynState(State):
    """The state in rounds."""

    dynamics: Dynamics


@dataclass(slots=True, kw_only=True)
class AsyncFedDynState(AsyncState):
    """The state of buffered asynchrony."""

    dynamics: Dynamics


Running = FedDynState | AsyncFedDynState


@dataclass(frozen=True, kw_only=True)
class _Dynamics(Choosing):
    """The server's side of dynamic regularisation, over any way to wait for updates.

    evaluate: the model behind the columns `loss` and `accuracy`; the others have columns of their
        own.
    remember: keep the latest model of every device, which "all" needs.
    """

    reference: ClassVar[str] = "Acar et al., ICLR 2021, arXiv 2111.04263"

    local: LocalRule = Dynamic()
    evaluate: Evaluated = "sel"
    remember: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.local, Dynamic):
            raise ScenarioError('FedDyn needs local = { kind = "dynamic" }')
        if self.evaluate == "all" and not self.remembers:
            raise ScenarioError('evaluate = "all" needs remember = true')

    @property
    def remembers(self) -> bool:
        """Whether the latest models are kept."""
        return self.remember

    def parts(self, params: Any) -> dict[str, Any]:
        dynamics = Dynamics(s=params * 0.0, sel=params, all=params, start=params)
        return {**super().parts(params), "dynamics": dynamics}

    def observe(self, state: Running, server: Server, updates: Sequence[Update]) -> None:
        super().observe(state, server, updates)
        dynamics, share = state.dynamics, 1.0 / server.devices
        for update in sorted(updates, key=lambda u: (u.device, u.task)):
            dynamics.s = of_trained(lambda s, d: s + share * d, dynamics.s, update.delta)
            if self.remembers:
                own = update.base + update.delta
                news = own - dynamics.own.get(update.device, dynamics.start)
                dynamics.own[update.device] = own
                dynamics.all = dynamics.all + news * share

    def fold(self, state: Any, server: Server, updates: list[Update]) -> Change:
        change = self.average(state, server, updates)
        state.dynamics.sel = server.params + change.delta
        return change.with_delta(change.delta + state.dynamics.s)

    def average(self, state: Running, server: Server, updates: list[Update]) -> Change:
        """A, less the server's model."""
        raise NotImplementedError

    def metrics(self, state: Running, server: Server, score: Score) -> dict[str, float]:
        """Metrics of the three models, and how long θ and S have become."""
        models = {"sel": state.dynamics.sel, "cloud": server.params}
        if self.remembers:
            models["all"] = state.dynamics.all
        each = {name: score(model) for name, model in models.items()}
        if not each["sel"]:
            return {}
        columns = {
            f"{metric}_{name}": value
            for name, metrics in each.items()
            for metric, value in metrics.items()
            if isinstance(value, float)
        }
        norms = {"norm_cloud": server.params.norm(), "norm_s": state.dynamics.s.norm()}
        return each[self.evaluate] | columns | norms


@dataclass(frozen=True, kw_only=True)
class FedDyn(_Dynamics, FedAvg):
    """Synchronous rounds with dynamic regularisation of the local objectives."""

    weights: Weights = "uniform"

    def init(self, params: Any) -> FedDynState:
        return FedDynState(**self.parts(params))

    def average(self, state: FedDynState, server: Server, updates: list[Update]) -> Change:
        return mean(updates, self.weights)


@dataclass(frozen=True, kw_only=True)
class AsyncFedDyn(_Dynamics, Buffered):
    """Buffered asynchrony with dynamic regularisation: an extension of the paper.

    average_of: A is the mean over the buffer, or over the latest models of the whole fleet, which
    a small buffer is too noisy to do without; the latter keeps as many models as devices.
    """

    average_of: Literal["buffer", "fleet"] = "buffer"

    @property
    def remembers(self) -> bool:
        return self.remember or self.average_of == "fleet"

    def init(self, params: Any) -> AsyncFedDynState:
        return AsyncFedDynState(**self.parts(params))

    def average(self, state: AsyncFedDynState, server: Server, updates: list[Update]) -> Change:
        own = [replace(u, delta=u.delta + (u.base - server.params)) for u in updates]
        if self.average_of == "buffer":
            return mean(own, "uniform")
        shares = {update.task: 1.0 / server.devices for update in updates}
        return Change(state.dynamics.all - server.params, shares)
