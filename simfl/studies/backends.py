"""Plays cells, here or on other processes; the order of completion changes no result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from simfl.errors import InputError, did_you_mean
from simfl.studies.job import Ended, Job, play

BACKENDS = ("local", "ray")


def play_all(
    jobs: Sequence[Job], workers: int, backend: str = "local", address: str | None = None
) -> Iterator[Ended]:
    """Plays all jobs; tells of each as it ends. A job that fails ends no other.

    address: of a Ray cluster that is running; only for the backend "ray".
    """
    if backend not in BACKENDS:
        raise InputError(f"backend {backend!r} is not known {did_you_mean(backend, BACKENDS)}")
    if address is not None and backend != "ray":
        raise InputError(f"address {address!r} goes with the backend ray, not {backend}")
    if not jobs:
        return
    if backend == "ray":
        from simfl.studies.ray import on_ray

        yield from on_ray(jobs, workers, address)
    else:
        yield from _local(jobs, min(workers, len(jobs)))


def _numbered(number: int, job: Job) -> Ended:
    return number, play(job)


def _local(jobs: Sequence[Job], workers: int) -> Iterator[Ended]:
    """On this machine, one run a process. After a process has died, the rest go one by one."""
    if workers == 1:
        yield from map(_numbered, range(len(jobs)), jobs)
        return
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    left = dict(enumerate(jobs))
    try:
        for number, failure in _in_processes(left, workers):
            del left[number]
            yield number, failure
    except TerminatedWorkerError:
        for number, job in left.items():
            try:
                yield from _in_processes({number: job}, 2)
            except TerminatedWorkerError:
                yield number, "its process died, perhaps for want of memory"


def _in_processes(jobs: dict[int, Job], workers: int) -> Iterator[Ended]:
    from joblib import Parallel, delayed, parallel_config

    with parallel_config("loky", inner_max_num_threads=1):
        pool = Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1)
        yield from pool([delayed(_numbered)(number, job) for number, job in jobs.items()])
