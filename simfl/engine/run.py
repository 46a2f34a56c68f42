"""`simfl.run`: plays one scenario and gives its Result.

result = simfl.run("quickstart", **{"strategy.buffer": 20}, seed=3, out="runs/b20")
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simfl import notebook
from simfl.callbacks import RunInfo, Watchers
from simfl.clock.kernel import Kernel, Plan
from simfl.clock.workload import Workload
from simfl.engine import identity, record, session
from simfl.engine.build import fleet_of, plan_of, workload_of
from simfl.engine.checkpoints import checkpoint, resuming, saving
from simfl.engine.loading import problem_of
from simfl.engine.overrides import resolve, single, with_objects, with_processes
from simfl.engine.playing import Progress, one_thread, play
from simfl.errors import Diverged, Stalled
from simfl.fleet.memory import fitting
from simfl.results.result import Result
from simfl.results.store import Store
from simfl.results.summary import NO_RESULT, summary_of
from simfl.scenario import Scenario
from simfl.streams import Streams
from simfl.units import Cluster, cluster_of, counted, several
from simfl.world.base import is_machine


def run(
    scenario: Scenario | Mapping[str, Any] | str | Path,
    out: str | Path | None = None,
    *,
    model: Any = None,
    dataset: Any = None,
    train: Any = None,
    evaluate: Any = None,
    seed: int | None = None,
    timing: bool = False,
    workers: int = 1,
    backend: str = "local",
    address: str | None = None,
    memory_gb: float | None = None,
    resume: bool = False,
    data_dir: str | Path | None = None,
    progress: Progress | bool | None = None,
    callbacks: Iterable[Any] = (),
    processes: Iterable[Any] = (),
    tags: Mapping[str, str] | None = None,
    **overrides: Any,
) -> Result:
    """Plays a scenario once. Raises InputError, Stalled, Diverged, PluginError.

    scenario: its file, the name of a shipped one, a table, or what `load` gave.
    out: the run folder; without one the results live as long as the Result.
    model, dataset: in the place of those of [learning]: an nn.Module, its class, or a function of
        the data set that makes one; what `simfl.as_dataset` takes, or a function that gives it; or
        what a scenario's file says.
    train, evaluate: functions in the place of simfl's own loop and evaluation, see
        `simfl.learn.loops.base`; `evaluate` may also be the table of [evaluate].
    seed: in the place of the scenario's.
    timing: the same clock without learning.
    workers: processes that train; results do not depend on it.
    backend: where they are: "local", or "ray" for the cluster at `address`, by default one of this
        machine's own.
    memory_gb: that the run may fill, in GB, before models that wait are moved to disk, into the run
        folder; by default half of the machine's. Results do not depend on it.
    resume: go on from the newest checkpoint in `out`, if there is one, to the digest of an unbroken
        run; a run that has ended is not played again, and a folder of any other run is refused.
    data_dir: folder of data sets.
    progress: shows the run live; by default a bar in a notebook and nothing elsewhere; False:
        nothing.
    callbacks: where evaluations go beside the tables, after those of the scenario; see
        `simfl.callbacks`.
    processes: what changes the world while the run lives, after those of the scenario; see
        `simfl.world`.
    tags: of the run, for callbacks, beside its seed.
    overrides: options by key path, as in `**{"strategy.buffer": 20}`.
    """
    own = with_objects(overrides, model, dataset, train, evaluate)
    whole = single(resolve(scenario, with_processes(own, scenario, processes), seed))
    folder, workers = None if out is None else Path(out), counted("workers", workers)
    with _held(folder, resume):
        mine = _prepared(whole, folder, data_dir, timing, workers, cluster_of(backend, address))
        mine.memory_gb = memory_gb
        if resume and mine.look_for_saved():
            return mine.finished()
        shown = notebook.run_bar() if progress is None or progress is True else progress or None
        return mine.play(shown, [*whole.callbacks, *several("callbacks", callbacks)], tags or {})


@dataclass
class _Run:
    """One run on its way from a scenario to a folder.

    scenario: as it was given, with "auto" in it.
    settled: with what this machine chose.
    known: what the run depends on.
    plan: how it is played.
    saved: the checkpoint that it goes on from.
    """

    scenario: Scenario
    settled: Scenario
    folder: Path | None
    streams: Streams
    workload: Workload
    known: identity.Identity
    plan: Plan
    timing: bool
    workers: int
    memory_gb: float | None = None
    saved: saving.Saved | None = None

    def look_for_saved(self) -> bool:
        """Whether the run has ended in its folder; else its checkpoint is taken, if there is one.

        Raises InputError if the folder holds another run.
        """
        if self.folder is None:
            return False
        with _closing_on_error(self.workload):
            done = resuming.finished(self.folder)
            self.saved = None if done else saving.found(self.folder)
            resuming.check(self.folder, self.known, self.scenario, self.timing, self.saved)
            resuming.warn_of_generators(self.folder, self.scenario, self.saved, done)
        return done

    def finished(self) -> Result:
        """The run that its folder holds. Raises what ended it without a result."""
        assert self.folder is not None
        self.workload.close()
        with suppress(OSError):
            record.tidy(self.folder)
        _raise_again(summary_of(self.folder))
        return Result(self.folder)

    def play(
        self, progress: Progress | None, callbacks: list[Any], tags: Mapping[str, str]
    ) -> Result:
        """Plays it, from the start or from its checkpoint."""
        whole, saved = self.scenario, self.saved
        fleet = fitting(
            fleet_of(whole, self.streams), self.workload.memory_bytes, whole.fleet.memory
        )
        store = Store(self.folder, at=None if saved is None else saved[0]["rows"])
        overflow = getattr(self.workload, "overflow", None)
        if overflow is not None:
            overflow.begin(store.folder, self.memory_gb)
        update = None if progress is None else progress.update
        kernel = Kernel(
            fleet, self.workload, whole.strategy, self.streams, self.plan, store.append, update,
            whole.process,
        )  # fmt: skip
        watchers = Watchers(callbacks, self._info(tags))
        if watchers:
            kernel.evaluations.evaluated = watchers.evaluation
        with one_thread(self.timing):
            try:
                play(kernel, lambda: self._run(kernel, store), store, self.settled, progress)
            finally:
                watchers.close(summary_of(store.folder))
        return Result(store.folder, store if self.folder is None else None)

    def _run(self, kernel: Kernel, store: Store) -> None:
        if self.saved is None:
            record.begin(self.settled, store, kernel.server.fleet, self.workers, self.known)
            record.warn_if_lost(self.settled, self.folder)
        else:
            self._go_on(kernel, store, self.saved)
        if self.folder is not None and all(map(is_machine, self.scenario.process)):
            kernel.driver.save = session.saver(kernel, store, self.scenario, self.timing)
        kernel.run()

    def _go_on(self, kernel: Kernel, store: Store, saved: saving.Saved) -> None:
        """Brings the kernel to where its checkpoint was written."""
        saving.restore(kernel, *saved)
        checkpoint.drop_newer(store.folder, saved[0]["checkpoint"])
        identity.write(store.folder, self.known)
        session.add_to_environment(store.folder, self.workers, saved[0]["now_s"])

    def _info(self, tags: Mapping[str, str]) -> RunInfo:
        labels = {**tags, "seed": str(self.scenario.seed)}
        resolved, again = self.settled.resolved(), self.saved is not None
        return RunInfo(self.scenario.name, self.folder, resolved, labels, again)


def _prepared(
    scenario: Scenario,
    folder: Path | None,
    data_dir: str | Path | None,
    timing: bool,
    workers: int,
    on: Cluster | None,
) -> _Run:
    """The run with its problem loaded, before anything is read from or written to its folder."""
    streams = Streams(scenario.seed)
    problem = problem_of(scenario, streams, None if data_dir is None else Path(data_dir))
    workload = workload_of(scenario, problem, streams, timing=timing, workers=workers, on=on)
    settled = scenario.settled(workload.choices)
    known = identity.identity_of(settled, timing, problem)
    plan = plan_of(scenario, problem)
    return _Run(scenario, settled, folder, streams, workload, known, plan, timing, workers)


def _held(folder: Path | None, resume: bool) -> AbstractContextManager[None]:
    """The folder's lock; a finished run in a read-only folder is read without one."""
    read_only = folder is not None and folder.is_dir() and not os.access(folder, os.W_OK)
    if resume and folder is not None and read_only and resuming.finished(folder):
        return nullcontext()
    return session.alone(folder)


@contextmanager
def _closing_on_error(workload: Workload) -> Iterator[None]:
    """Ends the processes of a workload that is not going to be used."""
    try:
        yield
    except BaseException:
        workload.close()
        raise


def _raise_again(summary: Mapping[str, Any]) -> None:
    """Raises what ended a run that has no result, and that would end so again."""
    ended = summary.get("ended")
    if ended in NO_RESULT:
        kind = Stalled if ended == "stalled" else Diverged
        raise kind(str(summary.get("cause") or ended))
