"""Gradients of K models at once, each on a mini-batch of its own.

A kernel adds nothing up across models, so the gradient of one does not depend on the others of
its stack. Mini-batches of unlike sizes share a call: each example has a weight, 1/b in a batch
of b and 0 where there is none.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from simfl.learn.models.flat import params_of
from simfl.learn.objective.base import Objective
from simfl.learn.objective.losses import PLAIN

relu_backward = torch.ops.aten.threshold_backward

#: (x (K, B, ...), y (K, B, ...), weights (K, B)) -> losses (K, B); fills the bound gradient.
Slope = Callable[[Tensor, Tensor, Tensor], Tensor]


class Kernel(Protocol):
    """How gradients are found.

    A product's last bits may change with the addresses of its matrices modulo 16 bytes, so these
    must be the same for every model of a stack.
    """

    grain: int  #: B must be a multiple of it for this
    even: bool  #: whether that is enough

    def bind(self, values: Tensor, slope: Tensor) -> Slope:
        """For these models (K, P...) and the place (K, T...) of their gradients, both views."""


def aligned(like: Tensor, k: int, size: int) -> Tensor:
    """(k, size) zeros whose rows begin at multiples of 64 bytes."""
    return like.new_zeros(k, -(-size // 16) * 16)[:, :size]


class DenseKernel:
    """The two passes through a chain of linear layers, written out as batched products.

    The loss is plain cross-entropy.
    """

    even = True  # gradients are written into rows that begin at like addresses

    def __init__(self, model: nn.Module, widths: tuple[int, ...]) -> None:
        self.grain = 4 // math.gcd(4, *widths)
        slices = list(params_of(model).layout.slices.values())
        self._layers = list(zip(pairwise(widths), slices[::2], slices[1::2], strict=True))

    def bind(self, values: Tensor, slope: Tensor) -> Slope:
        weights, biases = self._views(values)
        into, bias_into = self._views(slope)
        turned = [weight.transpose(1, 2) for weight in weights]
        last = len(weights) - 1

        def step(x: Tensor, y: Tensor, share: Tensor) -> Tensor:
            inputs = [x.flatten(2)]
            for at in range(last):
                inputs.append(torch.baddbmm(biases[at], inputs[at], turned[at]).relu_())
            logs = torch.baddbmm(biases[last], inputs[last], turned[last]).log_softmax(-1)
            labels = y.unsqueeze(2)
            losses = logs.gather(2, labels).squeeze(2).neg_()
            back = logs.exp_().scatter_add_(2, labels, logs.new_full(labels.shape, -1.0))
            back.mul_(share.unsqueeze(2))
            for at in range(last, -1, -1):
                torch.bmm(back.transpose(1, 2), inputs[at], out=into[at])
                torch.sum(back, 1, keepdim=True, out=bias_into[at])
                if at:
                    back = relu_backward(torch.bmm(back, weights[at]), inputs[at], 0)
            return losses

        return step

    def _views(self, flat: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """The weights (K, out, in) and the biases (K, 1, out) of each layer."""
        k = len(flat)
        weights = [flat[:, w].view(k, out, inner) for (inner, out), w, _ in self._layers]
        return weights, [flat[:, b].view(k, 1, out) for (_, out), _, b in self._layers]


class FunctionalKernel:
    """Any model without state or chance, through torch.func: vmap over models of grad."""

    grain = 4

    def __init__(
        self, model: nn.Module, torch_device: torch.device | str, objective: Objective = PLAIN
    ) -> None:
        self._objective = objective
        self._module = copy.deepcopy(model).float().to(torch_device).train()
        layout = params_of(model).layout
        self._parts = [(name, layout.slices[name], shape) for name, shape in layout.shapes]
        matrices = [math.prod(shape) for _, shape in layout.shapes if len(shape) == 2]
        self.even = all(size % self.grain == 0 for size in matrices)
        self._slopes = vmap(grad(self._loss, has_aux=True), randomness="error")

    def bind(self, values: Tensor, slope: Tensor) -> Slope:
        named, into = self._views(values), self._views(slope)
        constant = {name: named.pop(name) for name in list(named) if name not in into}

        def step(x: Tensor, y: Tensor, share: Tensor) -> Tensor:
            slopes, losses = self._slopes(named, constant, x, y, share)
            for name, place in into.items():
                place.copy_(slopes[name])
            losses_each: Tensor = losses
            return losses_each

        return step

    def _loss(
        self, named: dict[str, Tensor], constant: dict[str, Tensor], x: Tensor, y: Tensor, w: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One model's weighted loss, and the loss of each example."""
        outputs = functional_call(self._module, {**named, **constant}, (x,))
        each = self._objective.loss(outputs, y)
        return (each * w).sum(), each

    def _views(self, flat: Tensor) -> dict[str, Tensor]:
        """By name, (K, ...) views of those parameters that the columns reach."""
        reached = [part for part in self._parts if part[1].stop <= flat.shape[1]]
        return {name: flat[:, where].view(len(flat), *shape) for name, where, shape in reached}
