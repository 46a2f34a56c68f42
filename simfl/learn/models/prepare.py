"""What is done to any model before a run: lazy layers, half precision, outputs, frozen parts.

What training changes travels, and nothing else: parameters that are trained, and of a model with
frozen parts those buffers that a step of training changes. The rest is on every device beforehand.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from simfl.errors import PluginError
from simfl.learn.failures import computing
from simfl.learn.models.base import Precision

_HALVES = (torch.float16, torch.bfloat16)
_NAMES = ("logits", "output", "outputs", "prediction", "predictions")


def prepared(
    model: nn.Module, x: Tensor, free: bool = False, precision: Precision | None = None
) -> nn.Module:
    """The model, ready to be trained in float32. Raises PluginError.

    Lazy layers take their shapes from an example, and their values from torch's generator. A
    model of float16 or bfloat16 keeps float32 values and computes under autocast.

    x: two examples.
    free: it need not compute anything from an example alone.
    precision: in which any model computes under autocast; by default as it is.
    """
    asked = None if precision is None else getattr(torch, precision)
    half = next((p.dtype for p in model.parameters() if p.dtype in _HALVES), asked)
    if any(map(is_lazy, (*model.parameters(), *model.buffers()))):
        _tried(model, x)
    model = model.float()
    model = model if half is None else Half(model, half)
    if free and not _runs(model, x):
        return model
    if not isinstance(outputs := _tried(copy.deepcopy(model), x), Tensor):
        tensor_of(outputs)
        model.register_forward_hook(_only_tensor)
    if any(not value.requires_grad for value in model.parameters()):
        _keep_constants_back(model, x)
    return model


def tensor_of(outputs: Any) -> Tensor:
    """The predictions among the outputs of a model. Raises PluginError.

    Of a dictionary the entry "logits" (or "output", "prediction", or the only one), of a tuple the
    first; of an object its attribute `logits`.

    >>> tensor_of({"hidden": torch.zeros(2), "logits": torch.ones(1)})
    tensor([1.])
    """
    if isinstance(outputs, Tensor):
        return outputs
    found = getattr(outputs, "logits", None)
    if isinstance(outputs, Mapping):
        tensors = {key: value for key, value in outputs.items() if isinstance(value, Tensor)}
        named = next((tensors[name] for name in _NAMES if name in tensors), None)
        found = next(iter(tensors.values())) if len(tensors) == 1 else named
    elif isinstance(outputs, tuple | list) and outputs:
        found = outputs[0]
    if isinstance(found, Tensor):
        return found
    kind = type(outputs).__name__
    holds = f" with {', '.join(map(str, outputs))}" if isinstance(outputs, Mapping) else ""
    raise PluginError(
        f"its output is a {kind}{holds}, expected one tensor: return it alone, first in a tuple, "
        'or as "logits" in a dictionary'
    )


class Half(nn.Module):
    """A model that computes in half precision where torch can, from values in float32."""

    def __init__(self, module: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.module, self.dtype = module, dtype

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, self.dtype):
            outputs = self.module(x)
        return tensor_of(outputs).float()


def as_written(model: nn.Module) -> nn.Module:
    """The model, once more with the outputs that its author gave it."""
    kept = {at: hook for at, hook in model._forward_hooks.items() if hook is not _only_tensor}
    model._forward_hooks = type(model._forward_hooks)(kept)
    return model


def _only_tensor(module: nn.Module, given: Any, outputs: Any) -> Tensor:
    return tensor_of(outputs)


def _runs(model: nn.Module, x: Tensor) -> bool:
    try:
        tensor_of(_tried(copy.deepcopy(model), x))
    except PluginError:
        return False
    return True


@torch.no_grad()
def _tried(model: nn.Module, x: Tensor) -> Any:
    before = model.training
    with computing(model, "a trial evaluation", named=False) as at:
        at.x = x[:1]
        outputs = model.eval()(at.x)
    model.train(before)
    return outputs


def _keep_constants_back(model: nn.Module, x: Tensor) -> None:
    """Float buffers that training leaves as they are become no part of what travels."""
    trial = copy.deepcopy(model).train()
    with computing(model, "a trial step of training", named=False) as at:
        at.x = x
        trial(x)
    after = dict(trial.named_buffers())
    for prefix, layer in model.named_modules():
        for name, value in layer.named_buffers(recurse=False):
            path = f"{prefix}.{name}".lstrip(".")
            if torch.equal(value, after[path]):
                layer._non_persistent_buffers_set.add(name)
