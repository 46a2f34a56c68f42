"""Images in the order that convolutions on a CPU prefer: the channels of a point side by side.

The numbers are the same and so is their order for all code that indexes them; where they lie in
memory is not, and sums are added up in another order. PyTorch's convolutions hand the order on from
layer to layer. See https://docs.pytorch.org/tutorials/intermediate/memory_format_tutorial.html.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from simfl.errors import first_line
from simfl.learn.trainers.local_training import Local


def channels_last(x: Tensor) -> Tensor:
    """(n, C, H, W) the same images, with the channels of each point side by side.

    Of images with one channel nothing moves: PyTorch takes their order from their strides.

    >>> channels_last(torch.zeros(5, 1, 4, 3)).stride()
    (12, 1, 3, 1)
    """
    n, channels, height, width = x.shape
    if channels == 1:
        strides = (height * width, 1, width, 1)
        return x.contiguous().as_strided((n, channels, height, width), strides)
    return x.contiguous(memory_format=torch.channels_last)


def why_not_channels_last(local: Local) -> str | None:
    """Why a model's images must stay in their order; None if it gives the same answers."""
    if local.options.own_loop is not None:
        return local.options.own_loop
    x = local.data.dataset.x[:2]
    if x.dim() != 4 or not any(isinstance(part, nn.Conv2d) for part in local.model.modules()):
        return "it does not convolve images"
    model = copy.deepcopy(local.model).float().eval()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        try:
            before, after = model(x), model(channels_last(x))
        except Exception as error:  # whatever a model does that asks for the usual order
            return f"the model takes images in their usual order only ({first_line(error)})"
    near = torch.allclose(after, before, rtol=1e-3, atol=1e-4)
    return None if near else "the model gives other answers to images in another order"
