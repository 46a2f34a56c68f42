"""What travels between the server and its devices, and what both ends remember of it.

Bytes are made once and kept until they have been decoded on the other side. What an end remembers
changes hands on delivery only, so that a message that was lost leaves both ends as they were; an
end that is out of step says so, and the next message to it starts afresh.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simfl.errors import OutOfStep, PluginError
from simfl.learn.trainers.jobs import Trained
from simfl.messages import Task
from simfl.params import Groups, Params
from simfl.strategy.base import LocalRule
from simfl.streams import Streams
from simfl.wire.codec import Codec, Wire
from simfl.wire.extras import as_part, encode_extras, extras_nbytes, pack_part, part_layout


@dataclass(slots=True)
class Memory:
    """What is remembered for one device from message to message, on both ends."""

    rule: Mapping[str, Any] = field(default_factory=dict)  #: the local rule's, on the device
    down_sent: Any = None  #: the downlink codec's, on the server
    down_kept: Any = None  #: the downlink codec's, on the device
    up_sent: Any = None  #: the uplink codec's, on the device
    up_kept: Any = None  #: the uplink codec's, on the server


@dataclass(slots=True)
class Parcel:
    """One task's contents. Bytes are kept until they have been decoded, results until used."""

    down: Wire
    extras: bytes
    start: Params | None = None  #: the model as the device decoded it
    down_kept: Any = None
    refused: bool = False  #: the device is out of step: it cannot decode the download
    received: bool = False  #: the download was delivered and both ends remember it
    trained: Trained | None = None
    up: Wire | None = None
    up_extras: bytes = b""
    up_names: bytes = b""


class Post:
    """Both directions of every device's link. groups: in which a rule may thin its uploads.

    totals: `paper_down_bits` and `paper_up_bits` of the messages delivered so far, where a codec
    states them. memories: by device, once it has been sent something. parcels: by task, from its
    dispatch to its end.
    """

    def __init__(
        self, initial: Params, down: Codec, up: Codec, streams: Streams, groups: Groups | None
    ) -> None:
        self.totals: dict[str, float] = {}
        self.memories: dict[int, Memory] = {}
        self.parcels: dict[int, Parcel] = {}
        self.up = up
        self._down = down
        self._initial = initial
        self._layout = initial.layout
        self._groups = groups
        self._streams = streams
        self._unused = streams.generator("unused")  # pure codecs draw nothing
        self._latest: tuple[int, Wire, Params] | None = None  # of a pure downlink codec

    def memory_of(self, device: int) -> Memory:
        """What is remembered for a device, from the beginning if nothing is yet."""
        memory = self.memories.get(device)
        if memory is None:
            memory = self.memories[device] = Memory()
            memory.down_sent = memory.down_kept = self._down.begin("down", self._initial)
            memory.up_sent = memory.up_kept = self.up.begin("up", self._initial)
        return memory

    # Download.

    def wrap(self, task: Task) -> Parcel:
        """The download's bytes are made, and the task has a parcel."""
        parcel = self.parcels[task.serial] = self._wrapped(task)
        return parcel

    def open(self, task: Task) -> Params | None:
        """The device decodes what it received, with what it kept; None if it is out of step."""
        parcel = self.parcels[task.serial]
        if parcel.start is None and not parcel.refused:
            kept = self.memory_of(task.device).down_kept
            payload = parcel.down.payload
            try:
                parcel.start, parcel.down_kept = self._down.decode(payload, self._layout, kept)
            except OutOfStep:
                parcel.refused = True
        return parcel.start

    def commit_down(self, task: Task) -> None:
        """Both ends come to remember the download, unless the device cannot decode it."""
        model, parcel = self.open(task), self.parcels[task.serial]
        if parcel.received or model is None:
            return
        parcel.received = True
        memory = self.memory_of(task.device)
        self._count("paper_down_bits", parcel.down)
        if not self._down.pure:
            memory.down_sent, memory.down_kept = parcel.down.delivered, parcel.down_kept
        if not self.up.pure:
            _overhear(self.up, memory, "up_sent", "up_kept", model)

    def restart_down(self, device: int) -> None:
        """The device could not decode the download: the next one suits anybody."""
        memory = self.memory_of(device)
        memory.down_sent = self._down.restart(memory.down_sent)

    def _wrapped(self, task: Task) -> Parcel:
        extras = encode_extras(task.extras, self._layout) if task.extras else b""
        if self._down.pure:
            if self._latest is None or self._latest[0] != task.version:
                wire = self._down.encode(task.base, None, self._unused)
                start, _ = self._down.decode(wire.payload, self._layout, None)
                self._latest = task.version, wire, start
            return Parcel(self._latest[1], extras, start=self._latest[2])
        rng = self._streams.generator("down", task.device, task.index)
        sent = self._down.recall(self.memory_of(task.device).down_sent, task.version)
        return Parcel(self._down.encode(task.base, sent, rng), extras)

    # Upload.

    def pack(self, task: Task, trained: Trained) -> Wire:
        """The upload's bytes are made; their number must be what was announced, if any was."""
        delta, extras = trained.report.delta, trained.report.extras
        parcel, rng = self.parcels[task.serial], self._unused
        if not self.up.pure:
            rng = self._streams.generator("up", task.device, task.index)
        sent = self.up.recall(self.memory_of(task.device).up_sent, task.version)
        up = self.up.encode(delta, sent, rng)
        parcel.up_extras = encode_extras(extras, self._layout) if extras else b""
        parcel.up_names = pack_part(delta, self._layout, self._groups)
        nbytes = up.nbytes + len(parcel.up_extras) + len(parcel.up_names)
        if task.up_bytes not in (-1, nbytes):
            raise PluginError(
                f"the upload of task {task.serial} has {nbytes} bytes, not the {task.up_bytes} "
                "that were announced: LocalRule.sends must tell what LocalRule.report sends, "
                "and Codec.nbytes what Codec.encode makes"
            )
        task.up_bytes, parcel.up = nbytes, up
        return up

    def receive(self, task: Task, parcel: Parcel, trained: Trained, up: Wire) -> Params | None:
        """The delta as the server decodes it, and both ends remember it; None if out of step."""
        memory = self.memory_of(task.device)
        layout = part_layout(parcel.up_names, self._layout, self._groups)
        try:
            delta, memory.up_kept = self.up.decode(up.payload, layout, memory.up_kept)
        except OutOfStep:
            memory.up_sent = self.up.restart(memory.up_sent)
            return None
        if self._groups is not None and parcel.up_names:
            delta = as_part(delta, parcel.up_names, self._groups)
        self._count("paper_up_bits", up)
        memory.up_sent = up.delivered
        memory.rule = trained.report.memory
        start = parcel.start
        if start is not None and delta.layout == self._layout:
            if not self._down.pure:
                _overhear(self._down, memory, "down_sent", "down_kept", start + delta)
            if self.up.absolute:
                delta = delta + (start - task.base)
        return delta

    def _count(self, name: str, wire: Wire) -> None:
        if wire.paper_bits is not None:
            self.totals[name] = self.totals.get(name, 0) + wire.paper_bits


def _overhear(codec: Codec, memory: Memory, sender: str, receiver: str, model: Params) -> None:
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
