"""How tensors travel: the plug point. One codec serves one direction of one device's link.

A codec is a frozen dataclass of options. What it remembers from message to message (error
feedback, predictors) is kept outside, per device, direction and side, and changes hands only
when a message has been delivered: `encode` and `decode` return what to remember and never
alter what they were given.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simfl.params import Layout, Params


@dataclass(frozen=True)
class Wire:
    """One encoded message. Its length is what the link charges (framing is added there)."""

    payload: bytes
    delivered: Any = None  #: the sender's memory once the message has been delivered
    lost: Any = None  #: the sender's memory if the message was lost under way

    @property
    def nbytes(self) -> int:
        return len(self.payload)


class Codec:
    """Dense float32, the identity: 4 bytes for each element, nothing remembered."""

    #: True if a lost message changes the sender's memory, so that it must be computed anyway.
    remembers_lost = False

    #: True if the payload depends on params alone (no memory, no randomness).
    pure = True

    def nbytes(self, layout: Layout) -> int | None:
        """Payload bytes for this layout where they do not depend on the values, else None."""
        return 4 * layout.size

    def encode(self, params: Params, memory: Any, rng: np.random.Generator) -> Wire:
        """params as bytes. memory: what this side kept of the last delivered message, or None."""
        return Wire(params.flat.numpy().tobytes())

    def decode(self, payload: bytes, layout: Layout, memory: Any) -> tuple[Params, Any]:
        """The inverse on the other side: the params, and the receiver's memory from now on."""
        import torch

        flat = torch.from_numpy(np.frombuffer(payload, dtype="<f4").copy())
        return Params(flat, layout), memory
