"""Local rules with more hooks: personal models, corrections behind the momentum, affine terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from simfl.strategy.base import Context, LocalRule

if TYPE_CHECKING:
    from torch import Tensor

    from simfl.params import Groups
    from simfl.structure import ModelStructure


@dataclass(frozen=True)
class PersonalContext:
    """The device of a `PersonalRule`.

    structure: of the model.
    initial: (P,) the untrained model, private parts included.
    accuracy: of a (P,) point on held-back data, or on all of the device's data if none is held
        back.
    seed: for what the rule draws in this task.
    extras: came down beside the model.
    memory: kept by the device.
    """

    structure: ModelStructure
    initial: Tensor
    accuracy: Callable[[Tensor], float]
    seed: int
    extras: Mapping[str, Any]
    memory: Mapping[str, Any]


class Split(NamedTuple):
    """The part of a model that travels. groups: how an upload may be thinned, if it may."""

    names: tuple[str, ...]
    groups: Groups | None = None


class PersonalRule(LocalRule):
    """A rule that keeps a part of the model on the device.

    `split` names the part that travels. In the hooks of `LocalRule`, "base" then has the elements
    that travel, "end" and points have those of the whole model, and `context["base"]` is where
    training starts. `work.personal` is the device's context.
    """

    def split(self, structure: ModelStructure) -> Split:
        """The part that travels. Raises ScenarioError for a model that has no such part."""
        raise NotImplementedError

    def whole(self, shared: Tensor, personal: PersonalContext) -> Tensor:
        """The (P,) model of the device: the part that travels joined to the part that it keeps."""
        raise NotImplementedError

    def transfer(self) -> tuple[LocalRule, float] | None:
        """A rule, and its epochs, that fit the private part of a device without updates so far."""
        return None

    def metrics(self, memory: Mapping[str, Any], structure: ModelStructure) -> Mapping[str, float]:
        """Values about one device; evaluations show their means over devices."""
        return {}

    def trials(self, memory: Mapping[str, Any]) -> int:
        """How often the next task tries a model on the held-back data: charged as time."""
        return 0


class MomentumRule(LocalRule):
    """A rule that also corrects each step behind the momentum."""

    def momentum_correction(self, y: Tensor, context: Context) -> Tensor:
        """Added to the momentum of each step before the rate is applied: (..., T) -> (..., T)."""
        raise NotImplementedError


class Affine(NamedTuple):
    """What a rule adds to a gradient: a (y - base) + b. b: (T,) tensor, None for zero."""

    a: float
    b: Tensor | None


class AffineRule(LocalRule):
    """A rule whose `penalty` and `correct` add an affine term, under which models train faster.

    Dense models then train as machine code; under a plain `LocalRule` they train in stacks.
    """

    def affine(self, context: Context) -> Affine:
        """What `penalty` and `correct` together add to a gradient, for every y."""
        raise NotImplementedError


#: Hooks of special rules by name, with the class that a rule which defines them inherits from.
HOOKS: dict[str, type[LocalRule]] = {
    name: rule
    for rule in (PersonalRule, MomentumRule, AffineRule)
    for name in vars(rule)
    if not name.startswith("_")
}
