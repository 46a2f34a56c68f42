"""What a device sees should look as the global model sees it, and not as its own last one did.

Li, He and Song, "Model-contrastive federated learning" (MOON), CVPR 2021, arXiv 2103.16257. With z
the features of an example by the model in training, z_w by the model received, z_p by the
device's model of its last task, and sim the cosine, a mini-batch adds to its cross-entropy

    μ · mean of -log( e^{sim(z, z_w)/T} / (e^{sim(z, z_w)/T} + e^{sim(z, z_p)/T}) )

The server averages as FedAvg does: `local = "contrastive"` works under any strategy, and
`kind = "moon"` is FedAvg with it. Two more forward passes over each mini-batch are charged as
time, so that a step takes 5/3 of a plain one. What differs from the paper, and why:

- Features are what the last linear layer reads. The paper puts a projection head in front of it;
  give the model one (`hidden = [128, 64]`) for the same.
- In its first task a device has no model of its own: there the term is left out. In the authors'
  code only the first exponential is there then, which makes the term 0.
- z_w and z_p are computed in evaluation mode, with the running statistics of the model in training.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from simfl.lazy import functional as F
from simfl.lazy import torch
from simfl.strategy.base import Context, LocalRule, Report, Work
from simfl.strategy.methods.fedavg import FedAvg
from simfl.strategy.special_rules import FeatureRule
from simfl.units import NonNegative, Positive

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Contrastive(FeatureRule):
    """Features near the global model's and far from the device's last model's (MOON).

    mu: weight of the term; 0 is plain training. temperature: T.
    """

    mu: NonNegative = 1.0
    temperature: Positive = 0.5

    def forwards(self) -> int:
        return 2 if self.mu else 0

    def prepare(
        self, base: Tensor, extras: Mapping[str, Any], memory: Mapping[str, Any], work: Work
    ) -> tuple[Tensor, Context]:
        return base, {"previous": memory["y"].to(base.device)} if memory else {}

    def feature_penalty(self, features: Callable[..., Tensor], context: Context) -> Tensor:
        z = features()
        if "previous" not in context:
            return z.new_zeros(())
        near = F.cosine_similarity(z, features(context["base"]), dim=1)
        far = F.cosine_similarity(z, features(context["previous"]), dim=1)
        return self.mu * contrast(near / self.temperature, far / self.temperature).mean()

    def sends(self, params: Any) -> Mapping[str, Any]:
        return {}

    def report(self, end: Tensor, base: Tensor, context: Context, work: Work) -> Report:
        return Report(end - base, memory={"y": end[: work.trainable].clone()})


def contrast(near: Tensor, far: Tensor) -> Tensor:
    """-log(e^near / (e^near + e^far)), elementwise."""
    return torch.logaddexp(near, far) - near


@dataclass(frozen=True, kw_only=True)
class Moon(FedAvg):
    """Synchronous rounds with a contrastive term in the local loss."""

    reference: ClassVar[str] = "Li et al., CVPR 2021, arXiv 2103.16257"

    local: LocalRule = Contrastive()
