"""Where the agent's graph network learns before a run: a small network on drawn images.

Its filters matter to different degrees, since it was trained; the agent plays on it, and what its
graph network has learnt is what devices are sent. Made once in a process, from a seed of its own.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from simfl.params import Params
from simfl.strategy.methods.spatl.filters import choose, masked
from simfl.strategy.methods.spatl.network import Encoders, Heads, drawn, flat
from simfl.strategy.methods.spatl.search import Player, Pruning, Teacher
from simfl.structure import Conv, ModelStructure

_WIDTHS, _SIDE, _CLASSES, _IMAGES, _SEED = (12, 16, 16), 8, 6, 480, 56
_UPDATE_STEPS = 100  # actions between two updates


@cache
def pretrained(games: int) -> Tensor:
    """(11340,) parameters of the agent's graph networks after so many games."""
    encoders, heads = drawn(Encoders(), _SEED), drawn(Heads(len(_WIDTHS)), _SEED + 1)
    if games:
        player = Player(_game(), encoders, heads)
        teacher = Teacher(heads, encoders)
        for _ in range(games):
            player.play()
            if len(player.memory.actions) >= _UPDATE_STEPS:
                teacher.update(player)
    return flat(encoders)


def _game() -> Pruning:
    """Half of the FLOP of the proxy are to go; half of its images are for the reward."""
    generator = torch.Generator().manual_seed(_SEED)
    params, structure = _network(generator)
    x, y = _images(generator)
    half = _IMAGES // 2
    point = _trained(params, x[:half], y[:half])

    @torch.no_grad()
    def score(ratios: np.ndarray) -> float:
        thin = params.like(masked(point, structure, choose(point, structure, ratios)))
        return float((_logits(thin, x[half:]).argmax(1) == y[half:]).float().mean())

    return Pruning(structure, 0.5, 5, False, _SEED, score)


def _network(generator: torch.Generator) -> tuple[Params, ModelStructure]:
    named: dict[str, Tensor] = {}
    convs, inputs = [], 1
    for at, outputs in enumerate(_WIDTHS):
        named[f"w{at}"] = _uniform((outputs, inputs, 3, 3), inputs * 9, generator)
        named[f"b{at}"] = torch.zeros(outputs)
        side = _SIDE >> min(at, 2)
        reads = at - 1 if at else None
        convs.append(Conv(f"w{at}", (f"b{at}",), outputs, inputs, 9, side * side, reads=reads))
        inputs = outputs
    features = inputs * (_SIDE // 4) ** 2
    named["head"] = _uniform((_CLASSES, features), features, generator)
    params = Params.from_named(named)
    return params, ModelStructure(params.layout, tuple(convs), ("head",))


def _uniform(shape: tuple[int, ...], inputs: int, generator: torch.Generator) -> Tensor:
    return (2.0 * torch.rand(shape, generator=generator) - 1.0) * (6.0 / inputs) ** 0.5


def _images(generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Noisy pictures of as many patterns as there are classes."""
    patterns = torch.randn(_CLASSES, 1, _SIDE, _SIDE, generator=generator)
    y = torch.arange(_IMAGES) % _CLASSES
    noise = torch.randn(_IMAGES, 1, _SIDE, _SIDE, generator=generator)
    return patterns[y] + 1.5 * noise, y


def _logits(params: Params, x: Tensor) -> Tensor:
    for at in range(len(_WIDTHS)):
        x = F.relu(F.conv2d(x, params[f"w{at}"], params[f"b{at}"], padding=1))
        x = F.max_pool2d(x, 2) if at < 2 else x
    return x.flatten(1) @ params["head"].T


def _trained(params: Params, x: Tensor, y: Tensor) -> Tensor:
    """The (P,) point after a hundred steps of gradient descent."""
    with torch.enable_grad():
        point = params.flat.clone().requires_grad_()
        for _ in range(100):
            loss = F.cross_entropy(_logits(params.like(point), x), y)
            (slope,) = torch.autograd.grad(loss, point)
            point = (point - 0.1 * slope).detach().requires_grad_()
    return point.detach()
