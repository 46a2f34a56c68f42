"""A model that was given as a Python object: a module, its class, or a function that makes one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from simfl.errors import PluginError, ScenarioError
from simfl.fingerprint import array_digest, digest, source_digest
from simfl.learn.datasets.base import Dataset
from simfl.learn.given import called, digest_of, is_factory, kind_of, make
from simfl.registry import OBJECT


class GivenModel:
    """Makes the model of a run from an object. options: those of its table, by name.

    A module is copied, so that the one given is never altered. A class or a function is called
    with the data set if it asks for one.
    """

    def __init__(self, thing: Any, **options: Any) -> None:
        self.thing = getattr(thing, "_orig_mod", thing)  # as it was before torch.compile
        self.options = options
        self._digest = "" if isinstance(self.thing, nn.Module) else digest_of(self.thing)

    @property
    def kind(self) -> str:
        """How messages call it."""
        return called(self.thing)

    @property
    def function(self) -> Any:
        """What it is written in."""
        return type(self.thing) if isinstance(self.thing, nn.Module) else self.thing

    def __call__(self, dataset: Dataset) -> nn.Module:
        if isinstance(self.thing, nn.Module):
            return _copied(self.thing)
        made: nn.Module = make("model", self.thing, self.options, {"dataset": dataset})
        if isinstance(made, nn.Module) and self.function in (None, made):
            made = _copied(made)
        return made

    def described(self) -> dict[str, Any]:
        """What a scenario's file says of it."""
        kind = kind_of(self.thing)
        if not kind.startswith(OBJECT):
            return {"kind": kind, **self.options}
        if isinstance(self.thing, nn.Module):
            count = sum(p.numel() for p in self.thing.parameters() if not is_lazy(p))
            return {"kind": kind, "parameters": count, "digest": module_digest(self.thing)}
        return {"kind": kind, **self.options, "digest": self._digest}


def as_part(thing: Any, **options: Any) -> Any:
    """What makes the model, from whatever was given for one; the thing itself where that does.

    Raises ScenarioError, in one sentence that says what to write.
    """
    if isinstance(thing, nn.Module):
        return GivenModel(thing, **options)
    if isinstance(thing, type) and issubclass(thing, nn.Module):
        return GivenModel(thing, **options)
    if is_factory(thing):
        return GivenModel(thing, **options)
    if isinstance(thing, dict) and any(isinstance(value, Tensor) for value in thing.values()):
        raise ScenarioError(
            "is a dictionary of tensors, expected the module itself: write net.load_state_dict("
            "...) first, and then model=net"
        )
    return thing


def module_digest(module: nn.Module) -> str:
    """Digest of a module: its layers with their code and settings, and every value it holds."""
    return digest(str(module), *_layers(module), *_values(module))


def _layers(module: nn.Module) -> Iterator[str]:
    for name, layer in module.named_modules():
        cls = type(layer)
        own = vars(layer).items()
        plain = {key: value for key, value in own if isinstance(value, int | float | str | tuple)}
        foreign = not cls.__module__.startswith("torch.")
        written = (source_digest(cls) or "") if foreign else ""
        yield f"{name} {cls.__module__}.{cls.__qualname__} {written} {sorted(plain.items())}"


def _values(module: nn.Module) -> Iterator[str]:
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if is_lazy(value):
            yield f"{name} lazy"
            continue
        bits = value.detach().cpu().contiguous()
        if bits.is_floating_point() or bits.is_complex():
            bits = bits.double() if not bits.is_complex() else bits
        yield f"{name} {value.requires_grad} {value.dtype} {array_digest(bits.numpy())}"


def _copied(module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module).cpu()
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise PluginError(
            f"cannot be copied ({type(error).__name__}: {reason}): give the function or the class "
            "that makes it, as in model=lambda dataset: Net()"
        ) from error
