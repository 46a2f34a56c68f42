"""Training on a Ray cluster: `simfl run --backend ray`.

A call's jobs go out in pieces, each a Ray task: Ray decides where they run, and runs those of a
lost node again elsewhere. What trainers are made from, and each version of the model, is put into
Ray's object store once; a node fetches it once, and a process keeps its trainer. Results depend on
jobs alone, so nothing shows where they came from.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from simfl.errors import InputError, SimflError
from simfl.learn.trainers.jobs import Job, JobResult, Trainer
from simfl.learn.trainers.local_training import Local
from simfl.learn.trainers.packing import Packed
from simfl.learn.trainers.workers import WorkerSpec, pieces_of, sendable
from simfl.params import Params

#: How often a piece may lose its node, or its process, before the run fails.
RETRIES = 5

#: Versions whose place in the object store is remembered; others are put there again.
_VERSIONS = 1000


class OnRay(Trainer):
    """Hands jobs to `count` Ray tasks at a time, on the cluster at `address` or one of its own.

    width: jobs it likes to be given at once.
    """

    def __init__(
        self, local: Local, kind: str, count: int, width: int, address: str | None = None
    ) -> None:
        self.width, self._count, self._local = width, count, local
        self._ray = _ray()
        self._ours = not self._ray.is_initialized()
        if self._ours:
            self._ray.init(address=address, log_to_driver=False, include_dashboard=False)
        self._spec = self._ray.put(Packed(WorkerSpec.of(local, kind)))
        self._away = self._ray.remote(max_retries=RETRIES, **self._resources())(train_away)
        self._versions: OrderedDict[int, tuple[Params, Any]] = OrderedDict()

    def train(self, jobs: Sequence[Job]) -> list[JobResult]:
        """The results in the order of the jobs. Raises SimflError if nodes keep being lost."""
        left = pieces_of(jobs, self._local, self._count)[::-1]
        under_way: dict[Any, slice] = {}
        results: dict[int, JobResult] = {}
        while left or under_way:
            while left and len(under_way) < self._count:
                piece = left.pop()
                under_way[self._send(jobs[piece])] = piece
            (ended,), _ = self._ray.wait(list(under_way), num_returns=1)
            places = range(len(jobs))[under_way.pop(ended)]
            results.update(zip(places, self._answer(ended), strict=True))
        return [results[at] for at in range(len(jobs))]

    def close(self) -> None:
        """Leaves the cluster, and ends it where it was started here."""
        self._versions.clear()
        if self._ours and self._ray.is_initialized():
            self._ray.shutdown()

    def _send(self, jobs: Sequence[Job]) -> Any:
        """Starts a task. Each version travels as a place in the object store."""
        places = [self._place(job.base) for job in jobs]
        bare = [replace(job, base=None) for job in jobs]  # type: ignore[arg-type]
        return self._away.remote([self._spec], bare, *places)

    def _place(self, base: Params) -> Any:
        """Where the object store has these parameters."""
        known = self._versions.get(id(base))
        if known is None:
            known = self._versions[id(base)] = (base, self._ray.put(base))
            if len(self._versions) > _VERSIONS:
                self._versions.popitem(last=False)
        return known[1]

    def _answer(self, ended: Any) -> list[JobResult]:
        try:
            answer: list[JobResult] | SimflError = self._ray.get(ended)
        except self._ray.exceptions.RayError as error:
            reason = str(error).strip().partition("\n")[0]
            raise SimflError(
                f"training on Ray failed ({type(error).__name__}: {reason}); {RETRIES} times in a "
                "row nodes or processes were lost that trained the same tasks, or the cluster is "
                "gone"
            ) from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _resources(self) -> dict[str, float]:
        """What a task takes: a CPU, or on GPUs an equal share of all of them."""
        if self._local.torch_device == "cpu":
            return {"num_cpus": 1}
        gpus = float(self._ray.cluster_resources().get("GPU", 0.0))
        return {"num_cpus": 1, "num_gpus": min(1.0, gpus / self._count)}


#: In a process of the cluster: its trainer, by the place of what it was made from.
_trainers: dict[Any, Trainer] = {}


def train_away(spec: list[Any], jobs: Sequence[Job], *bases: Params) -> Any:
    """Trains jobs in a process of the cluster; gives results, or an error that can be sent.

    spec: the place of a WorkerSpec, in a list, so that it is only fetched where it is needed.
    bases: of the jobs.
    """
    try:
        if spec[0] not in _trainers:
            _trainers.clear()
            _trainers[spec[0]] = _made(spec[0])
        whole = [replace(job, base=base) for job, base in zip(jobs, bases, strict=True)]
        return _trainers[spec[0]].train(whole)
    except Exception as error:
        return error if isinstance(error, SimflError) else sendable(error)


def _made(place: Any) -> Trainer:
    from simfl.learn.trainers import choose  # it knows this module

    torch.set_num_threads(1)
    spec: WorkerSpec = _ray().get(place).value
    return choose(spec.kind, spec.local()).trainer


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError("backend ray: Ray is not installed; install simfl[ray]") from error
    return ray
