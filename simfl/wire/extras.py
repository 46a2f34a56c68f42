"""What travels beside the payload: which part of the model it is, and values by name.

Each value says its own type; tensors are dense in theirs, and Params need no shapes because both
ends know the model's layout.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from simfl.errors import PluginError, WireError
from simfl.messages import Nothing
from simfl.wire.codec import as_params, undense

if TYPE_CHECKING:
    from simfl.params import Groups, Layout, Params, Part

_DTYPES = ("<f4", "<f8", "<i8", "<i4", "<i2", "|i1", "|u1", "|b1", "<f2")
_NUMBERS = {b"b": "?", b"i": "q", b"f": "d"}


def pack_names(part: Layout, whole: Layout) -> bytes:
    """Which names of the model a partial message holds, one bit each; nothing for all of them."""
    if part == whole:
        return b""
    held = set(part.names)
    if not held <= set(whole.names) or part != whole.select(held):
        raise PluginError("a partial message must hold whole tensors of the model, in its order")
    bits = np.array([name in held for name in whole.names], dtype=bool)
    return np.packbits(bits, bitorder="little").tobytes()


def unpack_names(names: bytes, whole: Layout) -> Layout:
    """The layout of a partial message. Raises WireError on a wrong length."""
    if not names:
        return whole
    n = len(whole.names)
    if len(names) != (n + 7) // 8:
        raise WireError(f"{n} names need {(n + 7) // 8} bytes, not {len(names)}")
    held = np.unpackbits(np.frombuffer(names, np.uint8), count=n, bitorder="little")
    return whole.select([name for name, bit in zip(whole.names, held, strict=True) if bit])


def pack_part(params: Params, whole: Layout, groups: Groups | None) -> bytes:
    """What a message holds of the model: one bit for each group, or for each name.

    Where the model has groups, a message is a Part of them or all of the model.
    """
    if groups is None or params.layout == whole:
        return pack_names(params.layout, whole)
    chosen = getattr(params, "chosen", None)
    if chosen is None or chosen.shape != (groups.count,):
        raise PluginError(f"a partial message must be a Part of the model's {groups.count} groups")
    return np.packbits(chosen.numpy(), bitorder="little").tobytes()


def part_layout(bits: bytes, whole: Layout, groups: Groups | None) -> Layout:
    """The layout of a message's tensors. Raises WireError on a wrong length."""
    if groups is None or not bits:
        return unpack_names(bits, whole)
    return as_part(None, bits, groups).layout


def as_part(params: Params | None, bits: bytes, groups: Groups) -> Part:
    """Decoded values as the Part that `pack_part` was given; None: zeros in their places."""
    import torch

    from simfl.params import Part

    if len(bits) != (groups.count + 7) // 8:
        raise WireError(
            f"{groups.count} groups need {(groups.count + 7) // 8} bytes, not {len(bits)}"
        )
    flags = np.unpackbits(np.frombuffer(bits, np.uint8), count=groups.count, bitorder="little")
    chosen = torch.from_numpy(flags.astype(bool))
    part = Part.of(torch.zeros(groups.layout.size), groups, chosen)
    return part if params is None else part.like(params.flat)


def extras_nbytes(extras: Mapping[str, Any], layout: Layout) -> int:
    """`len(encode_extras(extras, layout))`, without copying a tensor.

    What stands for tensors in a run without learning counts as they would.
    """
    return sum(len(piece) for piece in _pieces(extras, layout))


def encode_extras(extras: Mapping[str, Any], layout: Layout) -> bytes:
    """Values by name: Params over the model's layout or a part of it, tensors, arrays, float,
    int, bool, str, bytes and None. Tensors are dense in their own type.

    Raises PluginError for anything else.
    """
    return b"".join(_pieces(extras, layout))


def decode_extras(data: bytes, layout: Layout) -> dict[str, Any]:
    """What `encode_extras` was given. Raises WireError on truncated or corrupt bytes."""
    if not data:  # as in most messages
        return {}
    reader, extras = _Reader(data), {}
    try:
        while reader.at < len(data):
            name = reader.take(reader.number("B")).decode()
            extras[name] = _value(reader, layout)
    except UnicodeDecodeError as error:
        raise WireError(f"extras of {len(data)} bytes hold text that is none: {error}") from error
    return extras


def _pieces(extras: Mapping[str, Any], layout: Layout) -> Iterator[bytes | memoryview]:
    for name, value in extras.items():
        label = name.encode()
        try:
            head, body = _entry(value, layout)
            yield struct.pack("<B", len(label)) + label + head
        except (struct.error, TypeError) as error:
            raise PluginError(f"extra {name!r} cannot travel: {error}") from error
        yield body


def _entry(value: Any, layout: Layout) -> tuple[bytes, bytes | memoryview]:
    """A tag with what precedes the bulk, and the bulk."""
    if isinstance(value, Nothing):
        return _missing_entry(value, layout)
    if hasattr(value, "detach"):
        return _array_entry(b"T", value.detach().cpu().numpy())
    if hasattr(value, "layout"):
        names = pack_names(value.layout, layout)
        return b"P" + struct.pack("<H", len(names)) + names, _raw(value.flat.numpy(), "<f4")
    if isinstance(value, np.ndarray):
        return _array_entry(b"A", value)
    if isinstance(value, str):
        return _entry_of_bytes(b"s", value.encode())
    if isinstance(value, bytes):
        return _entry_of_bytes(b"y", value)
    return _scalar_entry(value), b""


def _missing_entry(value: Nothing, layout: Layout) -> tuple[bytes, memoryview]:
    zeros = np.zeros(layout.size if value.whole else layout.trainable, dtype="<f4")
    if value.whole:
        return b"P" + struct.pack("<H", 0), _raw(zeros, "<f4")
    return _array_entry(b"T", zeros)


def _array_entry(tag: bytes, x: np.ndarray) -> tuple[bytes, memoryview]:
    dtype = x.dtype.newbyteorder("<").str
    if dtype not in _DTYPES:
        raise TypeError(f"an array of {x.dtype}")
    head = struct.pack(f"<BB{x.ndim}I", _DTYPES.index(dtype), x.ndim, *x.shape)
    return tag + head, _raw(x, dtype)


def _raw(x: np.ndarray, dtype: str) -> memoryview:
    return np.ascontiguousarray(x, dtype=dtype).reshape(-1).view(np.uint8).data


def _entry_of_bytes(tag: bytes, body: bytes) -> tuple[bytes, bytes]:
    return tag + struct.pack("<I", len(body)), body


def _scalar_entry(value: Any) -> bytes:
    if value is None:
        return b"n"
    if isinstance(value, bool | np.bool_):
        return b"b" + struct.pack("<?", value)
    if isinstance(value, int | np.integer):
        return b"i" + struct.pack("<q", value)
    if isinstance(value, float | np.floating):
        return b"f" + struct.pack("<d", value)
    raise TypeError(f"a {type(value).__name__}; send Params, tensors, arrays, numbers or text")


class _Reader:
    """A cursor over bytes that says where they end too early."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, n: int) -> bytes:
        self.at += n
        if self.at > len(self.data):
            raise WireError(f"extras of {len(self.data)} bytes end where {self.at} are needed")
        return self.data[self.at - n : self.at]

    def number(self, code: str) -> Any:
        (value,) = struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))
        return value


def _value(reader: _Reader, layout: Layout) -> Any:
    tag = reader.take(1)
    if tag == b"P":
        held = unpack_names(reader.take(reader.number("H")), layout)
        return as_params(undense(reader.take(4 * held.size), held.size), held)
    if tag in (b"T", b"A"):
        return _array(reader, as_tensor=tag == b"T")
    if tag in (b"s", b"y"):
        body = reader.take(reader.number("I"))
        return body if tag == b"y" else body.decode()
    if tag in _NUMBERS:
        return reader.number(_NUMBERS[tag])
    if tag != b"n":
        raise WireError(f"extras hold the unknown tag {tag!r}")
    return None


def _array(reader: _Reader, as_tensor: bool) -> Any:
    code, ndim = reader.number("B"), reader.number("B")
    if code >= len(_DTYPES):
        raise WireError(f"extras hold an array of the unknown type {code}")
    shape = [reader.number("I") for _ in range(ndim)]
    dtype = np.dtype(_DTYPES[code])
    raw = reader.take(math.prod(shape) * dtype.itemsize)
    x = np.frombuffer(raw, dtype=dtype).reshape(shape).astype(dtype.newbyteorder("="))
    if not as_tensor:
        return x
    import torch

    return torch.from_numpy(x)
