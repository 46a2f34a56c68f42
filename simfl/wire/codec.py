"""How tensors travel: the plug point. One codec serves one direction of one device's link.

A codec is a frozen dataclass of options. What it remembers from message to message (error
feedback, predictors) is kept outside, per device, direction and side, and changes hands only
when a message has been delivered: `encode` and `decode` return what to remember and never
alter what they were given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from simfl.errors import WireError

if TYPE_CHECKING:  # torch is loaded when something is decoded, not when options are validated
    from simfl.params import Layout, Params

Direction = Literal["down", "up"]


@dataclass(frozen=True)
class Wire:
    """One encoded message. Its length is what the link charges (framing is added there)."""

    payload: bytes
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

    @property
    def remembers_lost(self) -> bool:
        """True if a lost message changes the sender's memory and must be computed anyway."""
        return False

    @property
    def pure(self) -> bool:
        """True if the payload depends on params alone (no memory, no randomness)."""
        return True

    @property
    def absolute(self) -> bool:
        """True if an upload means the model that the device ended with, wherever it began.

        Else it means what the device added to the model that it received, which may not have been
        quite the server's: that error then stays at the server.
        """
        return False

    def begin(self, direction: Direction, initial: Params) -> Any:
        """What both sides remember before the first message. initial: the model at version 0.

        What is encoded downwards is the model, upwards the local model minus the received one.
        """
        return None

    def recall(self, memory: Any, version: int) -> Any:
        """What the sender's memory is worth at this server version; asked before `encode`."""
        return memory

    def restart(self, memory: Any) -> Any:
        """The sender's memory after `decode` raised OutOfStep: what comes next suits anybody."""
        return None

    def overhear(self, memory: Any, params: Params) -> Any:
        """The memory, of either side, once a message of the other direction was delivered.

        params: the model it meant, as both sides know it: for an upload, what the device
        received plus the decoded delta.
        """
        return memory

    def nbytes(self, layout: Layout) -> int | None:
        """Payload bytes for this layout where they do not depend on the values, else None."""
        return 4 * layout.size

    def encode(self, params: Params, memory: Any, rng: np.random.Generator) -> Wire:
        """params as bytes. memory: what this side kept of the last delivered message, or None."""
        return Wire(dense(params.flat.numpy()))

    def decode(self, payload: bytes, layout: Layout, memory: Any) -> tuple[Params, Any]:
        """The inverse on the other side: the params, and the receiver's memory from now on.

        Raises WireError if the payload is not one that `encode` makes for this layout, and
        OutOfStep if it is one, but made for another memory.
        """
        return as_params(undense(payload, layout.size), layout), memory


def dense(x: np.ndarray) -> bytes:
    """Four little-endian bytes for each element."""
    return x.astype("<f4", copy=False).tobytes()


def undense(payload: bytes, n: int) -> np.ndarray:
    """(n,) float32, writable. Raises WireError unless there are exactly 4n bytes."""
    if len(payload) != 4 * n:
        raise WireError(f"{n} float32 values need {4 * n} bytes, not {len(payload)}")
    return np.frombuffer(payload, dtype="<f4").astype(np.float32)


def as_params(flat: np.ndarray, layout: Layout) -> Params:
    """A decoded buffer as Params; takes the array over without a copy."""
    import torch

    from simfl.params import Params

    return Params(torch.from_numpy(flat), layout)
