"""A shared encoder and private predictors, without anything else.

Arivazhagan, Aggarwal, Singh and Choudhary, "Federated learning with personalization layers",
arXiv 1912.00818. A device that never took part fits a predictor to the frozen encoder (Yu et al.,
SC 2022, arXiv 2111.14345).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from simfl.errors import ScenarioError
from simfl.lazy import torch
from simfl.params import Layout
from simfl.strategy.base import Context, LocalRule, Report, Work
from simfl.strategy.special_rules import PersonalContext, PersonalRule, Split
from simfl.structure import ModelStructure
from simfl.units import NonNegative

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Places:
    """Where the two parts of a model lie in its flat buffer, as positions."""

    shared: Tensor
    private: Tensor
    trained: int  #: how many of `shared` are trained, which come first


@cache
def places(whole: Layout, names: tuple[str, ...]) -> Places:
    """Positions of what travels, these names, and of what does not."""
    travels = torch.zeros(whole.size, dtype=torch.bool)
    for name in names:
        travels[whole.slices[name]] = True
    shared = travels.nonzero().squeeze(1)
    trained = int((shared < whole.trainable).sum())
    return Places(shared, (~travels).nonzero().squeeze(1), trained)


@dataclass(frozen=True)
class PrivateHead(PersonalRule):
    """Keep the predictor to oneself; only the encoder travels.

    private_head: False shares the whole model.
    private_stem: the first convolution stays, too.
    transfer_epochs: how long a device that never took part fits its predictor when evaluated.
    """

    private_head: bool = True
    private_stem: bool = False
    transfer_epochs: NonNegative = 5.0

    def names(self, structure: ModelStructure) -> tuple[str, ...]:
        """The tensors that travel. Raises ScenarioError if there would be none."""
        names = structure.encoder if self.private_head else structure.layout.names
        if self.private_stem and structure.convs:
            names = tuple(name for name in names if name not in structure.convs[0].names)
        if not names:
            raise ScenarioError(
                "this model is one linear layer, all of it predictor: nothing would be shared; "
                "use a model with a layer before the last, or private_head = false"
            )
        return names

    def split(self, structure: ModelStructure) -> Split:
        return Split(self.names(structure))

    def places(self, personal: PersonalContext) -> Places:
        """Where the two parts of the model lie."""
        return places(personal.structure.layout, self.names(personal.structure))

    def whole(self, shared: Tensor, personal: PersonalContext) -> Tensor:
        where, point = self.places(personal), personal.initial.clone()
        point[where.shared] = shared
        if "head" in personal.memory:
            point[where.private] = personal.memory["head"].to(point.device)
        return point

    def transfer(self) -> tuple[LocalRule, float] | None:
        if not self.transfer_epochs:
            return None
        return FitHead(self.private_head, self.private_stem), self.transfer_epochs

    def prepare(
        self, base: Tensor, extras: Mapping[str, Any], memory: Mapping[str, Any], work: Work
    ) -> tuple[Tensor, Context]:
        return self.whole(base, personal_of(work)), {}

    def sends(self, params: Any) -> Mapping[str, Any] | None:
        return {}

    def report(self, end: Tensor, base: Tensor, context: Context, work: Work) -> Report:
        where = self.places(personal_of(work))
        return Report(end[where.shared] - base, memory={"head": end[where.private]})


@dataclass(frozen=True)
class FitHead(PrivateHead):
    """Fit the predictor to the encoder as it is, which stays."""

    def prepare(
        self, base: Tensor, extras: Mapping[str, Any], memory: Mapping[str, Any], work: Work
    ) -> tuple[Tensor, Context]:
        where = self.places(personal_of(work))
        moves = torch.ones(personal_of(work).structure.layout.trainable, device=base.device)
        moves[where.shared[: where.trained]] = 0.0
        return self.whole(base, personal_of(work)), {"moves": moves}

    def correct(self, grad: Tensor, y: Tensor, context: Context) -> Tensor:
        return grad * context["moves"]


def personal_of(work: Work) -> PersonalContext:
    """The device's context, which a trainer gives to every `PersonalRule`."""
    assert work.personal is not None
    return work.personal
