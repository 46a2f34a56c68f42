"""Everything that simfl imports from Flower, from the oldest release that works to the newest.

Names move between Flower's releases; when one moves again, this is the file to change.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from types import ModuleType
from typing import Any

import numpy as np
from flwr.app import (
    Array,
    ArrayRecord,
    Context,
    Error,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.common.constant import SUPERLINK_NODE_ID, ErrorCode
from flwr.common.serde import message_to_proto
from flwr.server import server as classic_server
from flwr.server.compat import app as classic_app
from flwr.server.compat.grid_client_proxy import GridClientProxy
from flwr.server.workflow import default_workflows
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Strategy, strategy_utils

from simfl.interop.flower.classic import Registrar, ask_clients, no_thread
from simfl.interop.flower.dialect import EXPIRED, GONE, RAISED, Dialect, Model
from simfl.interop.flower.grid import VirtualGrid
from simfl.interop.flower.watch import Watch


def _first(*names: str) -> Any:
    """The first of these "module:attribute" that there is; the newest home of a name leads."""
    for name in names:
        module, _, attribute = name.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError):
            continue
    raise ImportError(f"flwr has none of {', '.join(names)}")


Run = _first("flwr.supercore.run:Run", "flwr.common.typing:Run")
TaskIdentity = None
try:
    TaskIdentity = _first("flwr.supercore.task_identity:TaskIdentity")
except ImportError:  # before 1.37 or so a message did not ask who sends it
    TaskIdentity = None
records = _first("flwr.compat.common:recorddict_compat", "flwr.common:recorddict_compat")
LOGGER = logging.getLogger("flwr")

#: Modules that import functions of the clock, or `now` for the date of a message, by name.
CLOCKS: list[ModuleType] = [strategy_utils]
DATES = [importlib.import_module(Message.__module__)]

RUN_ID = 1

#: Bytes of arrays up to which a message is really serialised in order to know its length.
SMALL = 32_768
_CODES = {
    GONE: ErrorCode.NODE_UNAVAILABLE,
    RAISED: ErrorCode.CLIENT_APP_RAISED_EXCEPTION,
    EXPIRED: ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
}


class Flower:
    """The Flower that is installed, as a Dialect."""

    def __init__(self) -> None:
        self._size: tuple[Any, int] = (None, 0)

    def stamp(self, message: Any, name: str) -> None:
        metadata = message.metadata.__dict__
        metadata["_message_id"] = name
        if not metadata.get("_run_id"):
            metadata["_run_id"] = RUN_ID
        if not metadata.get("_src_node_id"):
            metadata["_src_node_id"] = SUPERLINK_NODE_ID

    def node(self, message: Any) -> int:
        return int(message.metadata.dst_node_id)

    def kind(self, message: Any) -> str:
        return str(message.metadata.message_type)

    def ttl_s(self, message: Any) -> float:
        return float(message.metadata.ttl)

    def copy(self, message: Any) -> Any:
        """Records are copied, arrays are not: nobody writes into their bytes."""
        if not isinstance(message, Message):
            raise TypeError(f"expected a Message, got {type(message).__name__}")
        content = None if message.has_error() else _copy(message.content)
        error = message.error if message.has_error() else None
        return Message(content=content, error=error, metadata=message.metadata)

    def nbytes(self, message: Any) -> int:
        """Equal messages in a row, as a round's are, are measured once."""
        mark = _mark(message)
        if mark != self._size[0]:
            self._size = mark, serialised_bytes(message)
        return self._size[1]

    def tensor_bytes(self, message: Any) -> int:
        return sum(array.numpy().nbytes for array in _arrays(message))

    def model(self, message: Any) -> Model | None:
        """Arrays of several records are told apart by their record's name."""
        found = {k: r for k, r in message.content.items() if isinstance(r, ArrayRecord)}
        if len(found) < 2:
            return model_of(next(iter(found.values()), None))
        named = [(f"{k}.{n}", a.data) for k, r in found.items() for n, a in r.items()]
        return Model(tuple(n for n, _ in named), tuple(data for _, data in named))

    def metrics(self, message: Any) -> Mapping[str, float]:
        """Of metric records, and of the config records in which the classic API sends metrics."""
        if message.has_error():
            return {}
        told = [
            record
            for name, record in message.content.items()
            if isinstance(record, MetricRecord) or name.endswith("res.metrics")
        ]
        pairs = [(name, value) for record in told for name, value in record.items()]
        return {n: v for n, v in pairs if isinstance(v, int | float) and not isinstance(v, bool)}

    def is_error(self, message: Any) -> bool:
        return bool(message.has_error())

    def error(self, message: Any, failure: str, reason: str) -> Any:
        return Message(Error(_CODES[failure], reason), reply_to=message)

    def context(
        self, node: int, partition: int, partitions: int, run_config: Mapping[str, Any]
    ) -> Any:
        told: dict[str, Any] = {}
        if partition >= 0:
            told = {"partition-id": partition, "num-partitions": partitions}
        return Context(RUN_ID, node, told, RecordDict(), dict(run_config))

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
    """Equal for messages of equal length. Arrays are told apart by their bytes' identity."""
    m = message.metadata
    if message.has_error():
        return (message.error.reason, m.message_id, m.reply_to_message_id)
    parts = [
        (name, tuple((k, id(a.data)) for k, a in record.items()))
        if isinstance(record, ArrayRecord)
        else (name, repr(dict(record)))
        for name, record in message.content.items()
    ]
    lengths = [len(m.message_id), len(m.reply_to_message_id), m.dst_node_id.bit_length() // 7]
    return parts, lengths, m.message_type, m.group_id, m.src_node_id.bit_length() // 7


def model_of(arrays: Any) -> Model | None:
    """An ArrayRecord or the classic API's Parameters."""
    if arrays is None:
        return None
    if isinstance(arrays, ArrayRecord):
        return Model(tuple(arrays), tuple(array.data for array in arrays.values()))
    return Model(tuple(str(i) for i in range(len(arrays.tensors))), tuple(arrays.tensors))


class FlowerGrid(Grid):
    """A VirtualGrid as server apps of Flower know it."""

    def __init__(self, grid: VirtualGrid, run: Any) -> None:
        self._grid, self._run = grid, run

    def set_run(self, run: Any) -> None:
        self._run = run

    @property
    def run(self) -> Any:
        return self._run

    def create_message(
        self,
        content: Any,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Any:
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)

    def get_node_ids(self) -> list[int]:
        return self._grid.node_ids()

    def get_nodes(self) -> list[Any]:
        from flwr.proto.node_pb2 import NodeInfo

        return [NodeInfo(node_id=node) for node in self._grid.node_ids()]

    def push_messages(self, messages: Iterable[Any]) -> list[str]:
        return self._grid.push(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Any]:
        return self._grid.pull(message_ids)

    def send_and_receive(
        self, messages: Iterable[Any], *, timeout: float | None = None
    ) -> list[Any]:
        return self._grid.send_and_receive(messages, timeout)


class Bridge:
    """What a run asks of Flower; see `installed.Installed`."""

    clocks: Iterable[ModuleType] = CLOCKS
    dates: Iterable[ModuleType] = DATES

    def __init__(self, version: str) -> None:
        self.version = version
        self.dialect: Dialect = Flower()

    def model_of(self, arrays: Any) -> Model | None:
        return model_of(arrays)

    def answered(self, reply: Any) -> str | None:
        return str(reply.metadata.reply_to_message_id) if isinstance(reply, Message) else None

    def on_the_grid(self, grid: VirtualGrid, watch: Watch) -> AbstractContextManager[Any]:
        return on_the_grid(grid, watch)

    def modules_of(self, server_app: Any) -> list[ModuleType]:
        """The module of its main function, however it was registered."""
        mains = [getattr(server_app, name, None) for name in ("_main", "_server_fn")]
        names = [getattr(main or server_app, "__module__", None) for main in mains]
        return [sys.modules[name] for name in dict.fromkeys(names) if name in sys.modules]

    @contextmanager
    def quiet(self, verbose: bool) -> Iterator[None]:
        before = LOGGER.level
        LOGGER.setLevel(logging.INFO if verbose else max(before, logging.WARNING))
        try:
            yield
        finally:
            LOGGER.setLevel(before)

    def arrays(self, model: Model) -> Any:
        return ArrayRecord(dict(zip(model.names, map(_array, model.blobs), strict=True)))

    def params_of(self, model: Model) -> Any:
        import torch

        from simfl.params import Params

        arrays = [np.load(BytesIO(blob), allow_pickle=False) for blob in model.blobs]
        named = zip(model.names, arrays, strict=True)
        return Params.from_named({name: torch.from_numpy(array) for name, array in named})


def flower(version: str) -> Bridge:
    """The Flower of this version, which is the one that is installed."""
    return Bridge(version)


def _array(blob: bytes) -> Any:
    found = np.load(BytesIO(blob), allow_pickle=False)
    return Array(str(found.dtype), tuple(found.shape), "numpy.ndarray", blob)


@contextmanager
def on_the_grid(grid: VirtualGrid, watch: Watch) -> Iterator[Any]:
    """Flower's own code sends through this grid meanwhile; gives Flower's face of it."""
    face = FlowerGrid(grid, Run.create_empty(RUN_ID))
    if TaskIdentity is not None:
        TaskIdentity.run_id, TaskIdentity.task_id = RUN_ID, 1
        TaskIdentity.node_id = SUPERLINK_NODE_ID

    def register(_: Any, manager: Any) -> Any:
        Registrar(grid, manager, lambda node: _proxy(face, node)).attach()
        return no_thread()

    patches = [
        (classic_server, "fit_clients", _classic(grid, "fit", "train")),
        (classic_server, "evaluate_clients", _classic(grid, "evaluate", "evaluate")),
        (classic_app, "start_update_client_manager_thread", register),
        (default_workflows, "start_update_client_manager_thread", register),
        (classic_app, "run_fl", watch.fit(classic_app.run_fl)),
        (Strategy, "start", watch.start(Strategy.start)),
    ]
    before = [(home, name, getattr(home, name)) for home, name, _ in patches]
    try:
        for home, name, value in patches:
            setattr(home, name, value)
        with watch.listening():
            yield face
    finally:
        for home, name, value in before:
            setattr(home, name, value)


def _proxy(face: FlowerGrid, node: int) -> Any:
    return GridClientProxy(node_id=node, grid=face, run_id=RUN_ID)


def _classic(grid: VirtualGrid, verb: str, kind: str) -> Any:
    """`fit_clients` or `evaluate_clients` of Flower's server, as one batch of messages."""
    pack = getattr(records, f"{verb}ins_to_recorddict")
    unpack = getattr(records, f"recorddict_to_{verb}res")

    def result_of(reply: Any) -> tuple[Any, bool]:
        if reply.has_error():
            raise ValueError(f"the device sent no result: {reply.error.reason}")
        found = unpack(reply.content, keep_input=True) if verb == "fit" else unpack(reply.content)
        return found, found.status.code.value == 0

    def ask(
        client_instructions: Any, max_workers: Any, timeout: float | None, group_id: int
    ) -> Any:
        packed: dict[int, Any] = {}  # one content for all who get the same instruction

        def message_of(client: Any, instruction: Any) -> Any:
            content = packed.setdefault(id(instruction), None) or pack(instruction, keep_input=True)
            packed[id(instruction)] = content
            return Message(content, client.node_id, kind, ttl=timeout, group_id=str(group_id or ""))

        return ask_clients(
            grid, client_instructions, timeout, message_of, result_of,
            reply_to=lambda reply: str(reply.metadata.reply_to_message_id),
            name_of=lambda message: str(message.metadata.message_id),
        )  # fmt: skip

    return ask
