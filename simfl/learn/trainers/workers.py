"""Trainers in processes of their own, on the same data in shared memory.

A worker that dies is replaced and what it was doing is given out again: results depend on their
jobs alone, so nothing shows which worker trained what, or how often it was tried. Workers end
with their run, when it is interrupted, and when their parent is gone.
"""

from __future__ import annotations

import signal
import weakref
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from typing import Any

import torch
from torch import multiprocessing, nn

from simfl.errors import SimflError
from simfl.learn.trainers.jobs import Job, JobResult, LocalData, Trainer, TrainingOptions
from simfl.learn.trainers.local_training import Local
from simfl.learn.trainers.packing import Packed, without_main
from simfl.learn.trainers.shared_memory import SharedMemory
from simfl.messages import local_steps
from simfl.registry import safe_path
from simfl.strategy.base import LocalRule
from simfl.streams import Streams

_TRIES = 3  # workers that may die of the same jobs
_PIECES = 3  # pieces of a call for each worker: few, to batch well; several, to even out
_ARENA_BYTES = 16 * 2**20  # of shared memory each way, at least
_MODELS = 4  # that fit into an arena, at least

_processes = multiprocessing.get_context("spawn")


@dataclass(frozen=True, eq=False)
class WorkerSpec:
    """What a worker makes its trainer from.

    kind: one that `choose` has settled on.
    """

    kind: Any
    model: nn.Module
    data: LocalData
    options: TrainingOptions
    rule: LocalRule
    seed: int
    torch_device: str

    @classmethod
    def of(cls, local: Local, kind: str) -> WorkerSpec:
        """For the same trainer elsewhere. Test data stays behind."""
        whole = local.data.dataset
        data = replace(local.data, dataset=replace(whole, x_test=whole.x[:1], y_test=whole.y[:1]))
        rest = (local.options, local.rule, local.streams.seed, local.torch_device)
        return cls(kind, local.model, data, *rest)

    def local(self) -> Local:
        """What surrounds the jobs' steps, made anew."""
        parts = (self.model, self.data, self.options, self.rule)
        return Local(*parts, Streams(self.seed), self.torch_device)


@dataclass(eq=False)
class _Piece:
    """Some jobs of a call, by position."""

    positions: Sequence[int]
    deaths: int = 0


class _Worker:
    """A process, its pipe and its shared memory. `piece`: the jobs that it works on."""

    def __init__(self, spec: Packed, nbytes: int) -> None:
        self.piece: _Piece | None = None
        self.pipe, theirs = _processes.Pipe()
        arenas = [_processes.RawArray("B", nbytes) for _ in range(2)]
        self.inbox, self.outbox = (memoryview(arena).cast("B") for arena in arenas)
        self.process = _processes.Process(
            target=_serve, args=(theirs, *arenas, spec), daemon=True, name="simfl-worker"
        )
        with safe_path(), without_main():
            self.process.start()
        theirs.close()  # so that the end of the process is the end of the pipe


@dataclass(eq=False)
class _Pool:
    """The processes of one trainer, which outlive neither it nor the interpreter."""

    workers: list[_Worker] = field(default_factory=list)

    def stop(self) -> None:
        """Ends all processes, whatever they are doing."""
        for worker in self.workers:
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join()
            worker.pipe.close()
        self.workers.clear()


class Workers(Trainer):
    """Hands jobs to `count` processes. They end with `close`, or with this object.

    width: jobs it likes to be given at once.
    """

    def __init__(self, local: Local, kind: str, count: int, width: int) -> None:
        self.width = width
        self._count = count
        self._local = local
        self._spec = Packed(WorkerSpec.of(local, kind))
        layout = local.initial.layout
        self._memory = SharedMemory(layout)
        self._arena_bytes = max(_ARENA_BYTES, _MODELS * 4 * layout.size)
        self._pool = _Pool()
        weakref.finalize(self, self._pool.stop)
        self._start_missing()

    def train(self, jobs: Sequence[Job]) -> list[JobResult]:
        """The results in the order of the jobs. Raises SimflError if workers keep dying."""
        try:
            self._start_missing()
            return self._share_out(jobs)
        except BaseException:  # an interrupt as well: its results would not be used
            self.close()
            raise

    def close(self) -> None:
        """Ends the processes. `train` would start others."""
        self._pool.stop()

    def _start_missing(self) -> None:
        workers = self._pool.workers
        while len(workers) < self._count:
            workers.append(_Worker(self._spec, self._arena_bytes))

    def _share_out(self, jobs: Sequence[Job]) -> list[JobResult]:
        left = deque(_Piece(each) for each in pieces_of(jobs, self._local, self._count))
        results: dict[int, JobResult] = {}
        while len(results) < len(jobs):
            for worker in self._pool.workers:
                if worker.piece is None and left:
                    self._send(worker, left.popleft(), jobs)
            busy = {one.pipe: one for one in self._pool.workers if one.piece is not None}
            for pipe in wait(list(busy)):
                self._receive(busy[pipe], results, left)  # type: ignore[index]
        return [results[at] for at in range(len(jobs))]

    def _send(self, worker: _Worker, piece: _Piece, jobs: Sequence[Job]) -> None:
        worker.piece = piece
        packed = self._memory.pack([jobs[at] for at in piece.positions], worker.inbox)
        with suppress(OSError):  # it has died, which `_receive` will find
            worker.pipe.send_bytes(packed)

    def _receive(self, worker: _Worker, results: dict[int, JobResult], left: deque[_Piece]) -> None:
        piece, worker.piece = worker.piece, None
        assert piece is not None
        try:
            answer = self._memory.unpack(worker.pipe.recv_bytes(), worker.outbox, copy=True)
        except (EOFError, OSError):
            self._replace(worker, piece)
            left.appendleft(piece)
            return
        if isinstance(answer, Exception):
            raise answer
        results.update(zip(piece.positions, answer, strict=True))

    def _replace(self, worker: _Worker, piece: _Piece) -> None:
        """Starts another worker in the place of one that has died."""
        worker.process.join()
        worker.pipe.close()
        piece.deaths += 1
        if piece.deaths >= _TRIES:
            raise SimflError(
                f"{_TRIES} worker processes died one after another while training the same "
                f"{len(piece.positions)} task(s), the last with exit code "
                f"{worker.process.exitcode}: perhaps there is not enough memory"
            )
        workers = self._pool.workers
        workers[workers.index(worker)] = _Worker(self._spec, self._arena_bytes)


def pieces_of(jobs: Sequence[Job], local: Local, count: int) -> list[Sequence[int]]:
    """Positions in pieces of like cost: each has as many long jobs as any other.

    count: workers to whom they go.
    """
    sizes, options = local.data.partition.sizes, local.options

    def steps(at: int) -> int:
        job = jobs[at]
        used = options.used(int(sizes[job.device]))
        return local_steps(used, options.batch_size, job.epochs, job.steps)

    order = sorted(range(len(jobs)), key=lambda at: (-steps(at), at))
    pieces = min(len(jobs), _PIECES * count)
    return [order[first::pieces] for first in range(pieces)]


def _serve(pipe: Connection, inbox: Any, outbox: Any, packed: Packed) -> None:
    """The loop of a worker process, until the pipe is closed."""
    from simfl.learn.trainers import choose  # it knows this module

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends its workers
    torch.set_num_threads(1)
    spec: WorkerSpec = packed.value
    local = spec.local()
    trainer = choose(spec.kind, local).trainer
    memory = SharedMemory(local.initial.layout)
    arenas = [memoryview(arena).cast("B") for arena in (inbox, outbox)]
    while True:
        try:
            message = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        jobs = memory.unpack(message, arenas[0], copy=False)
        answer: list[JobResult] | Exception
        try:
            answer = trainer.train(jobs)
        except Exception as error:
            answer = error if isinstance(error, SimflError) else sendable(error)
        pipe.send_bytes(memory.pack(answer, arenas[1]))


def sendable(error: Exception) -> SimflError:
    """An error of any type as one that can be sent."""
    return SimflError(f"training failed in a worker ({type(error).__name__}: {error})")
