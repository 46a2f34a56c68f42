"""What a model makes of a mini-batch before its last linear layer, for rules that look at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from simfl.errors import ScenarioError
from simfl.learn.models.flat import FlatModule
from simfl.learn.trainers.local_training import Local, asking
from simfl.strategy.base import Context
from simfl.strategy.special_rules import FeatureRule


class Features:
    """Features of the mini-batch at hand, (n, F): of the model in training, or at a point."""

    def __init__(self, model: FlatModule, local: Local) -> None:
        self._model = model
        self._other = FlatModule(local.model, local.torch_device)
        self._other.module.eval()
        self._seen = _watched(model.module)
        self._seen_elsewhere = _watched(self._other.module)
        self.x: Any = None  #: inputs of the mini-batch

    def __call__(self, point: Tensor | None = None) -> Tensor:
        """Of the model in training as it is, to be differentiated; else at (T,) trained elements.

        Running statistics are those of the model in training.
        """
        if point is None:
            return self._seen()
        other, trained = self._other, len(point)
        with torch.no_grad():
            other.flat[:trained] = point
            other.flat[trained:] = self._model.flat[trained:]
            other.module(self.x)
            return self._seen_elsewhere()


def penalty_of(local: Local, model: FlatModule) -> Callable[[Tensor, Context], Tensor] | None:
    """What a `FeatureRule` adds to the loss of a batch just computed; None for other rules."""
    rule = local.rule
    if not isinstance(rule, FeatureRule) or not rule.forwards():
        return None
    features = Features(model, local)

    def penalty(x: Tensor, context: Context) -> Tensor:
        features.x = x
        with asking(rule, "feature_penalty"):
            return rule.feature_penalty(features, context)

    return penalty


def _watched(module: nn.Module) -> Callable[[], Tensor]:
    """Gives what the last linear layer read when the module was last called."""
    seen: list[Tensor] = []
    layers = [part for part in module.modules() if isinstance(part, nn.Linear)]
    if not layers:
        raise ScenarioError(
            "the local rule looks at what the last linear layer reads, and this model has none; "
            "use a model like mlp or convnet"
        )

    def note(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen[:] = [given[0].flatten(1)]

    for layer in layers:
        layer.register_forward_pre_hook(note)
    return lambda: seen[0]
