"""Flower's own code, brought onto the virtual grid; see `installed.Installed`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from io import BytesIO
from types import ModuleType
from typing import Any

import numpy as np

from simfl.interop.flower.bridge import compat
from simfl.interop.flower.bridge.classic import Registrar, ask_clients, no_thread
from simfl.interop.flower.bridge.compat import Array, ArrayRecord, Grid, GridClientProxy, Message
from simfl.interop.flower.bridge.messages import Flower, model_of
from simfl.interop.flower.grid import VirtualGrid
from simfl.interop.flower.hooks import Hooks
from simfl.interop.flower.protocol import EVALUATE, TRAIN, FlowerProtocol, Model
from simfl.interop.flower.virtual_time.clock import replaced

LOGGER = logging.getLogger("flwr")


class Bridge:
    """What a run asks of Flower; see `installed.Installed`."""

    dates: Iterable[ModuleType] = compat.DATES

    def __init__(self, version: str) -> None:
        self.version = version
        self.protocol: FlowerProtocol = Flower()

    def model_of(self, arrays: Any) -> Model | None:
        return model_of(arrays)

    def model_from(self, given: Any) -> Model | None:
        if model_of(given) is not None or not isinstance(given, list | tuple | Mapping):
            return model_of(given)
        try:
            return model_of(ArrayRecord(dict(given) if isinstance(given, Mapping) else list(given)))
        except (TypeError, ValueError):
            return None

    def answered(self, reply: Any) -> str | None:
        return str(reply.metadata.reply_to_message_id) if isinstance(reply, Message) else None

    def on_the_grid(self, grid: VirtualGrid, hooks: Hooks) -> AbstractContextManager[Any]:
        return on_the_grid(grid, hooks, self.protocol.run_id)

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
def on_the_grid(grid: VirtualGrid, hooks: Hooks, run_id: int) -> Iterator[Any]:
    """Flower's own code sends through this grid meanwhile; gives Flower's face of it."""
    face = FlowerGrid(grid, compat.Run.create_empty(run_id))

    def register(_: Any, manager: Any) -> Any:
        proxy = partial(GridClientProxy, grid=face, run_id=run_id)
        Registrar(grid, manager, lambda node: proxy(node_id=node)).attach()
        return no_thread()

    patches = [
        (*compat.FIT, _classic(grid, "fit", TRAIN)),
        (*compat.EVALUATE, _classic(grid, "evaluate", EVALUATE)),
        *((*where, register) for where in compat.REGISTER),
        *_everywhere(compat.sample_nodes, partial(_sample_nodes, grid)),
        *_identity(run_id),
    ]
    with replaced(patches), hooks.listening(compat.STRATEGIES, compat.SERVERS):
        yield face


def _identity(run_id: int) -> list[tuple[Any, str, Any]]:
    """Who messages are from, for releases that ask."""
    wanted = {"_run_id": run_id, "_task_id": 1, "_node_id": compat.SUPERLINK_NODE_ID}
    asked = compat.TaskIdentity
    return [(asked, name, value) for name, value in wanted.items() if hasattr(asked, name)]


def _everywhere(function: Any, stand_in: Any) -> list[tuple[Any, str, Any]]:
    """Patches of a function of Flower's in all modules that have it by name."""
    flowers = [m for name, m in list(sys.modules.items()) if name.startswith("flwr.")]
    return [
        (module, name, stand_in)
        for module in flowers
        for name, value in vars(module).items()
        if value is function
    ]


def _sample_nodes(grid: VirtualGrid, face: Any, min_available_nodes: int, sample_size: int) -> Any:
    """Flower's, which waits until so many nodes are there."""
    grid.need(min_available_nodes)
    return compat.sample_nodes(face, min_available_nodes, sample_size)


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
