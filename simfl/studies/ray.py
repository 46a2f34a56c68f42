"""Plays runs on a Ray cluster: `--backend ray`, and `--address` for one that is running.

A run is a Ray task of one CPU. A task whose node is lost is played again on another, from its
start; since a run depends on nothing but its scenario, that changes no digest. Nothing is shared
between machines but what travels with the task: the scenario and the classes and traces that lie
beside it go there, the run folder comes back. Data sets must be found on every node.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from simfl.engine.session import LOCK, alone
from simfl.errors import HeldError, InputError
from simfl.files import own_folder, put
from simfl.results.summary import HELD
from simfl.results.tables import SUMMARY
from simfl.studies.job import Ended, Job, play

#: How often a run may lose its node before it counts as failed.
RETRIES = 5

Files = dict[str, bytes]


def on_ray(jobs: Sequence[Job], workers: int, address: str | None = None) -> Iterator[Ended]:
    """Plays jobs on the cluster at this address, or on one of this machine's own."""
    ray = _ray()
    ours = not ray.is_initialized()
    if ours:
        ray.init(address=address, log_to_driver=False, include_dashboard=False)
    try:
        yield from _collected(ray, jobs, workers)
    finally:
        if ours:
            ray.shutdown()


def _collected(ray: Any, jobs: Sequence[Job], workers: int) -> Iterator[Ended]:
    """Keeps so many tasks under way, holds their folders, and writes down what each brings."""
    away = ray.remote(num_cpus=1, max_retries=RETRIES)(play_away)
    left = list(enumerate(jobs))[::-1]
    under_way: dict[Any, tuple[int, ExitStack]] = {}
    while left or under_way:
        while left and len(under_way) < workers:
            number, job = left.pop()
            hold = _hold(job.folder)
            if hold is None:
                yield number, HELD
            else:
                under_way[away.remote(job, beside(job))] = number, hold
        if not under_way:
            continue
        (ended,), _ = ray.wait(list(under_way), num_returns=1)
        number, hold = under_way.pop(ended)
        with hold:
            try:
                failure, files = ray.get(ended)
                unpack(files, jobs[number].folder)
            except ray.exceptions.RayError as error:
                failure = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        yield number, failure


def _hold(folder: Path) -> ExitStack | None:
    """Keeps other processes from playing into the folder until it is closed; None if one does."""
    hold = ExitStack()
    try:
        hold.enter_context(alone(folder))
    except HeldError:
        return None
    return hold


def play_away(job: Job, files: Files) -> tuple[str, Files]:
    """Plays a job in a folder of its own; returns why it failed, or "", and the run folder."""
    with tempfile.TemporaryDirectory(prefix="simfl-") as name:
        here = Path(name)
        unpack(files, here)
        there = replace(job, path=here / "scenario.toml", folder=here / "run")
        failure = play(there)
        return failure, packed(there.folder)


def beside(job: Job) -> Files:
    """Device classes and traces that lie beside the job's scenario."""
    from simfl.scenario import parse

    scenario = parse(job.table, path=job.path)
    lying = {"devices": scenario.class_files(), "traces": scenario.trace_files()}
    return {f"{name}/{p.name}": p.read_bytes() for name, files in lying.items() for p in files}


def packed(folder: Path) -> Files:
    """What a folder holds, by relative path; the summary last, for it says that all is there."""
    found = sorted(folder.rglob("*"))
    paths = [path for path in found if path.is_file() and path.name != LOCK]
    paths.sort(key=lambda path: path.name == SUMMARY)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def unpack(files: Files, folder: Path) -> None:
    """The folder holds these files."""
    for name, content in files.items():
        put(own_folder((folder / name).parent) / Path(name).name, content)


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise InputError("backend ray: Ray is not installed; install simfl[ray]") from error
    return ray
