"""Normalised averaging: devices that do more steps do not pull harder.

Wang, Liu, Liang, Joshi and Poor, "Tackling the objective inconsistency problem in heterogeneous
federated optimization", NeurIPS 2020, arXiv 2007.07481:

    w ← w + server_lr · τ_eff Σ pᵢ dᵢ/||aᵢ||₁,   pᵢ = nᵢ/Σnⱼ,   τ_eff = Σ pᵢ||aᵢ||₁

with ||aᵢ||₁ the length of device i's path in units of the local rate, if every gradient were one:

    plain SGD      Kᵢ
    momentum ρ     (K - ρ(1 - ρᴷ)/(1 - ρ)) / (1 - ρ)
    proximal μ     (1 - (1 - ημ)ᴷ) / (ημ), and then τ_eff = Σ pᵢKᵢ

Plain SGD needs no help from the devices: the server knows Kᵢ. Otherwise they send ||aᵢ||₁ beside
the update (`local = { kind = "normalised", ... }`), found by walking that path, so that momentum
and a proximal term together are no special case; without that rule, momentum and a proximal term
are refused. Devices send dᵢ as it is; the server divides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from simfl.errors import ScenarioError
from simfl.messages import Update
from simfl.strategy.aggregation import weighted
from simfl.strategy.base import Change, Context, Report, Server, Work
from simfl.strategy.common import State
from simfl.strategy.local_rules import Proximal, path_length
from simfl.strategy.methods.fedavg import FedAvg
from simfl.units import NonNegative

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Normalised(Proximal):
    """Send the length of the local path beside the update (FedNova). mu: proximal term."""

    needs_sgd: ClassVar[bool] = True

    mu: NonNegative = 0.0

    def sends(self, params: Any) -> Mapping[str, Any]:
        return {"length": 0.0, "proximal": False}

    def report(self, end: Tensor, base: Tensor, context: Context, work: Work) -> Report:
        length = path_length(work.steps, work.lr, work.momentum, self.mu)
        return Report(end - base, {"length": length, "proximal": self.mu > 0})


@dataclass(frozen=True, kw_only=True)
class FedNova(FedAvg):
    """Synchronous rounds that average directions, whatever number of steps each device made."""

    needs_sgd: ClassVar[bool] = True

    reference: ClassVar[str] = "Wang et al., NeurIPS 2020, arXiv 2007.07481"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.local, Proximal) and not isinstance(self.local, Normalised):
            raise ScenarioError(
                "FedNova divides by the length of the local path, which a proximal term shortens; "
                f'write local = {{ kind = "normalised", mu = {self.local.mu:g} }}'
            )

    def check_learning(self, learning: Any) -> None:
        """Raises ScenarioError if paths are longer than their steps and devices do not say so."""
        momentum = learning.training.momentum
        if momentum and not isinstance(self.local, Normalised):
            raise ScenarioError(
                "FedNova divides by the length of the local path, which is more than the number of "
                f"steps with learning.momentum = {momentum:g}; write "
                'local = { kind = "normalised" }, with which devices send it'
            )

    def fold(self, state: State, server: Server, updates: list[Update]) -> Change:
        total = sum(update.examples for update in updates)
        p = [update.examples / total for update in updates]
        a = [float(u.extras.get("length", u.steps)) for u in updates]
        k = [
            u.steps if u.extras.get("proximal") else a_i for u, a_i in zip(updates, a, strict=True)
        ]
        tau_eff = sum(p_i * k_i for p_i, k_i in zip(p, k, strict=True))
        return weighted(updates, [tau_eff * p_i / a_i for p_i, a_i in zip(p, a, strict=True)])
