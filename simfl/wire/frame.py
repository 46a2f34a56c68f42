"""A whole message as bytes: `FRAME_BYTES` of who, what and how much, then what it carries.

That is the codec's payload, the extras and, if only a part of the model is sent, one bit for each
of its names. Everything is little-endian.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from simfl.errors import WireError
from simfl.messages import FRAME_BYTES

KINDS = ("down", "up", "control")

_MAGIC = b"sfl1"
#: magic, device, task, version, examples, steps, epochs, loss, loss_rms; bytes of payload,
#: extras and names; kind; a spare byte. A checksum of everything else closes the frame.
_FRAME = struct.Struct("<4sIQQQIfffIIHB1x")
_CHECK = struct.Struct("<I")


@dataclass(frozen=True)
class Header:
    """What a frame tells: all that an `Update` knows beside its tensors."""

    kind: str  #: one of KINDS
    device: int
    task: int
    version: int
    examples: int = 0
    steps: int = 0
    epochs: float = 0.0
    loss: float = 0.0
    loss_rms: float = 0.0


@dataclass(frozen=True)
class Message:
    """A header and the three byte strings that follow it."""

    header: Header
    payload: bytes
    extras: bytes = b""
    names: bytes = b""

    @property
    def nbytes(self) -> int:
        """Wire bytes: what the link charges."""
        return FRAME_BYTES + len(self.payload) + len(self.extras) + len(self.names)


def pack_message(message: Message) -> bytes:
    """`message.nbytes` bytes, sealed with a CRC-32."""
    body = message.payload + message.extras + message.names
    frame = _frame(message)
    return frame + _CHECK.pack(zlib.crc32(body, zlib.crc32(frame))) + body


def unpack_message(data: bytes) -> Message:
    """The inverse. Raises WireError if a single bit differs or is missing."""
    if len(data) < FRAME_BYTES or data[:4] != _MAGIC:
        raise WireError(f"{len(data)} bytes that do not begin with a simfl frame")
    cut = _FRAME.size
    (check,) = _CHECK.unpack_from(data, cut)
    if check != zlib.crc32(data[FRAME_BYTES:], zlib.crc32(data[:cut])):
        raise WireError(f"a message of {len(data)} bytes fails its checksum")
    _, device, task, version, examples, steps, *rest = _FRAME.unpack_from(data)
    epochs, loss, loss_rms, payload, extras, names, kind = rest
    a = FRAME_BYTES + payload
    b = a + extras
    if b + names != len(data) or kind >= len(KINDS):
        raise WireError(f"a message of {len(data)} bytes says that it has {b + names}")
    header = Header(KINDS[kind], device, task, version, examples, steps, epochs, loss, loss_rms)
    return Message(header, data[FRAME_BYTES:a], data[a:b], data[b:])


def _frame(message: Message) -> bytes:
    h = message.header
    lengths = len(message.payload), len(message.extras), len(message.names)
    scalars = h.examples, h.steps, h.epochs, h.loss, h.loss_rms
    kind = KINDS.index(h.kind)
    return _FRAME.pack(_MAGIC, h.device, h.task, h.version, *scalars, *lengths, kind)
