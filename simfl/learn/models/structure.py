"""Finds the structure of a module: its convolutions, what follows each, and its head."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from simfl.learn.models.flat import params_of
from simfl.learn.models.modules import Block
from simfl.strategy.base import LocalRule
from simfl.strategy.special_rules import PersonalRule, Split
from simfl.structure import Conv, ModelStructure, Shortcut

_NORMS = (nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


@dataclass(frozen=True, eq=False)
class _Call:
    """A layer with tensors of its own, as a forward pass came by."""

    name: str
    layer: nn.Module
    output: Any


def structure_of(model: nn.Module, example: Tensor) -> ModelStructure:
    """The model's structure. example: (1, ...) input.

    The head is the linear layers behind the last convolution; without convolutions, the last
    linear layer. A norm belongs to the convolution before it if it has as many channels.
    """
    layout = params_of(model).layout
    calls = _calls(model, example)
    at = [i for i, call in enumerate(calls) if _is_trained_conv(call, layout.names)]
    linear = [i for i, call in enumerate(calls) if isinstance(call.layer, nn.Linear)]
    head = [i for i in linear if not at or i > at[-1]]
    names = [n for i in (head if at else head[-1:]) for n in _tensors(calls[i], layout.names)]
    convs = [_conv(calls, i, layout.names) for i in at]
    order = {calls[i].name: k for k, i in enumerate(at)}
    shortcuts = _shortcuts(model, order)
    return ModelStructure(layout, tuple(_wired(model, convs, shortcuts)), tuple(names), shortcuts)


def split_of(
    rule: LocalRule, model: nn.Module, example: Tensor
) -> tuple[ModelStructure, Split] | None:
    """The model's structure and how the rule splits it; None if all of the model travels."""
    if not isinstance(rule, PersonalRule):
        return None
    structure = structure_of(model, example)
    return structure, rule.split(structure)


def _calls(model: nn.Module, example: Tensor) -> list[_Call]:
    """Layers that hold tensors, in the order in which they compute."""
    model, calls = copy.deepcopy(model).eval(), []

    def note(name: str) -> Any:
        return lambda layer, given, output: calls.append(_Call(name, layer, output))

    for name, layer in model.named_modules():
        if next(layer.children(), None) is None and next(layer.parameters(False), None) is not None:
            layer.register_forward_hook(note(name))
    with torch.no_grad():
        model(example)
    return calls


def _is_trained_conv(call: _Call, known: tuple[str, ...]) -> bool:
    return isinstance(call.layer, nn.Conv2d) and f"{call.name}.weight".lstrip(".") in known


def _tensors(call: _Call, known: tuple[str, ...]) -> list[str]:
    prefix = f"{call.name}." if call.name else ""
    return [name for name in known if name.startswith(prefix) and name != call.name]


def _conv(calls: list[_Call], at: int, known: tuple[str, ...]) -> Conv:
    call = calls[at]
    layer = call.layer
    assert isinstance(layer, nn.Conv2d)
    after = calls[at + 1] if at + 1 < len(calls) else None
    normed = after is not None and _channels(after.layer) == layer.out_channels
    mine = [*_tensors(call, known), *(_tensors(after, known) if normed and after else [])]
    weight = mine.pop(mine.index(f"{call.name}.weight"))
    return Conv(
        weight=weight,
        beside=tuple(mine),
        outputs=layer.out_channels,
        inputs=layer.in_channels,
        area=layer.kernel_size[0] * layer.kernel_size[1],
        positions=call.output.shape[-1] * call.output.shape[-2],
        groups=layer.groups,
        normed=normed,
    )


def _channels(layer: nn.Module) -> int:
    """Channels that a norm has; 0 if it is none."""
    if not isinstance(layer, _NORMS):
        return 0
    return int(getattr(layer, "num_channels", 0) or getattr(layer, "num_features", 0))


def _shortcuts(model: nn.Module, order: dict[str, int]) -> tuple[Shortcut, ...]:
    blocks = [(name, part) for name, part in model.named_modules() if isinstance(part, Block)]
    return tuple(
        Shortcut(order[f"{name}.conv1"], order[f"{name}.conv2"], part.resizes)
        for name, part in blocks
    )


def _wired(model: nn.Module, convs: list[Conv], shortcuts: tuple[Shortcut, ...]) -> list[Conv]:
    """Who reads whom: in a plain sequence everybody the one before; in a block the second."""
    inner = [m for m in model.modules() if next(m.children(), None) is not None]
    if all(isinstance(part, nn.Sequential) for part in inner):
        return [replace(conv, reads=k - 1 if k else None) for k, conv in enumerate(convs)]
    inside = {s.last: s.first for s in shortcuts}
    return [replace(conv, reads=inside.get(k)) for k, conv in enumerate(convs)]
