"""What training costs, counted and never timed."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from simfl.errors import PluginError
from simfl.learn.failures import computing


def flops_per_example(model: nn.Module, example: torch.Tensor, free: bool = False) -> float:
    """FLOP of training on one example: three times those of its forward pass.

    The backward pass costs twice the forward one, for it has two products where that has one. Of a
    model with frozen parts they are those of a forward pass through all of it and of the products
    that lead back to what is trained.
    example: (1, ...) input. Counted on the meta device, where nothing is computed and recurrent
        layers fall apart into products that the counter knows; fused CPU kernels would count zero.
        Models of plain layers have none of these, and are counted without the meta device, whose
        first use loads PyTorch's compiler: seconds before a short run.
    free: 0 of a model that computes nothing from an example alone.
    """
    frozen = any(not value.requires_grad for value in model.parameters())
    count = _both_ways if frozen else _three_forward
    try:
        where = "cpu" if _is_plain(model) else "meta"
        return count(_Counter(), copy.deepcopy(model).to(where), example.to(where))
    except Exception:  # a model that looks at its data
        try:
            with computing(model, "a trial evaluation", named=False) as at:
                at.x = example
                return count(FlopCounterMode(display=False), copy.deepcopy(model), example)
        except PluginError:
            if free:
                return 0.0
            raise


#: Layers whose products are the same operations on every device.
_PLAIN = frozenset(
    {nn.Sequential, nn.Linear, nn.Conv1d, nn.Conv2d, nn.Flatten, nn.Dropout, nn.BatchNorm2d}
    | {nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Identity, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d}
)


def _is_plain(model: nn.Module) -> bool:
    return all(type(part) in _PLAIN for part in model.modules())


class _Counter(TorchDispatchMode):
    """FlopCounterMode without modules and branches, and without loading PyTorch's compiler."""

    def __init__(self) -> None:
        super().__init__()
        self._total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # nothing here is compiled, so the compiler need not be loaded to be kept out

    def get_total_flops(self) -> int:
        return self._total

    def __torch_dispatch__(
        self,
        func: Any,
        types: Sequence[type],
        args: Any = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        options = kwargs or {}
        with self:
            out = func.decompose(*args, **options)
        if out is NotImplemented:
            out = func(*args, **options)
            formula = flop_registry.get(func._overloadpacket)
            self._total += 0 if formula is None else formula(*args, **options, out_val=out)
        return out


def _three_forward(counter: Any, model: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad(), counter:
        model.eval()(x)
    return 3.0 * counter.get_total_flops()


def _both_ways(counter: Any, model: nn.Module, x: torch.Tensor) -> float:
    with counter:
        model.eval()(x).sum().backward()
    return float(counter.get_total_flops())
