"""Flower's own code, brought onto the virtual grid; see `installed.Installed`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from io import BytesIO
from types import ModuleType
from typing import Any

import numpy as np

from simfl.interop.flower import compat
from simfl.interop.flower.classic import Registrar, ask_clients, no_thread
from simfl.interop.flower.compat import Array, ArrayRecord, Grid, GridClientProxy, Message
from simfl.interop.flower.grid import VirtualGrid
from simfl.interop.flower.hooks import Watch
from simfl.interop.flower.messages import RUN_ID, Flower, model_of
from simfl.interop.flower.protocol import EVALUATE, TRAIN, Dialect, Model
from simfl.interop.flower.virtual_time import replaced

LOGGER = logging.getLogger("flwr")


class Bridge:
    """What a run asks of Flower; see `installed.Installed`."""

    clocks: Iterable[ModuleType] = compat.CLOCKS
    dates: Iterable[ModuleType] = compat.DATES

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

        try:
            arrays = [np.load(BytesIO(blob), allow_pickle=False) for blob in model.blobs]
            tensors = [torch.from_numpy(array.astype(np.float32)) for array in arrays]
        except ValueError:
            return None
        return Params.from_named(dict(zip(model.names, tensors, strict=True)))


def flower(version: str) -> Bridge:
    """The Flower of this version, which is the one that is installed."""
    return Bridge(version)


def _array(blob: bytes) -> Any:
    found = np.load(BytesIO(blob), allow_pickle=False)
    return Array(str(found.dtype), tuple(found.shape), "numpy.ndarray", blob)


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
        return [compat.NodeInfo(node_id=node) for node in self._grid.node_ids()]

    def push_messages(self, messages: Iterable[Any]) -> list[str]:
        return self._grid.push(messages)

    def pull_messages(self, message_ids: Iterable[str]) -> list[Any]:
        return self._grid.pull(message_ids)

    def send_and_receive(
        self, messages: Iterable[Any], *, timeout: float | None = None
    ) -> list[Any]:
        return self._grid.send_and_receive(messages, timeout)


@contextmanager
def on_the_grid(grid: VirtualGrid, watch: Watch) -> Iterator[Any]:
    """Flower's own code sends through this grid meanwhile; gives Flower's face of it."""
    face = FlowerGrid(grid, compat.Run.create_empty(RUN_ID))
    if compat.TaskIdentity is not None:
        compat.TaskIdentity.run_id, compat.TaskIdentity.task_id = RUN_ID, 1
        compat.TaskIdentity.node_id = compat.SUPERLINK_NODE_ID

    def register(_: Any, manager: Any) -> Any:
        Registrar(grid, manager, lambda node: _proxy(face, node)).attach()
        return no_thread()

    patches = [
        (*compat.FIT, _classic(grid, "fit", TRAIN)),
        (*compat.EVALUATE, _classic(grid, "evaluate", EVALUATE)),
        *((*where, register) for where in compat.REGISTER),
        (*compat.RUN_CLASSIC, watch.fit(getattr(*compat.RUN_CLASSIC))),
        (*compat.START, watch.start(getattr(*compat.START))),
    ]
    with replaced(patches), watch.listening():
        yield face


def _proxy(face: FlowerGrid, node: int) -> Any:
    return GridClientProxy(node_id=node, grid=face, run_id=RUN_ID)


def _classic(grid: VirtualGrid, verb: str, kind: str) -> Any:
    """`fit_clients` or `evaluate_clients` of Flower's server, as one batch of messages."""
    pack = getattr(compat.recorddict_compat, f"{verb}ins_to_recorddict")
    unpack = getattr(compat.recorddict_compat, f"recorddict_to_{verb}res")

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
            key = id(instruction)
            if key not in packed:
                packed[key] = pack(instruction, keep_input=True)
            return Message(
                packed[key], client.node_id, kind, ttl=timeout, group_id=str(group_id or "")
            )

        return ask_clients(
            grid, client_instructions, timeout, message_of, result_of,
            reply_to=lambda reply: str(reply.metadata.reply_to_message_id),
            name_of=lambda message: str(message.metadata.message_id),
        )  # fmt: skip

    return ask
