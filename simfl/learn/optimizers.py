"""Optimizers of local training, fresh for each task or kept on the device.

An optimizer is a function of (parameters, lr) that makes a torch.optim.Optimizer: a part of this
registry, or any class of torch by its dotted path, as in `{ kind = "torch.optim:RMSprop" }`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from annotated_types import Ge, Lt

from simfl.errors import PluginError, plugin_errors
from simfl.lazy import nn, torch
from simfl.registry import Registry
from simfl.units import Fraction, NonNegative, Positive

if TYPE_CHECKING:
    from torch import Tensor

#: Each entry is a frozen dataclass of options, called with (parameters, lr) -> Optimizer. `keep`
#: is an option of all of them.
OPTIMIZERS = Registry(
    "optimizer",
    "simfl.optimizers",
    {
        "adam": "simfl.learn.optimizers:Adam",
        "adamw": "simfl.learn.optimizers:AdamW",
        "sgd": "simfl.learn.optimizers:Sgd",
    },
)

Beta = Annotated[float, Ge(0.0), Lt(1.0)]

#: What an optimizer remembers, by parameter and name: numbers and tensors.
Kept = Mapping[str, Any]


@dataclass(frozen=True)
class Sgd:
    """Stochastic gradient descent, v = momentum v + g, y = y - lr v.

    momentum, weight_decay: as in [learning], where they may be given as well.
    nesterov: y = y - lr (g + momentum v).
    keep: a device goes on with the velocity of its last task.
    """

    momentum: Fraction = 0.0
    nesterov: bool = False
    weight_decay: NonNegative = 0.0
    keep: bool = False

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov = true needs a momentum, as in momentum = 0.9")

    def __call__(self, parameters: Iterable[Tensor], lr: float) -> torch.optim.Optimizer:
        """The decay of the weights is added to gradients before, under every optimizer."""
        return torch.optim.SGD(parameters, lr=lr, momentum=self.momentum, nesterov=self.nesterov)


@dataclass(frozen=True)
class Adam:
    """Kingma and Ba, ICLR 2015.

    keep: a device goes on with the moments of its last task.
    """

    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: Positive = 1e-8
    amsgrad: bool = False
    keep: bool = False

    def __call__(self, parameters: Iterable[Tensor], lr: float) -> torch.optim.Optimizer:
        betas = (self.beta1, self.beta2)
        return torch.optim.Adam(parameters, lr, betas, self.eps, amsgrad=self.amsgrad)


@dataclass(frozen=True)
class AdamW:
    """Loshchilov and Hutter, ICLR 2019: weights decay by lr * weight_decay beside the step."""

    beta1: Beta = 0.9
    beta2: Beta = 0.999
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.01
    amsgrad: bool = False
    keep: bool = False

    def __call__(self, parameters: Iterable[Tensor], lr: float) -> torch.optim.Optimizer:
        betas = (self.beta1, self.beta2)
        decay = self.weight_decay
        return torch.optim.AdamW(parameters, lr, betas, self.eps, decay, self.amsgrad)


def begin(optimizer: Any, parameters: Iterable[Tensor], lr: float) -> torch.optim.Optimizer:
    """The torch optimizer that a part stands for. Raises PluginError."""
    options = {key: v for key, v in getattr(optimizer, "options", {}).items() if key != "keep"}
    maker: Callable[..., Any] = getattr(optimizer, "function", None) or optimizer
    with plugin_errors(f"optimizer {name_of(optimizer)}"):
        made = maker(list(parameters), lr=lr, **options)
        if not isinstance(made, torch.optim.Optimizer):
            raise PluginError(f"made {made!r}, expected a torch.optim.Optimizer")
    return made


def keeps(optimizer: Any) -> bool:
    """Whether its state stays on the device from task to task."""
    return bool(getattr(optimizer, "options", {}).get("keep", getattr(optimizer, "keep", False)))


def name_of(optimizer: Any) -> str:
    """As its scenario calls it."""
    return getattr(optimizer, "kind", None) or type(optimizer).__name__


def state_of(optimizer: torch.optim.Optimizer) -> Kept:
    """What an optimizer remembers, by number of the parameter."""
    state = optimizer.state_dict()["state"]
    return {str(at): {name: _copied(v) for name, v in one.items()} for at, one in state.items()}


def restore(optimizer: torch.optim.Optimizer, kept: Kept) -> None:
    """A fresh optimizer goes on from there."""
    state = {int(at): {name: _copied(v) for name, v in one.items()} for at, one in kept.items()}
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def floats_per_parameter(optimizer: Any) -> float:
    """Numbers that an optimizer remembers for each parameter; counted at a trial step.

    >>> floats_per_parameter(Adam()), floats_per_parameter(Sgd())
    (2.0, 0.0)
    """
    trial = nn.Parameter(torch.zeros(32, 32))
    made = begin(optimizer, [trial], 0.01)
    trial.grad = torch.zeros_like(trial)
    with plugin_errors(f"optimizer {name_of(optimizer)}.step"):
        made.step()
    tensors = [v for one in made.state.values() for v in one.values() if torch.is_tensor(v)]
    return math.fsum(v.numel() for v in tensors if v.numel() > 1) / trial.numel()


def _copied(value: Any) -> Any:
    return value.detach().clone() if torch.is_tensor(value) else value
