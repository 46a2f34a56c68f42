"""Messages between the server and its devices, and what both ends remember of them.

A message is encoded once and kept until the other end has decoded it. Memories change on delivery
only, so a lost message leaves both ends as they were; an end that is out of step says so, and the
next message to it starts afresh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from simfl.errors import OutOfStep, PluginError
from simfl.messages import Task
from simfl.params import Groups, Params
from simfl.strategy.base import LocalRule, Report
from simfl.streams import Streams
from simfl.wire.codec import Codec, Guarded, Wire, guarded
from simfl.wire.extras import (
    as_part,
    decode_extras,
    encode_extras,
    extras_nbytes,
    pack_part,
    part_layout,
)

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class Memory:
    """What is remembered for one device from message to message, on both ends."""

    rule: Mapping[str, Any] = field(default_factory=dict)  #: the local rule's, on the device
    down_sent: Any = None  #: the downlink codec's, on the server
    down_kept: Any = None  #: the downlink codec's, on the device
    up_sent: Any = None  #: the uplink codec's, on the device
    up_kept: Any = None  #: the uplink codec's, on the server
    optimizer: Mapping[str, Any] = field(default_factory=dict)  #: of local training, if it is kept


@dataclass(slots=True)
class Message:
    """What one task carries, encoded: down, and once it has been trained, up."""

    down: Wire
    extras: bytes
    start: Params | None = None  #: the model as the device decoded it
    down_kept: Any = None
    refused: bool = False  #: the device is out of step: it cannot decode the download
    received: bool = False  #: the download was delivered and both ends remember it
    up: Wire | None = None
    up_extras: bytes = b""
    up_names: bytes = b""


class Exchange:
    """Encodes and decodes the messages of all tasks, and keeps the memories of both ends.

    initial: the model at version 0.
    down, up: the codec of each direction.
    groups: in which a local rule may thin its uploads.
    senders: servers that send models of their own; the newest of each is encoded once.

    totals: `paper_down_bits` and `paper_up_bits` of the messages delivered so far, where a codec
        states them.
    memories: by device, once it has been sent something.
    """

    __snapshot__ = ("totals", "memories", "_latest")  #: kept by checkpoints

    def __init__(
        self,
        initial: Params,
        down: Codec,
        up: Codec,
        streams: Streams,
        groups: Groups | None,
        senders: int = 1,
    ) -> None:
        self.totals: dict[str, float] = {}
        self.memories: dict[int, Memory] = {}
        self.up = guarded(up)
        self._down = guarded(down)
        self._initial = initial
        self._layout = initial.layout
        self._groups = groups
        self._streams = streams
        self._unused = streams.generator("unused")  # pure codecs draw nothing
        self._latest: list[tuple[Params, int, Wire, Params]] = []  # of a pure downlink codec
        self._senders = senders

    def memory_of(self, device: int) -> Memory:
        """What is remembered for a device, from the beginning if nothing is yet."""
        memory = self.memories.get(device)
        if memory is None:
            memory = self.memories[device] = Memory()
            memory.down_sent = memory.down_kept = self._down.begin("down", self._initial)
            memory.up_sent = memory.up_kept = self.up.begin("up", self._initial)
        return memory

    # Download.

    def encode_download(self, task: Task) -> int:
        """Gives the task its message; returns the payload bytes of the download."""
        message, nbytes = self._encoded(task)
        task.message = message
        return nbytes + len(message.extras)

    def decode_download(self, task: Task) -> Params | None:
        """The model as the device decodes it with what it kept; None if it is out of step."""
        message: Message = task.message
        if message.start is None and not message.refused:
            kept = self.memory_of(task.device).down_kept
            payload = message.down.payload
            try:
                message.start, message.down_kept = self._down.decode(payload, self._layout, kept)
            except OutOfStep:
                message.refused = True
        return message.start

    def started(self, task: Task) -> list[Tensor]:
        """What the device starts from, where it is known and is not what the server holds."""
        start = task.message.start
        return [] if start is None or start is task.base else [start.flat]

    def extras_of(self, task: Task) -> Mapping[str, Any]:
        """What the device receives beside the model."""
        return decode_extras(task.message.extras, self._layout)

    def confirm_download(self, task: Task) -> bool:
        """Both ends come to remember the download; False if the device cannot decode it."""
        model = self.decode_download(task)
        message: Message = task.message
        if message.received or model is None:
            return model is not None
        message.received = True
        memory = self.memory_of(task.device)
        self._count("paper_down_bits", message.down)
        if not self._down.pure:
            memory.down_sent, memory.down_kept = message.down.delivered, message.down_kept
        if not self.up.pure:
            _overhear(self.up, memory, "up_sent", "up_kept", model)
        return True

    def restart_download(self, device: int) -> None:
        """The next message to the device is sent in full and needs no history."""
        memory = self.memory_of(device)
        memory.down_sent = self._down.restart(memory.down_sent)

    def _encoded(self, task: Task) -> tuple[Message, int]:
        """The message and the bytes of its payload.

        Of a pure codec the payload is decoded here, once for each version, and let go. What decodes
        to the very model that was sent is that model: it is held once, and not once for each end.
        """
        extras = encode_extras(task.extras, self._layout) if task.extras else b""
        if self._down.pure:
            nbytes, wire, start = self._encoded_once(task.base)
            return Message(wire, extras, start=start), nbytes
        rng = self._streams.generator("down", task.device, task.index)
        sent = self._down.recall(self.memory_of(task.device).down_sent, task.version)
        wire = self._down.encode(task.base, sent, rng)
        return Message(wire, extras), wire.nbytes

    def _sent_to_all(self, base: Params) -> tuple[int, Wire, Params]:
        """Bytes, the message without them, and the model that every device decodes."""
        wire = self._down.encode(base, None, self._unused)
        start, _ = self._down.decode(wire.payload, self._layout, None)
        same = start.flat.data_ptr() == base.flat.data_ptr()
        return wire.nbytes, replace(wire, payload=b""), base if same else start

    def _encoded_once(self, base: Params) -> tuple[int, Wire, Params]:
        """What `_sent_to_all` makes of a model; of the newest models it is remembered."""
        for known, nbytes, wire, start in reversed(self._latest):
            if known is base:
                return nbytes, wire, start
        made = self._sent_to_all(base)
        self._latest = [*self._latest, (base, *made)][-self._senders :]
        return made

    # Upload.

    def encode_upload(self, task: Task, report: Report) -> None:
        """Encodes the upload, once; its bytes must be those announced, if any were."""
        message: Message = task.message
        if message.up is not None:
            return
        delta, extras, rng, sent = report.delta, report.extras, self._unused, None
        if not self.up.pure:
            rng = self._streams.generator("up", task.device, task.index)
            sent = self.up.recall(self.memory_of(task.device).up_sent, task.version)
        up = self.up.encode(delta, sent, rng)
        message.up_extras = encode_extras(extras, self._layout) if extras else b""
        message.up_names = pack_part(delta, self._layout, self._groups)
        nbytes = up.nbytes + len(message.up_extras) + len(message.up_names)
        if task.up_bytes not in (-1, nbytes):
            raise PluginError(
                f"the upload of task {task.serial} has {nbytes} bytes, not the {task.up_bytes} "
                "that were announced: LocalRule.sends must tell what LocalRule.report sends, "
                "and Codec.nbytes what Codec.encode makes"
            )
        task.up_bytes, message.up = nbytes, up

    def decode_upload(self, task: Task, report: Report) -> tuple[Params, Mapping[str, Any]] | None:
        """The delta and the extras as the server decodes them; None if it is out of step.

        Both ends come to remember the upload, and the device what its local rule keeps.
        """
        message, memory = task.message, self.memory_of(task.device)
        up: Wire = message.up
        layout = part_layout(message.up_names, self._layout, self._groups)
        try:
            delta, memory.up_kept = self.up.decode(up.payload, layout, memory.up_kept)
        except OutOfStep:
            memory.up_sent = self.up.restart(memory.up_sent)
            return None
        if self._groups is not None and message.up_names:
            delta = as_part(delta, message.up_names, self._groups)
        self._count("paper_up_bits", up)
        memory.up_sent = up.delivered
        memory.rule = report.memory
        start = message.start
        if start is not None and delta.layout == self._layout:
            if not self._down.pure:
                _overhear(self._down, memory, "down_sent", "down_kept", start + delta)
            if self.up.absolute:
                delta = delta + (start - task.base)
        return delta, decode_extras(message.up_extras, self._layout)

    def lose_upload(self, task: Task) -> None:
        """The device comes to remember an upload that did not arrive."""
        self.memory_of(task.device).up_sent = task.message.up.lost

    def _count(self, name: str, wire: Wire) -> None:
        if wire.paper_bits is not None:
            self.totals[name] = self.totals.get(name, 0) + wire.paper_bits


def _overhear(codec: Guarded, memory: Memory, sender: str, receiver: str, model: Params) -> None:
    """Both ends take note of a model that went the other way; what they share stays shared."""
    before, after = getattr(memory, sender), codec.overhear(getattr(memory, sender), model)
    shared = getattr(memory, receiver) is before
    setattr(memory, sender, after)
    kept = after if shared else codec.overhear(getattr(memory, receiver), model)
    setattr(memory, receiver, kept)


def upload_nbytes(up: Codec, rule: LocalRule, params: Params) -> int:
    """Bytes of an upload where they are known before training, else -1."""
    payload, extras = up.nbytes(params.layout), rule.sends(params)
    if payload is None or extras is None:
        return -1
    return payload + extras_nbytes(extras, params.layout)
