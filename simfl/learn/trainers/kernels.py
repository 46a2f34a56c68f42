"""Gradients of K models at once, each on a mini-batch of its own.

A kernel adds nothing up across models, so the gradient of one does not depend on the others of
its stack. Mini-batches of unlike sizes share a call: each example has a weight, 1/b in a batch
of b and 0 where there is none.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from simfl.learn.flat import FlatModule, params_of
from simfl.learn.jobs import LocalData
from simfl.learn.models import example_losses

relu_backward = torch.ops.aten.threshold_backward

#: (x (K, B, ...), y (K, B, ...), weights (K, B)) -> losses (K, B); fills the bound gradient.
Slope = Callable[[Tensor, Tensor, Tensor], Tensor]


class Kernel(Protocol):
    """How gradients are found."""

    def bind(self, values: Tensor, slope: Tensor) -> Slope:
        """For these models (K, P...) and the place (K, T...) of their gradients, both views."""


class DenseKernel:
    """The two passes through a chain of linear layers, written out as batched products."""

    def __init__(self, model: nn.Module, widths: tuple[int, ...]) -> None:
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

    def __init__(self, model: nn.Module, device: torch.device | str) -> None:
        self._module = copy.deepcopy(model).float().to(device).train()
        self._layout = params_of(model).layout
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
        each = example_losses(functional_call(self._module, {**named, **constant}, (x,)), y)
        return (each * w).sum(), each

    def _views(self, flat: Tensor) -> dict[str, Tensor]:
        """By name, (K, ...) views of those parameters that the columns reach."""
        where, k = self._layout.slices, len(flat)
        reached = [(n, s) for n, s in self._layout.shapes if where[n].stop <= flat.shape[1]]
        return {name: flat[:, where[name]].view(k, *shape) for name, shape in reached}


def disagreement(kernel: Kernel, model: nn.Module, data: LocalData, device: str) -> str | None:
    """Why this kernel cannot train this model; None if a trial step gives the right gradients.

    Models that keep state, draw random numbers or mix the examples of a batch are found out, for
    the trial has two batches of unlike sizes in one call.
    """
    if next(model.buffers(), None) is not None:
        return "the model keeps state from step to step"
    few = min(3, len(data.dataset))
    x, y = (part[:few].to(device) for part in (data.dataset.x, data.dataset.y))
    reference = FlatModule(model, device)
    values = reference.flat.repeat(2, 1)
    slopes = values.new_zeros(2, reference.layout.trainable)
    weights = values.new_tensor([[1.0 / few] * few, [1.0] + [0.0] * (few - 1)])
    try:
        step = kernel.bind(values, slopes)
        step(torch.stack([x, x]), torch.stack([y, y]), weights)
    except Exception as error:  # whatever a model does that cannot be batched
        return f"the model cannot be batched ({type(error).__name__})"
    for slope, n in zip(slopes, (few, 1), strict=True):
        reference.grad.zero_()
        example_losses(reference.module(x[:n]), y[:n]).mean().backward()
        if not torch.allclose(slope, reference.grad, rtol=1e-3, atol=1e-4 * _scale(reference.grad)):
            return "a batched trial step gave other gradients"
    return None


def _scale(x: Tensor) -> float:
    return float(x.abs().max())
