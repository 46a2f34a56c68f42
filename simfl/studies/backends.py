"""Plays runs, here or on other processes; the order of completion changes no result.

Several processes may play one study, on one machine or on many that share its folder: each run is
locked by the process that plays it, and the others go on with the next. A process that has nothing
else to do waits for the runs of the others, and plays those whose process has died.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from simfl.engine.checkpoints.resuming import check_runs
from simfl.engine.footprint import allowed_bytes
from simfl.engine.session import is_held
from simfl.errors import ScenarioError, first_line
from simfl.registry import safe_path
from simfl.results.study import RUNS, finished
from simfl.results.summary import HELD
from simfl.scenario.complain import dotted
from simfl.scenario.naming import named, parts_of
from simfl.studies.combinations import PlannedRun
from simfl.studies.job import Ended, Job, play
from simfl.units import cluster_of

#: Seconds between two looks at runs that other processes play.
LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class Player:
    """Plays runs into a study's folder. The options are those of `simfl.study`.

    say: is given a line where there is something to say beside the end of a run.
    """

    folder: Path
    data_dir: str | Path | None = None
    workers: int = 1
    backend: str = "local"
    address: str | None = None
    wait: bool = True
    say: Callable[[str], None] | None = None

    def unfinished(self, runs: Sequence[PlannedRun]) -> list[PlannedRun]:
        """The runs that are still to be played. Raises InputError if others do not fit any more.

        What finished runs depend on beside their options must be as it was.
        """
        folders = {self.folder / RUNS / run.hash: run for run in runs}
        done = {folder: run.scenario for folder, run in folders.items() if finished(folder)}
        check_runs(done, self.data_dir)
        return [run for folder, run in folders.items() if folder not in done]

    def play(
        self,
        runs: Sequence[PlannedRun],
        failures: dict[str, str],
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """Plays runs, tells of each that ended, and fills in why runs failed, by hash.

        A run that another process plays is waited for, or with `wait = False` left to it, with
        HELD for its failure.
        """
        if self.workers > 1 or self.backend == "ray":
            _check_travels(runs)
        left = list(runs)
        while left:
            jobs, held = [self._job(run) for run in left], []
            for number, failure in play_all(jobs, self.workers, self.backend, self.address):
                if failure == HELD:
                    held.append(left[number])
                    continue
                if failure:
                    failures[left[number].hash] = failure
                if tell is not None:
                    tell(f"{left[number]}" + f": failed, {failure}" * bool(failure))
            if held and not self.wait:
                failures |= {run.hash: HELD for run in held}
                return
            left = self._when_free(held)

    def _when_free(self, held: list[PlannedRun]) -> list[PlannedRun]:
        """Waits until other processes have let go of some of these runs; returns all of them."""
        if held and self.say is not None:
            self.say(f"waiting for {len(held)} runs {HELD}, {held[0]} the first")
        while held and all(is_held(self._folder(run)) for run in held):
            time.sleep(LOOK_EVERY_S)
        return held

    def _folder(self, run: PlannedRun) -> Path:
        return (self.folder / RUNS / run.hash).absolute()

    def _job(self, run: PlannedRun) -> Job:
        where = None if self.data_dir is None else str(Path(self.data_dir).absolute())
        tags = {"study": self.folder.name, "variant": run.variant}
        share = allowed_bytes(self.workers) / 1e9 if self.backend == "local" else None
        table, path = run.scenario.table(), run.scenario.path
        return Job(table, path, self._folder(run), where, tags, share)


def _check_travels(runs: Sequence[PlannedRun]) -> None:
    """Raises ScenarioError for an object that cannot be sent to another process."""
    import cloudpickle

    for run in runs:
        for path, part in parts_of(run.scenario):
            try:
                None if named(part) else cloudpickle.dumps(part)
            except Exception as error:  # whatever an object's own pickling raises
                raise ScenarioError(
                    f"{dotted(path)} cannot be sent to other processes ({type(error).__name__}: "
                    f"{first_line(error)}): play the study with workers = 1, or give a function "
                    "that makes it"
                ) from error


def play_all(
    jobs: Sequence[Job], workers: int, backend: str = "local", address: str | None = None
) -> Iterator[Ended]:
    """Plays all jobs; tells of each as it ends. A job that fails ends no other.

    address: of a Ray cluster that is running; only for the backend "ray".
    """
    on = cluster_of(backend, address)
    if not jobs:
        return
    if on is not None:
        from simfl.studies.ray import on_ray

        yield from on_ray(jobs, workers, on.address)
    else:
        yield from _local(jobs, min(workers, len(jobs)))


def _numbered(number: int, job: Job) -> Ended:
    return number, play(job)


def _reaching(number: int, job: Job, path: Sequence[str]) -> Ended:
    """In a worker, which may be older than what its parent can import by now."""
    sys.path.extend(place for place in path if place not in sys.path)
    return _numbered(number, job)


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

    with safe_path(), parallel_config("loky", inner_max_num_threads=1):
        pool = Parallel(n_jobs=workers, return_as="generator_unordered", batch_size=1)
        calls = [delayed(_reaching)(number, job, sys.path) for number, job in jobs.items()]
        yield from pool(calls)
