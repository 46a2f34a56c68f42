"""Flower's messages, records and contexts, as a FlowerProtocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any

from simfl.interop.flower.bridge.compat import (
    SUPERLINK_NODE_ID,
    ArrayRecord,
    Context,
    Error,
    ErrorCode,
    Message,
    MetricRecord,
    Parameters,
    RecordDict,
    message_to_proto,
)
from simfl.interop.flower.protocol import EXPIRED, GONE, RAISED, Model
from simfl.interop.flower.virtual_time.clock import date_now

#: Bytes of arrays up to which a message is really serialised in order to know its length.
SMALL = 32_768
_CODES = {
    GONE: ErrorCode.NODE_UNAVAILABLE,
    RAISED: ErrorCode.CLIENT_APP_RAISED_EXCEPTION,
    EXPIRED: ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
}


class Flower:
    """The Flower that is installed, as a FlowerProtocol."""

    def __init__(self) -> None:
        self.run_id = 1
        self._size: tuple[Any, int] = (None, 0)

    def stamp(self, message: Any, name: str) -> None:
        metadata = message.metadata.__dict__
        metadata["_message_id"] = name
        if not metadata.get("_run_id"):
            metadata["_run_id"] = self.run_id
        if not metadata.get("_src_node_id"):
            metadata["_src_node_id"] = SUPERLINK_NODE_ID

    def node(self, message: Any) -> int:
        return int(message.metadata.dst_node_id)

    def kind(self, message: Any) -> str:
        return str(message.metadata.message_type)

    def ttl_s(self, message: Any) -> float:
        return float(message.metadata.ttl)

    def copy(self, message: Any) -> Any:
        """Records are copied; arrays are not, since their bytes cannot be changed."""
        if not isinstance(message, Message):
            raise TypeError(f"expected a Message, got {type(message).__name__}")
        copied = copy(message)  # without the checks of its constructor
        if not message.has_error():
            copied.content = _copy(message.content)
        return copied

    def nbytes(self, message: Any) -> int:
        """Equal messages in a row, as a round's are, are measured once."""
        mark = _mark(message)
        if mark != self._size[0]:
            self._size = mark, serialised_bytes(message)
        return self._size[1]

    def tensor_bytes(self, message: Any) -> int:
        return sum(array.numpy().nbytes for array in _arrays(message))

    def model(self, message: Any) -> Model | None:
        """Arrays of several records differ by their record's name."""
        found = {k: r for k, r in message.content.items() if isinstance(r, ArrayRecord)}
        if len(found) < 2:
            return model_of(next(iter(found.values()), None))
        named = [(f"{k}.{n}", a.data) for k, r in found.items() for n, a in r.items()]
        return Model(tuple(n for n, _ in named), tuple(data for _, data in named))

    def metrics(self, message: Any) -> Mapping[str, float]:
        """Of metric records, and of the config records in which the classic API sends metrics."""
        if message.has_error():
            return {}
        known = [
            record
            for name, record in message.content.items()
            if isinstance(record, MetricRecord) or name.endswith("res.metrics")
        ]
        pairs = [(name, value) for record in known for name, value in record.items()]
        return {n: v for n, v in pairs if isinstance(v, int | float) and not isinstance(v, bool)}

    def date(self, reply: Any, message: Any) -> None:
        sent, mine = message.metadata, reply.metadata.__dict__
        mine["_created_at"] = now_s = date_now().timestamp()
        mine["_ttl"] = sent.ttl - (now_s - sent.created_at)

    def is_error(self, message: Any) -> bool:
        return bool(message.has_error())

    def error(self, message: Any, failure: str, reason: str) -> Any:
        return Message(Error(_CODES[failure], reason), reply_to=message)

    def context(
        self, node: int, partition: int, partitions: int, run_config: Mapping[str, Any]
    ) -> Any:
        known: dict[str, Any] = {}
        if partition >= 0:
            known = {"partition-id": partition, "num-partitions": partitions}
        return Context(self.run_id, node, known, RecordDict(), dict(run_config))

    def copy_context(self, context: Any) -> Any:
        return Context(
            context.run_id,
            context.node_id,
            dict(context.node_config),
            _copy(context.state),
            dict(context.run_config),
        )


def _copy(content: Any) -> Any:
    copied = content.copy()
    for name, record in content.items():
        copied[name] = mine = record.copy()
        if isinstance(record, ArrayRecord):
            continue
        for key, value in record.items():
            if isinstance(value, list):
                mine[key] = value.copy()
    return copied


def _arrays(message: Any) -> list[Any]:
    if message.has_error():
        return []
    found = [record for record in message.content.values() if isinstance(record, ArrayRecord)]
    return [array for record in found for array in record.values()]


def serialised_bytes(message: Any) -> int:
    """Length of the message's protobuf, whose large arrays are counted rather than copied."""
    arrays = _arrays(message)
    if sum(len(array.data) for array in arrays) < SMALL:
        return int(message_to_proto(message).ByteSize())
    lengths = [len(array.data) for array in arrays]
    blobs = [array.data for array in arrays]
    for array in arrays:
        array.data = b""
    try:
        return _full_bytes(message_to_proto(message), iter(lengths))
    finally:
        for array, blob in zip(arrays, blobs, strict=True):
            array.data = blob


def _full_bytes(proto: Any, lengths: Iterator[int]) -> int:
    """Length of a message with its arrays' data put back, in the order in which they come."""
    total = int(proto.ByteSize())
    for field, value in proto.ListFields():
        if field.message_type is not None:
            for part in value if isinstance(value, Sequence) else (value,):
                bare, full = int(part.ByteSize()), _full_bytes(part, lengths)
                total += _prefixed(full) - _prefixed(bare)
    if proto.DESCRIPTOR.name == "Array":
        total += 1 + _prefixed(next(lengths))  # its tag; an empty field is left out
    return total


def _prefixed(length: int) -> int:
    """Bytes of a part with its length before it, a varint of seven bits a byte."""
    return length + max(1, -(-length.bit_length() // 7))


def _mark(message: Any) -> Any:
    """Equal for messages of equal length only."""
    if message.has_error():
        return object()
    m = message.metadata
    parts = [
        (name, [(k, a.dtype, a.shape, a.stype, len(a.data)) for k, a in record.items()])
        if isinstance(record, ArrayRecord)
        else (name, repr(dict(record)))
        for name, record in message.content.items()
    ]
    varints = [(node.bit_length() + 6) // 7 for node in (m.src_node_id, m.dst_node_id)]
    names = len(m.message_id), len(m.reply_to_message_id), m.message_type, m.group_id
    return parts, varints, names, m.ttl > 0.0


def model_of(arrays: Any) -> Model | None:
    """An ArrayRecord or the classic API's Parameters; None for all else."""
    if isinstance(arrays, ArrayRecord):
        return Model(tuple(arrays), tuple(array.data for array in arrays.values()))
    if isinstance(arrays, Parameters):
        return Model(tuple(str(i) for i in range(len(arrays.tensors))), tuple(arrays.tensors))
    return None
