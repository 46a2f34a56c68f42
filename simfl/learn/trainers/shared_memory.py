"""Messages between processes whose arrays go through shared memory and not through the pipe.

A message is a pickle (protocol 5) that leaves its arrays out; they lie in the sender's arena, a
block of memory that both processes see. Whatever does not fit there travels in the message.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import torch

from simfl.params import Layout

_LINE = 64  # bytes of a cache line: arrays begin at multiples of it


class SharedMemory:
    """Packs and unpacks messages between processes that know the same layout."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def pack(self, message: Any, arena: memoryview) -> bytes:
        """The message's bytes; its arrays are in the arena until the next one is packed there."""
        body = io.BytesIO()
        parts: list[pickle.PickleBuffer] = []
        _Pickler(body, self._layout, parts).dump(message)
        places: list[tuple[int, int] | bytes] = []
        free = 0
        for part in (buffer.raw() for buffer in parts):
            if free + part.nbytes > arena.nbytes:
                places.append(part.tobytes())
                continue
            arena[free : free + part.nbytes] = part
            places.append((free, part.nbytes))
            free += -(-part.nbytes // _LINE) * _LINE
        return pickle.dumps((places, body.getvalue()))

    def unpack(self, packed: bytes, arena: memoryview, *, copy: bool) -> Any:
        """The message. Without `copy` its arrays last until the arena is written to again."""
        places, body = pickle.loads(packed)
        parts = [_part(place, arena, copy) for place in places]
        return _Unpickler(io.BytesIO(body), self._layout, parts).load()


def _part(place: tuple[int, int] | bytes, arena: memoryview, copy: bool) -> Any:
    if isinstance(place, bytes):
        return bytearray(place)
    start, nbytes = place
    return bytearray(arena[start : start + nbytes]) if copy else arena[start : start + nbytes]


class _Pickler(pickle.Pickler):
    def __init__(self, body: io.BytesIO, layout: Layout, parts: list[pickle.PickleBuffer]) -> None:
        super().__init__(body, protocol=5, buffer_callback=parts.append)
        self._layout = layout

    def persistent_id(self, thing: Any) -> str | None:
        return "layout" if type(thing) is Layout and thing == self._layout else None

    def reducer_override(self, thing: Any) -> Any:
        if type(thing) is torch.Tensor:
            return torch.from_numpy, (thing.detach().cpu().contiguous().numpy(),)
        return NotImplemented


class _Unpickler(pickle.Unpickler):
    def __init__(self, body: io.BytesIO, layout: Layout, parts: list[Any]) -> None:
        super().__init__(body, buffers=parts)
        self._layout = layout

    def persistent_load(self, name: str) -> Layout:
        return self._layout
