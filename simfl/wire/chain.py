"""Codecs in a row: each stage shortens a vector and says beside it how to lengthen it again.

A message is the side bytes of every stage in order, then whatever floats the last one left,
then the model's float buffers (running statistics), which no stage may touch. Both ends know
all lengths from the layout; only side bytes whose length depends on the values carry a
four-byte length of their own.

Error feedback (Seide et al. 2014; Stich et al. 2018, arXiv:1809.07599; Karimireddy et al. 2019,
arXiv:1901.09847): with memory e, what is coded is u = x + e, and e becomes u - decode(u), so that
everything that the whole chain left out is sent later.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from simfl.errors import ScenarioError, WireError
from simfl.wire.codec import Codec, StatefulCodec, Wire, as_params, dense, undense

if TYPE_CHECKING:
    from simfl.params import Layout, Params

#: Lengths of the pieces (tensors, at first) that a vector is made of.
Sizes = tuple[int, ...]
OnLost = Literal["keep", "forget"]

_LENGTH = struct.Struct("<I")


class Stage(StatefulCodec):
    """One link of a chain, and a codec by itself. Write `shrink`, `grow` and the two sizes.

    A stage that offers error feedback redeclares `feedback` and `on_lost` as its options.
    """

    last: bool = False  #: True if no floats are left, so that no stage can follow
    feedback: bool = False
    on_lost: OnLost = "keep"

    @property
    def draws(self) -> bool:
        """True if `shrink` uses the random generator."""
        return False

    def side_nbytes(self, sizes: Sizes) -> int | None:
        """Bytes that `shrink` says beside the floats; None if that depends on the values."""
        raise NotImplementedError

    def left(self, sizes: Sizes) -> Sizes:
        """Sizes of what `shrink` leaves."""
        raise NotImplementedError

    def shrink(
        self, x: np.ndarray, sizes: Sizes, rng: np.random.Generator
    ) -> tuple[bytes, np.ndarray]:
        """x: (sum(sizes),) float32, not to be altered. Returns side bytes and the floats left."""
        raise NotImplementedError

    def grow(self, side: bytes, rest: np.ndarray, sizes: Sizes) -> np.ndarray:
        """(sum(sizes),) float32, the inverse of `shrink`. Raises WireError on corrupt bytes."""
        raise NotImplementedError

    @property
    def remembers_lost(self) -> bool:
        return self.feedback and self.on_lost == "keep"

    @property
    def pure(self) -> bool:
        return not (self.feedback or self.draws)

    def nbytes(self, layout: Layout) -> int | None:
        return Chain((self,)).nbytes(layout)

    def encode(self, params: Params, memory: Any, rng: np.random.Generator) -> Wire:
        return Chain((self,)).encode(params, memory, rng)

    def decode(self, payload: bytes, layout: Layout, memory: Any) -> tuple[Params, Any]:
        return Chain((self,)).decode(payload, layout, memory)


@dataclass(frozen=True)
class Chain(StatefulCodec):
    """Stages applied in order. `Chain(())` is the identity, byte for byte.

    The sender's memory is the residual as Params; one of another layout is forgotten.
    """

    stages: tuple[Stage, ...] = ()

    def __post_init__(self) -> None:
        for stage in self.stages[:-1]:
            if stage.last:
                raise ScenarioError(f"{_name(stage)} leaves no floats: it can only end a chain")
        for stage in self.stages[1:]:
            if stage.feedback:
                raise ScenarioError(
                    f"{_name(stage)} asks for feedback behind another codec; only the first "
                    "codec of a chain has a memory, and it covers all that follow"
                )

    @property
    def remembers_lost(self) -> bool:
        return any(stage.remembers_lost for stage in self.stages)

    @property
    def pure(self) -> bool:
        return all(stage.pure for stage in self.stages)

    def nbytes(self, layout: Layout) -> int | None:
        total, sizes = 0, trained_sizes(layout)
        for stage in self.stages:
            side = stage.side_nbytes(sizes)
            if side is None:
                return None
            total, sizes = total + side, stage.left(sizes)
        return total + 4 * (sum(sizes) + layout.size - layout.trainable)

    @np.errstate(invalid="ignore", over="ignore")  # what is not finite stays so, see Codec
    def encode(self, params: Params, memory: Any, rng: np.random.Generator) -> Wire:
        feedback = bool(self.stages) and self.stages[0].feedback
        if not feedback:
            return Wire(self._pack(params.flat.numpy(), params.layout, rng))
        known = memory is not None and memory.layout == params.layout
        wanted = params.flat.numpy() + memory.flat.numpy() if known else params.flat.numpy()
        payload = self._pack(wanted, params.layout, rng)
        missed = wanted - self._unpack(payload, params.layout)
        keep = self.stages[0].on_lost == "keep"
        lost = _residual(wanted.copy(), params.layout) if keep else memory
        return Wire(payload, delivered=_residual(missed, params.layout), lost=lost)

    @np.errstate(invalid="ignore", over="ignore")
    def decode(self, payload: bytes, layout: Layout, memory: Any) -> tuple[Params, Any]:
        return as_params(self._unpack(payload, layout), layout), memory

    def _pack(self, flat: np.ndarray, layout: Layout, rng: np.random.Generator) -> bytes:
        x, sizes = flat[: layout.trainable], trained_sizes(layout)
        parts = []
        for stage in self.stages:
            side, x = stage.shrink(x, sizes, rng)
            if stage.side_nbytes(sizes) is None:
                parts.append(_LENGTH.pack(len(side)))
            parts.append(side)
            sizes = stage.left(sizes)
        return b"".join([*parts, dense(x), dense(flat[layout.trainable :])])

    def _unpack(self, payload: bytes, layout: Layout) -> np.ndarray:
        sizes, start, path = trained_sizes(layout), 0, []
        for stage in self.stages:
            side, start = _side(payload, start, stage.side_nbytes(sizes))
            path.append((stage, side, sizes))
            sizes = stage.left(sizes)
        buffers = layout.size - layout.trainable
        rest = undense(payload[start:], sum(sizes) + buffers)
        x, raw = rest[: sum(sizes)], rest[sum(sizes) :]
        for stage, side, before in reversed(path):
            x = stage.grow(side, x, before)
        return np.concatenate([x, raw]) if buffers else x


def chain(codecs: Iterable[Codec]) -> Codec:
    """One codec out of a list of them, as a scenario's `wire.up` gives it; dense if it is empty.

    A codec that is not a `Stage` stands alone. Raises ScenarioError.
    """
    links = [codec for codec in codecs if type(codec) is not Codec]
    if len(links) < 2:
        return links[0] if links else Codec()
    stages = []
    for codec in links:
        if not isinstance(codec, Stage):
            raise ScenarioError(f"{_name(codec)} cannot be chained: it must be the only codec")
        stages.append(codec)
    return Chain(tuple(stages))


def trained_sizes(layout: Layout) -> Sizes:
    """Elements of each trainable tensor, in buffer order."""
    slices = layout.slices.values()
    return tuple([s.stop - s.start for s in slices if s.stop <= layout.trainable])


def _side(payload: bytes, start: int, nbytes: int | None) -> tuple[bytes, int]:
    """The side bytes that begin at start, and where they end."""
    if nbytes is None:
        if start + 4 > len(payload):
            raise WireError(f"payload of {len(payload)} bytes ends inside a length")
        (nbytes,) = _LENGTH.unpack_from(payload, start)
        start += 4
    stop = start + nbytes
    if stop > len(payload):
        raise WireError(f"payload of {len(payload)} bytes ends where {stop} are needed")
    return payload[start:stop], stop


def _residual(flat: np.ndarray, layout: Layout) -> Params:
    flat[layout.trainable :] = 0.0  # buffers were sent as they are
    return as_params(flat, layout)


def _name(codec: Codec) -> str:
    return type(codec).__name__
