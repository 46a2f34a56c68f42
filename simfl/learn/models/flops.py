"""What training costs, counted and never timed."""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from simfl.errors import PluginError
from simfl.learn.failures import computing


def flops_per_example(model: nn.Module, example: torch.Tensor, free: bool = False) -> float:
    """FLOP of training on one example: three times those of its forward pass.

    The backward pass costs twice the forward one, for it has two products where that has one.
    Of a model with frozen parts they are those of a forward pass through all of it and of the
    products that lead back to what is trained.
    example: (1, ...) input. Counted on the meta device, where nothing is computed and recurrent
    layers fall apart into products that the counter knows; fused CPU kernels would count zero.
    free: 0 of a model that computes nothing from an example alone.
    """
    frozen = any(not value.requires_grad for value in model.parameters())
    count = _both_ways if frozen else lambda *given: 3.0 * _forward(*given)
    try:
        return count(copy.deepcopy(model).to("meta"), example.to("meta"))
    except Exception:  # a model that looks at its data
        try:
            with computing(model, "a trial evaluation", named=False) as at:
                at.x = example
                return count(copy.deepcopy(model), example)
        except PluginError:
            if free:
                return 0.0
            raise


def _forward(model: nn.Module, x: torch.Tensor) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(x)
    return counter.get_total_flops()


def _both_ways(model: nn.Module, x: torch.Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        model.eval()(x).sum().backward()
    return float(counter.get_total_flops())
