"""What tasks carry and compute when they learn: joins trainers and codecs for the clock.

A task's base, data, memory and mini-batches are fixed when it is dispatched, so its training may
be done at any moment until its result is needed. Results are computed when the first of them is:
then everything in flight that is bound to arrive is handed to the trainer together, up to
`trainer.width` tasks. What both ends of a link remember changes hands on delivery only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from math import inf, nan
from typing import Any

import numpy as np

from simfl.clock.workload import size_up
from simfl.errors import OutOfStep, PluginError, blaming
from simfl.learn.jobs import Job, Trained, Trainer
from simfl.messages import PHASES, Counter, Task, Update
from simfl.params import Groups, Params, Part
from simfl.strategy.base import Lesson, LocalRule
from simfl.streams import Streams
from simfl.wire.codec import Codec, Wire
from simfl.wire.message import (
    as_part,
    decode_extras,
    encode_extras,
    extras_nbytes,
    pack_part,
    part_layout,
)

Kept = Callable[[int], Mapping[str, Any]]


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


class Learning:
    """The workload of a run that learns.

    metrics(params, kept) gives the values of an evaluation, kept(device) being what the local
    rule keeps there. groups: in which a rule may thin its uploads. tried_flops: (devices,) FLOP
    of trying a model on a device's held-back data. rate(version): local learning rate of a task.
    memory_bytes: that training takes on a device, at least.

    totals: `paper_down_bits` and `paper_up_bits` of the messages delivered so far, where a codec
    states them; every evaluation has them, too. notes: how it is computed, in words.
    """

    def __init__(
        self,
        initial: Params,
        trainer: Trainer,
        metrics: Callable[[Params, Kept], dict[str, float]],
        rule: LocalRule,
        streams: Streams,
        *,
        examples: np.ndarray,
        batch_size: int,
        flops: float,
        down: Codec,
        up: Codec,
        groups: Groups | None = None,
        tried_flops: np.ndarray | None = None,
        notes: Mapping[str, str] | None = None,
        rate: Callable[[int], float] = lambda version: nan,
        memory_bytes: int = 0,
        lesson: Lesson | None = None,
    ) -> None:
        self.initial = initial
        self.lesson = lesson
        self.memory_bytes = memory_bytes
        self.examples = examples
        self.totals: dict[str, float] = {}
        self.notes: Mapping[str, str] = notes or {}
        self.memories: dict[int, Memory] = {}  #: by device, once it has been sent something
        self._metrics = metrics
        self._rule = rule
        self._groups = groups
        self._tried_flops = np.zeros(len(examples)) if tried_flops is None else tried_flops
        self._layout = initial.layout
        self.trainer = trainer
        self._streams = streams
        self._batch_size = batch_size
        self._flops = flops
        self._unused = streams.generator("unused")  # pure codecs draw nothing
        self._rate = rate
        self._down = down
        self._up = up
        self._up_bytes = upload_nbytes(up, rule, initial)
        self._parcels: dict[int, Parcel] = {}
        self._untrained: dict[int, Task] = {}
        self._latest: tuple[int, Wire, Params] | None = None  # of a pure downlink codec

    def evaluate(self, params: Params) -> dict[str, float]:
        """The model's metrics, those of the devices' own models if any, and the totals so far."""
        return self._metrics(params, self.kept) | self.totals

    def close(self) -> None:
        """Ends the processes that train, if there are any."""
        self.trainer.close()

    def kept(self, device: int) -> Mapping[str, Any]:
        """What the local rule keeps on a device."""
        memory = self.memories.get(device)
        return {} if memory is None else memory.rule

    def start(self, task: Task) -> None:
        """Encodes the download, whose bytes are charged, and fills in sizes and work."""
        self._size(task, int(self.examples[task.device]))
        parcel = self._parcels[task.serial] = self._wrap(task)
        self._untrained[task.serial] = task
        task.down_bytes = parcel.down.nbytes + len(parcel.extras)
        task.up_bytes = self._up_bytes

    def shorten(self, task: Task, steps: int) -> None:
        """Training goes on for so many steps only; a result of more is thrown away."""
        task.steps = steps
        self._size(task, task.examples)
        self._parcels[task.serial].trained = None
        self._untrained[task.serial] = task

    def ready(self, task: Task) -> None:
        """Trains and encodes the upload now, since its size depends on what was learnt.

        A device that could not decode the download says so in an empty message.
        """
        if self._encode(task) is None:
            task.up_bytes = 0

    def deliver(self, task: Task, server: Counter) -> Update | None:
        """The update as the server decodes it; both ends remember what was delivered.

        None if one end was out of step with the other, whose next message starts afresh.
        """
        sent, memory = self._encode(task), self._memory_of(task.device)
        self._forget(task)
        if sent is None:
            memory.down_sent = self._down.restart(memory.down_sent)
            return None
        parcel, trained, up = sent
        layout = part_layout(parcel.up_names, self._layout, self._groups)
        try:
            delta, memory.up_kept = self._up.decode(up.payload, layout, memory.up_kept)
        except OutOfStep:
            memory.up_sent = self._up.restart(memory.up_sent)
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
            if self._up.absolute:
                delta = delta + (start - task.base)
        return Update(
            task=task.serial,
            device=task.device,
            version=task.version,
            base=task.base,
            delta=delta,
            extras=decode_extras(parcel.up_extras, self._layout),
            examples=trained.examples,
            steps=trained.steps,
            epochs=trained.epochs,
            loss=trained.loss,
            loss_rms=trained.loss_rms,
            dispatched_s=task.dispatched_s,
            arrived_s=task.ended_s,
            server=server,
            lr=self._rate(task.version),
        )

    def lose(self, task: Task) -> None:
        """A download that got through is remembered; so is a lost upload, by codecs that care."""
        parcel = self._parcels.get(task.serial)
        if parcel is None:
            return  # it never left the server
        phase = PHASES[min(task.phase, 2)]
        if phase != "download":
            self._commit_down(task, parcel)
            if phase == "upload" and self._up.remembers_lost:
                sent = self._encode(task)
                if sent is not None:
                    self._memory_of(task.device).up_sent = sent[2].lost
        self._forget(task)

    def measure(self, update: Update, params: Params) -> tuple[float, float]:
        """(drift, cosine) over what the device sent; (0, 1) if the model has not moved."""
        if not update.staleness:
            return 0.0, 1.0
        moved = params - update.base
        if update.delta.layout != self._layout:
            held = isinstance(update.delta, Part)
            names = update.delta.layout.names
            moved = update.delta.of_same(moved) if held else moved.select(names)
        far, length = moved.norm(), update.delta.norm()
        if not far:
            return 0.0, 1.0
        if not length:
            return inf, 0.0
        return far / length, moved.dot(update.delta) / (far * length)

    def finite(self, params: Params) -> bool:
        """False if any element is NaN or infinite."""
        return bool(params.flat.sum().isfinite()) or bool(params.flat.isfinite().all())

    def _size(self, task: Task, n: int) -> None:
        with blaming(f"local rule {type(self._rule).__name__}"):
            passes = self._rule.passes()
            trials = self._rule.trials(self.kept(task.device))
        size_up(task, n, self._batch_size, self._flops, passes)
        task.flops += trials * float(self._tried_flops[task.device])

    # Download.

    def _count(self, name: str, wire: Wire) -> None:
        if wire.paper_bits is not None:
            self.totals[name] = self.totals.get(name, 0) + wire.paper_bits

    def _wrap(self, task: Task) -> Parcel:
        extras = encode_extras(task.extras, self._layout) if task.extras else b""
        if self._down.pure:
            if self._latest is None or self._latest[0] != task.version:
                wire = self._down.encode(task.base, None, self._unused)
                start, _ = self._down.decode(wire.payload, self._layout, None)
                self._latest = task.version, wire, start
            return Parcel(self._latest[1], extras, start=self._latest[2])
        rng = self._streams.generator("down", task.device, task.index)
        sent = self._down.recall(self._memory_of(task.device).down_sent, task.version)
        return Parcel(self._down.encode(task.base, sent, rng), extras)

    def _open(self, task: Task, parcel: Parcel) -> Params | None:
        """The device decodes what it received, with what it kept; None if it is out of step."""
        if parcel.start is None and not parcel.refused:
            kept = self._memory_of(task.device).down_kept
            payload = parcel.down.payload
            try:
                parcel.start, parcel.down_kept = self._down.decode(payload, self._layout, kept)
            except OutOfStep:
                parcel.refused = True
        return parcel.start

    def _commit_down(self, task: Task, parcel: Parcel) -> None:
        """Both ends come to remember the download, unless the device cannot decode it."""
        model = self._open(task, parcel)
        if parcel.received or model is None:
            return
        parcel.received = True
        memory = self._memory_of(task.device)
        self._count("paper_down_bits", parcel.down)
        if not self._down.pure:
            memory.down_sent, memory.down_kept = parcel.down.delivered, parcel.down_kept
        if not self._up.pure:
            _overhear(self._up, memory, "up_sent", "up_kept", model)

    # Training and upload.

    def _encode(self, task: Task) -> tuple[Parcel, Trained, Wire] | None:
        """Trains if need be, and makes the upload's bytes; None without a model to start from."""
        parcel = self._parcels[task.serial]
        self._commit_down(task, parcel)
        if parcel.refused:
            return None
        trained = parcel.trained or self._train(task)
        if parcel.up is None:
            parcel.up = self._pack(task, parcel, trained)
        return parcel, trained, parcel.up

    def _pack(self, task: Task, parcel: Parcel, trained: Trained) -> Wire:
        delta, extras = trained.report.delta, trained.report.extras
        rng = self._unused
        if not self._up.pure:
            rng = self._streams.generator("up", task.device, task.index)
        sent = self._up.recall(self._memory_of(task.device).up_sent, task.version)
        up = self._up.encode(delta, sent, rng)
        parcel.up_extras = encode_extras(extras, self._layout) if extras else b""
        parcel.up_names = pack_part(delta, self._layout, self._groups)
        nbytes = up.nbytes + len(parcel.up_extras) + len(parcel.up_names)
        if task.up_bytes not in (-1, nbytes):
            raise PluginError(
                f"the upload of task {task.serial} has {nbytes} bytes, not the {task.up_bytes} "
                "that were announced: LocalRule.sends must tell what LocalRule.report sends, "
                "and Codec.nbytes what Codec.encode makes"
            )
        task.up_bytes = nbytes
        return up

    def _train(self, task: Task) -> Trained:
        """Trains the task, together with others that will be needed, as many as fit.

        Of results that wait to be used there are at most `trainer.width`, this one aside.
        """
        others = (t for t in self._untrained.values() if t is not task and not t.doomed)
        waiting = len(self._parcels) - len(self._untrained)
        room = max(1, self.trainer.width - waiting)
        batch = list(islice(self._jobs(chain([task], others)), room))
        results = self.trainer.train([job for _, job in batch])
        for (serial, _), trained in zip(batch, results, strict=True):
            self._parcels[serial].trained = trained
            del self._untrained[serial]
        return results[0]

    def _jobs(self, tasks: Iterable[Task]) -> Iterator[tuple[int, Job]]:
        """By serial, the work of those tasks whose device can read what it was sent."""
        for task in tasks:
            start = self._open(task, self._parcels[task.serial])
            if start is not None:
                yield task.serial, self._job(task, start)

    def _job(self, task: Task, start: Params) -> Job:
        parcel = self._parcels[task.serial]
        return Job(
            base=start,
            device=task.device,
            index=task.index,
            version=task.version,
            steps=task.local_steps,
            extras=decode_extras(parcel.extras, self._layout),
            memory=self._memory_of(task.device).rule,
        )

    def _forget(self, task: Task) -> None:
        del self._parcels[task.serial]
        self._untrained.pop(task.serial, None)

    def _memory_of(self, device: int) -> Memory:
        memory = self.memories.get(device)
        if memory is None:
            memory = self.memories[device] = Memory()
            memory.down_sent = memory.down_kept = self._down.begin("down", self.initial)
            memory.up_sent = memory.up_kept = self._up.begin("up", self.initial)
        return memory


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
