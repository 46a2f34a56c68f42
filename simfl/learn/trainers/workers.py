"""Trainers in processes of their own, on the same data in shared memory.

A worker that dies is replaced and what it was doing is given out again: results depend on their
jobs alone, so nothing shows which worker trained what, or how often it was tried. Workers end
with their run, when it is interrupted, and when their parent is gone.
"""

from __future__ import annotations

import signal
import weakref
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import cycle, pairwise
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
import torch
from torch import multiprocessing, nn

from simfl.errors import SimflError
from simfl.learn.trainers.jobs import Job, JobResult, LocalData, Result, Trainer, TrainingOptions
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
_MODELS = 2  # that fit into an arena, at least
_AHEAD = 2  # pieces that a worker has at a time, each with an arena either way

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

    def on_gpu(self, number: int) -> None:
        """The GPU that the worker of this number computes on is the current one."""
        if self.torch_device == "cuda":
            torch.cuda.set_device(number % torch.cuda.device_count())

    def local(self) -> Local:
        """What surrounds the jobs' steps, made anew."""
        parts = (self.model, self.data, self.options, self.rule)
        return Local(*parts, Streams(self.seed), self.torch_device)


@dataclass(eq=False)
class _Piece:
    """Some jobs of a call, and their results once they are there."""

    jobs: Sequence[Job]
    results: list[JobResult] | None = None
    deaths: int = 0


class _Worker:
    """A process, its pipe and its shared memory.

    pieces: that it was sent and has not answered, at most one for each pair of arenas. While it
    works on one, the next waits at its door.
    """

    def __init__(self, spec: Packed, nbytes: int, number: int) -> None:
        self.pieces: deque[_Piece] = deque()
        self.sent = self.answered = 0
        self.pipe, theirs = _processes.Pipe()
        arenas = [_processes.RawArray("B", nbytes) for _ in range(2 * _AHEAD)]
        views = [memoryview(arena).cast("B") for arena in arenas]
        self.inboxes, self.outboxes = views[:_AHEAD], views[_AHEAD:]
        self.process = _processes.Process(
            target=_serve, args=(theirs, arenas, spec, number), daemon=True, name="simfl-worker"
        )
        with safe_path(), without_main():
            self.process.start()
        theirs.close()  # so that the end of the process is the end of the pipe

    def send(self, piece: _Piece, memory: SharedMemory) -> None:
        """Gives it a piece to train."""
        self.pieces.append(piece)
        packed = memory.pack(piece.jobs, self.inboxes[self.sent % _AHEAD])
        self.sent += 1
        with suppress(OSError):  # it has died, which `receive` will find
            self.pipe.send_bytes(packed)

    def receive(self, memory: SharedMemory) -> Any:
        """Its answer to the first of its pieces. Raises EOFError or OSError if it has died."""
        answer = memory.unpack(
            self.pipe.recv_bytes(), self.outboxes[self.answered % _AHEAD], copy=True
        )
        self.answered += 1
        return answer


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
        self._left: deque[_Piece] = deque()
        weakref.finalize(self, self._pool.stop)
        self._start_missing()

    def train(self, jobs: Sequence[Job]) -> list[JobResult]:
        """The results in the order of the jobs. Raises SimflError if workers keep dying."""
        return [result() for result in self.begin(jobs)]

    def begin(self, jobs: Sequence[Job]) -> list[Result]:
        """Sends the jobs out, the first of them first; what comes back is waited for later."""
        pieces = [_Piece(jobs[part]) for part in pieces_of(jobs, self._local, self._count)]
        with self._ending_on_error():
            self._start_missing()
            self._left.extend(pieces)
            self._feed()
        return [partial(self._result, p, at) for p in pieces for at in range(len(p.jobs))]

    def close(self) -> None:
        """Ends the processes. `begin` would start others."""
        self._left.clear()
        self._pool.stop()

    def _result(self, piece: _Piece, at: int) -> JobResult:
        with self._ending_on_error():
            while piece.results is None:
                self._receive()
        return piece.results[at]

    @contextmanager
    def _ending_on_error(self) -> Iterator[None]:
        """An interrupt ends the processes as well: their results would not be used."""
        try:
            yield
        except BaseException:
            self.close()
            raise

    def _start_missing(self) -> None:
        workers = self._pool.workers
        while len(workers) < self._count:
            workers.append(_Worker(self._spec, self._arena_bytes, len(workers)))

    def _feed(self) -> None:
        """Every worker gets something to do, and then something to do after that."""
        for ahead in range(_AHEAD):
            for worker in self._pool.workers:
                if self._left and len(worker.pieces) == ahead:
                    worker.send(self._left.popleft(), self._memory)

    def _receive(self) -> None:
        """Waits for an answer, takes in all that are there, and sends on what is left."""
        busy = {worker.pipe: worker for worker in self._pool.workers if worker.pieces}
        if not busy:
            raise SimflError("training was broken off, and its results are asked for all the same")
        for pipe in wait(list(busy)):
            worker = busy[pipe]  # type: ignore[index]
            try:
                answer = worker.receive(self._memory)
            except (EOFError, OSError):
                self._replace(worker)
                continue
            if isinstance(answer, Exception):
                raise answer
            worker.pieces.popleft().results = answer
        self._feed()

    def _replace(self, worker: _Worker) -> None:
        """Starts another worker in the place of one that has died; its pieces come first."""
        worker.process.join()
        worker.pipe.close()
        piece = worker.pieces[0]
        piece.deaths += 1
        if piece.deaths >= _TRIES:
            raise SimflError(
                f"{_TRIES} worker processes died one after another while training the same "
                f"{len(piece.jobs)} task(s), the last with exit code "
                f"{worker.process.exitcode}: perhaps there is not enough memory"
            )
        self._left.extendleft(reversed(worker.pieces))
        workers = self._pool.workers
        number = workers.index(worker)
        workers[number] = _Worker(self._spec, self._arena_bytes, number)


def pieces_of(jobs: Sequence[Job], local: Local, count: int) -> list[slice]:
    """Runs of jobs of like cost, in their order, which is that in which they are needed.

    count: workers to whom they go.
    """
    sizes, options = local.data.partition.sizes, local.options

    def steps(job: Job) -> int:
        used = options.used(int(sizes[job.device % len(sizes)]))
        return local_steps(used, options.batch_size, job.epochs, job.steps)

    done = np.cumsum([steps(job) for job in jobs])
    pieces = min(len(jobs), _PIECES * count)
    ends = np.searchsorted(done, done[-1:] * np.arange(1, pieces + 1) / pieces) + 1
    starts = [0, *np.unique(ends).tolist()]
    return [slice(first, last) for first, last in pairwise(starts)]


def _serve(pipe: Connection, shared: Sequence[Any], packed: Packed, number: int) -> None:
    """The loop of a worker process, until the pipe is closed."""
    from simfl.learn.trainers import choose  # it knows this module

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends its workers
    torch.set_num_threads(1)
    spec: WorkerSpec = packed.value
    spec.on_gpu(number)
    local = spec.local()
    trainer = choose(spec.kind, local).trainer
    memory = SharedMemory(local.initial.layout)
    arenas = [memoryview(arena).cast("B") for arena in shared]
    for turn in cycle(range(_AHEAD)):
        try:
            message = pipe.recv_bytes()
        except (EOFError, OSError):
            return
        jobs = memory.unpack(message, arenas[turn], copy=False)
        answer: list[JobResult] | Exception
        try:
            answer = trainer.train(jobs)
        except Exception as error:
            answer = error if isinstance(error, SimflError) else sendable(error)
        pipe.send_bytes(memory.pack(answer, arenas[_AHEAD + turn]))


def sendable(error: Exception) -> SimflError:
    """An error of any type as one that can be sent."""
    return SimflError(f"training failed in a worker ({type(error).__name__}: {error})")
