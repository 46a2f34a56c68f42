"""Local rules with more hooks: personal models, momentum, features of examples, affine terms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from simfl.strategy.base import Context, LocalRule

if TYPE_CHECKING:
    import numpy as np
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

    def check_held_back(self, held: np.ndarray, sizes: np.ndarray) -> None:
        """Before the run, raises ScenarioError if devices hold back less than the rule needs.

        held: (devices,) examples that each holds back. sizes: (devices,) those it trains on.
        """

    def trials(self, memory: Mapping[str, Any]) -> int:
        """How often the next task tries a model on the held-back data: charged as time."""
        return 0


class MomentumRule(LocalRule):
    """A rule that also corrects each step behind the momentum."""

    def momentum_correction(self, y: Tensor, context: Context) -> Tensor:
        """Added to the momentum of each step before the rate is applied: (..., T) -> (..., T)."""
        raise NotImplementedError


class FeatureRule(LocalRule):
    """A rule that adds to each mini-batch's loss what the model makes of its examples.

    Features of an example are what the model's last linear layer reads. Under such a rule models
    train one after the other.
    """

    def feature_penalty(self, features: Callable[..., Tensor], context: Context) -> Tensor:
        """Added to the mean loss of a mini-batch of n examples: a scalar, differentiated.

        features: `features()` are the (n, F) of the model in training, `features(point)` those
        at (T,) trained elements, constants.
        """
        raise NotImplementedError

    def forwards(self) -> int:
        """Forward passes of other models over each mini-batch, charged as time; 0: no penalty."""
        raise NotImplementedError


def step_flops(rule: LocalRule, flops: float) -> float:
    """Of training on one example under the rule. flops: of its forward and backward pass alone.

    A backward pass costs two forward passes.
    """
    return flops * (1.0 + rule.forwards() / 3.0) if isinstance(rule, FeatureRule) else flops


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
    for rule in (PersonalRule, MomentumRule, FeatureRule, AffineRule)
    for name in vars(rule)
    if not name.startswith("_")
}
