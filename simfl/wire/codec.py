"""How tensors travel: the plug point. One codec serves one direction of one device's link.

A codec is a frozen dataclass of options. What it remembers from message to message (error
feedback, predictors) is kept outside, per device, direction and side, and changes hands only
when a message has been delivered: `encode` and `decode` return what to remember and never
alter what they were given.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from simfl.errors import PluginError, WireError, plugin_errors

if TYPE_CHECKING:  # torch is loaded when something is decoded, not when options are validated
    from simfl.params import Layout, Params

Direction = Literal["down", "up"]


@dataclass(frozen=True)
class Wire:
    """One encoded message. Its length is what the link charges (framing is added there)."""

    payload: bytes  #: or a memoryview of what is not going to be altered any more
    delivered: Any = None  #: the sender's memory once the message has been delivered
    lost: Any = None  #: the sender's memory if the message was lost under way
    paper_bits: int | None = None  #: its length as the method's authors count it, if they differ

    @property
    def nbytes(self) -> int:
        return len(self.payload)


@dataclass(frozen=True)
class Codec:
    """Dense float32, the identity: 4 bytes for each element, nothing remembered.

    A NaN or an infinity is never hidden and never refused: what is coded together with it
    decodes as not finite, so that a run that diverges does so under every codec.
    """

    def nbytes(self, layout: Layout) -> int | None:
        """Payload bytes for this layout where they do not depend on the values, else None."""
        return 4 * layout.size

    def encode(self, params: Params, memory: Any, rng: np.random.Generator) -> Wire:
        """params as bytes.

        memory: what this side kept of the last delivered message, or None.
        """
        packed = view_of if type(self) is Codec else dense  # others go on to work with bytes
        return Wire(packed(params.flat.numpy()))

    def decode(self, payload: bytes, layout: Layout, memory: Any) -> tuple[Params, Any]:
        """The inverse on the other side: the params, and the receiver's memory from now on.

        Raises WireError if the payload is not one that `encode` makes for this layout, and
        OutOfStep if it is one, but made for another memory.
        """
        return as_params(undense(payload, layout.size), layout), memory


class StatefulCodec(Codec):
    """A codec whose payload depends on memories or on the random generator, too."""

    @property
    def pure(self) -> bool:
        """True if, with these options, the payload depends on params alone after all."""
        return False

    @property
    def remembers_lost(self) -> bool:
        """True if a lost message changes the sender's memory and must be computed anyway."""
        return False

    @property
    def absolute(self) -> bool:
        """True if an upload means the model that the device ended with, wherever it began.

        Else it means what the device added to the model that it received, which may not have been
        quite the server's: that error then stays at the server.
        """
        return False

    def begin(self, direction: Direction, initial: Params) -> Any:
        """The memory of both sides before the first message. initial: the model at version 0.

        What is encoded downwards is the model, upwards the local model minus the received one.
        """
        return None

    def recall(self, memory: Any, version: int) -> Any:
        """The sender's memory as it stands at this server version; called before `encode`."""
        return memory

    def restart(self, memory: Any) -> Any:
        """The sender's memory after `decode` raised OutOfStep.

        The next message is then sent in full and needs no history.
        """
        return None

    def overhear(self, memory: Any, params: Params) -> Any:
        """The memory, of either side, once a message of the other direction was delivered.

        params: the model it meant, as both sides know it: for an upload, what the device
        received plus the decoded delta.
        """
        return memory


@dataclass(frozen=True)
class Guarded(StatefulCodec):
    """Wraps a codec and turns its exceptions into PluginError, except for OutOfStep."""

    inner: Codec

    def __post_init__(self) -> None:
        for hook in vars(StatefulCodec):
            if not hook.startswith("_") and hasattr(self.inner, hook) and not self._stateful:
                raise PluginError(
                    f"{self.name}.{hook} would never be called: it is a hook of StatefulCodec; "
                    "inherit from simfl.StatefulCodec"
                )

    @property
    def _stateful(self) -> bool:
        return isinstance(self.inner, StatefulCodec)

    @cached_property
    def _memories(self) -> StatefulCodec:
        """The codec as far as memories go; one that has none does nothing."""
        return self.inner if isinstance(self.inner, StatefulCodec) else StatefulCodec()

    @cached_property
    def name(self) -> str:
        """What errors call it."""
        return f"codec {type(self.inner).__name__}"

    @cached_property
    def remembers_lost(self) -> bool:
        return self._memories.remembers_lost

    @cached_property
    def pure(self) -> bool:
        return not self._stateful or self._memories.pure

    @cached_property
    def absolute(self) -> bool:
        return self._memories.absolute

    def begin(self, direction: Direction, initial: Params) -> Any:
        with plugin_errors(f"{self.name}.begin"):
            return self._memories.begin(direction, initial)

    def recall(self, memory: Any, version: int) -> Any:
        with plugin_errors(f"{self.name}.recall"):
            return self._memories.recall(memory, version)

    def restart(self, memory: Any) -> Any:
        with plugin_errors(f"{self.name}.restart"):
            return self._memories.restart(memory)

    def overhear(self, memory: Any, params: Params) -> Any:
        with plugin_errors(f"{self.name}.overhear"):
            return self._memories.overhear(memory, params)

    def nbytes(self, layout: Layout) -> int | None:
        with plugin_errors(f"{self.name}.nbytes"):
            nbytes = self.inner.nbytes(layout)
        if nbytes is not None and not nbytes >= 0:
            raise PluginError(f"{self.name}.nbytes must return a number of bytes, not {nbytes!r}")
        return nbytes

    def encode(self, params: Params, memory: Any, rng: np.random.Generator) -> Wire:
        with plugin_errors(f"{self.name}.encode"):
            wire = self.inner.encode(params, memory, rng)
        if not isinstance(wire, Wire) or not isinstance(wire.payload, bytes | memoryview):
            raise PluginError(f"{self.name}.encode must return a Wire of bytes, not {wire!r}")
        if wire.delivered is not None and not self._stateful:
            raise PluginError(
                f"{self.name}.encode returned a memory, which only a StatefulCodec has: inherit "
                "from simfl.StatefulCodec"
            )
        return wire

    def decode(self, payload: bytes, layout: Layout, memory: Any) -> tuple[Params, Any]:
        with plugin_errors(f"{self.name}.decode"):
            params, memory = self.inner.decode(payload, layout, memory)
            if params.layout != layout:
                raise PluginError("decoded another layout than was encoded")
        return params, memory


def guarded(codec: Codec) -> Guarded:
    """The codec, guarded once. Raises PluginError for hooks that would never be called."""
    return codec if isinstance(codec, Guarded) else Guarded(codec)


def dense(x: np.ndarray) -> bytes:
    """Four little-endian bytes for each element."""
    return x.astype("<f4", copy=False).tobytes()


def view_of(x: np.ndarray) -> bytes:
    """The bytes of `dense`, and not a copy of them where a processor has them in that order."""
    return cast(bytes, np.ascontiguousarray(x, "<f4").view(np.uint8).data)  # a memoryview


def undense(payload: bytes, n: int) -> np.ndarray:
    """(n,) float32, writable: of a `view_of` the same memory, else a copy.

    Raises WireError unless there are exactly 4n bytes.
    """
    if len(payload) != 4 * n:
        raise WireError(f"{n} float32 values need {4 * n} bytes, not {len(payload)}")
    found = np.frombuffer(payload, dtype="<f4")
    return found.astype(np.float32, copy=not found.flags.writeable)


def as_params(flat: np.ndarray, layout: Layout) -> Params:
    """A decoded buffer as Params; takes the array over without a copy."""
    import torch

    from simfl.params import Params

    return Params(torch.from_numpy(flat), layout)
