"""Objects as JSON and tensors, and back: what checkpoints are made of. Never pickle.

A snapshot keeps plain values, containers, arrays, tensors and dataclasses; shared objects stay
shared, and cycles are fine. What exists anyway when a run is restored (the fleet, the clock, ...)
is kept by name only. Reading a snapshot fills instances of dataclasses that are already imported,
without their constructors: a file can neither run code nor load any.
"""

from __future__ import annotations

import sys
from array import array
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np

from simfl.errors import InputError, PluginError
from simfl.lazy import torch

Tree = Any
Arrays = dict[str, np.ndarray]

#: What reading damage raises.
_DAMAGE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)

_PLAIN = (type(None), bool, int, float, str)


class Writer:
    """Turns objects into a JSON tree; arrays and bytes are collected beside it.

    known: objects that are kept by name.
    """

    def __init__(self, known: Mapping[str, Any]) -> None:
        self.arrays: Arrays = {}
        self._names = {id(thing): name for name, thing in known.items()}
        self._seen: dict[int, int] = {}
        self._held: list[Any] = []  # keeps identities from being used twice while writing

    def tree(self, value: Any) -> Tree:
        """The value as JSON knows it. Raises PluginError for what no snapshot can hold."""
        if type(value) in _PLAIN:
            return value
        if id(value) in self._names:
            return {"known": self._names[id(value)]}
        if id(value) in self._seen:
            return {"again": self._seen[id(value)]}
        if isinstance(value, np.generic) and type(value.item()) in _PLAIN:
            return value.item()
        self._seen[id(value)] = number = len(self._held)
        self._held.append(value)
        kind, body = self._body(value)
        return {"id": number, "type": kind, "is": body}

    def _body(self, value: Any) -> tuple[str, Tree]:
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return _name(type(value)), [self.tree(item) for item in value]
        if isinstance(value, list | tuple):
            return type(value).__name__, [self.tree(item) for item in value]
        if isinstance(value, deque):
            return "deque", [value.maxlen, [self.tree(item) for item in value]]
        if isinstance(value, set | frozenset):
            return type(value).__name__, [self.tree(item) for item in _in_order(value)]
        if isinstance(value, dict):
            return "dict", [[self.tree(k), self.tree(v)] for k, v in value.items()]
        if isinstance(value, torch.Tensor):
            return "tensor", self._put(_as_array(value))
        if isinstance(value, np.ndarray) and value.dtype.str[1:] in _NUMBERS:
            return "array", self._put(value)
        if isinstance(value, array):
            return f"array.{value.typecode}", self._put(np.array(value))
        if isinstance(value, bytes | memoryview):
            return "bytes", self._put(np.frombuffer(value, np.uint8))
        if is_dataclass(value):
            return _name(type(value)), {
                f.name: self.tree(getattr(value, f.name)) for f in fields(value)
            }
        if hasattr(value, "__snapshot__"):
            names = value.__snapshot__
            return _name(type(value)), {name: self.tree(getattr(value, name)) for name in names}
        raise _strange(type(value).__qualname__)

    def _put(self, values: np.ndarray) -> str:
        key = str(len(self.arrays))
        self.arrays[key] = values
        return key


class Reader:
    """Turns a tree back into objects. Raises InputError where it was damaged."""

    def __init__(self, known: Mapping[str, Any], arrays: Arrays) -> None:
        self._known = known
        self._arrays = arrays
        self._made: dict[int, Any] = {}

    def value(self, tree: Tree) -> Any:
        """What `Writer.tree` was given."""
        if not isinstance(tree, dict):
            return tree
        try:
            if "known" in tree:
                return self._known[tree["known"]]
            if "again" in tree:
                return self._made[tree["again"]]
            return self._build(tree["id"], tree["type"], tree["is"])
        except _DAMAGE as error:
            raise InputError(f"a damaged snapshot: {error!r}") from error

    def _build(self, number: int, kind: str, body: Tree) -> Any:
        if kind in _MAKERS:
            return _MAKERS[kind](self, number, body)
        if kind.startswith("array."):
            values = array(kind.removeprefix("array."), self._arrays[body].tolist())
            return self._keep(number, values)
        return self._instance(number, _class(kind), body)

    def _keep(self, number: int, value: Any) -> Any:
        self._made[number] = value
        return value

    def _list(self, number: int, body: Tree) -> Any:
        made = self._keep(number, [])
        made.extend(self.value(item) for item in body)
        return made

    def _set(self, number: int, body: Tree) -> Any:
        return self._keep(number, {self.value(item) for item in body})

    def _frozenset(self, number: int, body: Tree) -> Any:
        return self._keep(number, frozenset(self.value(item) for item in body))

    def _tuple(self, number: int, body: Tree) -> Any:
        return self._keep(number, tuple([self.value(item) for item in body]))

    def _deque(self, number: int, body: Tree) -> Any:
        made = self._keep(number, deque(maxlen=body[0]))
        made.extend(self.value(item) for item in body[1])
        return made

    def _dict(self, number: int, body: Tree) -> Any:
        made = self._keep(number, {})
        for key, value in body:
            made[self.value(key)] = self.value(value)
        return made

    def _tensor(self, number: int, body: Tree) -> Any:
        return self._keep(number, torch.from_numpy(self._arrays[body]))

    def _array(self, number: int, body: Tree) -> Any:
        return self._keep(number, self._arrays[body])

    def _bytes(self, number: int, body: Tree) -> Any:
        return self._keep(number, self._arrays[body].tobytes())

    def _instance(self, number: int, kind: Any, body: Tree) -> Any:
        if issubclass(kind, tuple):
            return self._keep(number, tuple.__new__(kind, [self.value(item) for item in body]))
        if not body.keys() <= _named_in(kind):
            raise ValueError(f"{kind.__qualname__} has no field of one of the names {sorted(body)}")
        made = self._keep(number, kind.__new__(kind))
        for name, value in body.items():
            object.__setattr__(made, name, self.value(value))
        return made


_MAKERS: dict[str, Callable[[Reader, int, Tree], Any]] = {
    "list": Reader._list,
    "tuple": Reader._tuple,
    "set": Reader._set,
    "frozenset": Reader._frozenset,
    "deque": Reader._deque,
    "dict": Reader._dict,
    "tensor": Reader._tensor,
    "array": Reader._array,
    "bytes": Reader._bytes,
}


def _strange(what: str) -> PluginError:
    return PluginError(
        f"a checkpoint cannot hold a {what}: keep state in numbers, text, lists, dicts, arrays, "
        "tensors, Params and dataclasses"
    )


def _in_order(members: set[Any] | frozenset[Any]) -> list[Any]:
    try:
        return sorted(members)
    except TypeError:
        raise _strange("set whose members have no order") from None


def _as_array(tensor: torch.Tensor) -> np.ndarray:
    try:
        return tensor.detach().cpu().numpy()
    except (TypeError, RuntimeError):  # sparse, quantised, bfloat16
        raise _strange(f"tensor of {tensor.layout}, {tensor.dtype}") from None


#: Types of arrays that safetensors files hold.
_NUMBERS = frozenset(("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"))


def _named_in(kind: Any) -> set[str]:
    """The names under which `Writer` keeps an object of this class."""
    if is_dataclass(kind):
        return {field.name for field in fields(kind)}
    return set(kind.__snapshot__)


def _name(kind: type) -> str:
    """What `_class` finds the class by. Raises PluginError where it would not."""
    if getattr(sys.modules.get(kind.__module__), kind.__qualname__, None) is not kind:
        raise _strange(f"{kind.__qualname__}, a class that is not at the top of a module")
    return f"{kind.__module__}:{kind.__qualname__}"


def _class(name: str) -> type:
    """A class that is already imported and made of fields alone."""
    module, _, attribute = name.partition(":")
    found = getattr(sys.modules[module], attribute)
    plain = isinstance(found, type) and (
        is_dataclass(found) or hasattr(found, "_fields") or hasattr(found, "__snapshot__")
    )
    if not plain:
        raise ValueError(f"{name!r} is not a class that a snapshot may hold")
    return found
