"""Length of a protobuf message whose arrays are counted rather than copied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any


def full_bytes(proto: Any, lengths: Iterator[int]) -> int:
    """Length of a message with its arrays' data put back, in the order in which they come."""
    total = int(proto.ByteSize())
    for field, value in proto.ListFields():
        if field.message_type is not None:
            for part in value if isinstance(value, Sequence) else (value,):
                bare, full = int(part.ByteSize()), full_bytes(part, lengths)
                total += _prefixed(full) - _prefixed(bare)
    if proto.DESCRIPTOR.name == "Array":
        total += 1 + _prefixed(next(lengths))  # its tag; an empty field is left out
    return total


def _prefixed(length: int) -> int:
    """Bytes of a part with its length before it, a varint of seven bits a byte."""
    return length + max(1, -(-length.bit_length() // 7))
