"""A codec that is watched: what it raises, or returns out of place, is told under its own name."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from simfl.errors import PluginError, blaming
from simfl.wire.codec import Codec, Direction, Wire

if TYPE_CHECKING:
    from simfl.params import Layout, Params


@dataclass(frozen=True)
class Guarded(Codec):
    """The codec `inner`; every error of it is a PluginError that names it, but for OutOfStep."""

    inner: Codec

    @cached_property
    def name(self) -> str:
        return f"codec {type(self.inner).__name__}"

    @cached_property
    def remembers_lost(self) -> bool:
        return self.inner.remembers_lost

    @cached_property
    def pure(self) -> bool:
        return self.inner.pure

    @cached_property
    def absolute(self) -> bool:
        return self.inner.absolute

    def begin(self, direction: Direction, initial: Params) -> Any:
        with blaming(f"{self.name}.begin"):
            return self.inner.begin(direction, initial)

    def recall(self, memory: Any, version: int) -> Any:
        with blaming(f"{self.name}.recall"):
            return self.inner.recall(memory, version)

    def restart(self, memory: Any) -> Any:
        with blaming(f"{self.name}.restart"):
            return self.inner.restart(memory)

    def overhear(self, memory: Any, params: Params) -> Any:
        with blaming(f"{self.name}.overhear"):
            return self.inner.overhear(memory, params)

    def nbytes(self, layout: Layout) -> int | None:
        with blaming(f"{self.name}.nbytes"):
            nbytes = self.inner.nbytes(layout)
        if nbytes is not None and not nbytes >= 0:
            raise PluginError(f"{self.name}.nbytes must return a number of bytes, not {nbytes!r}")
        return nbytes

    def encode(self, params: Params, memory: Any, rng: np.random.Generator) -> Wire:
        with blaming(f"{self.name}.encode"):
            wire = self.inner.encode(params, memory, rng)
        if not isinstance(wire, Wire) or not isinstance(wire.payload, bytes):
            raise PluginError(f"{self.name}.encode must return a Wire of bytes, not {wire!r}")
        return wire

    def decode(self, payload: bytes, layout: Layout, memory: Any) -> tuple[Params, Any]:
        with blaming(f"{self.name}.decode"):
            params, memory = self.inner.decode(payload, layout, memory)
            if params.layout != layout:
                raise PluginError("decoded another layout than was encoded")
        return params, memory
