"""Dense models: chains of linear layers with ReLU between them, which have kernels of their own."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def dense_widths(model: nn.Module) -> tuple[int, ...] | None:
    """Widths of a chain's inputs and of each layer's outputs; None for any other model.

    A chain is exactly `Sequential(Flatten?, Linear, ReLU, Linear, ..., Linear)`, with biases and
    nothing frozen, so that its flat parameters are weight, bias, weight, bias, ...
    """
    if type(model) is not nn.Sequential:
        return None
    layers = list(model)
    if layers and type(layers[0]) is nn.Flatten and layers[0].start_dim == 1:
        layers = layers[1:]
    linear = [layer for layer in layers[::2] if isinstance(layer, nn.Linear) and _plain(layer)]
    between = layers[1::2]
    if not linear or 2 * len(linear) - 1 != len(layers) or len(set(linear)) != len(linear):
        return None
    if any(type(layer) is not nn.ReLU for layer in between):
        return None
    if any(a.out_features != b.in_features for a, b in pairwise(linear)):
        return None
    return (linear[0].in_features, *(layer.out_features for layer in linear))


def _plain(layer: nn.Linear) -> bool:
    return (
        type(layer) is nn.Linear
        and layer.bias is not None
        and all(parameter.requires_grad for parameter in layer.parameters())
    )
