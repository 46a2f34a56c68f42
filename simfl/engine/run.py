"""One scenario in, one Result out.

    result = simfl.run("quickstart", **{"strategy.buffer": 20}, seed=3, out="runs/b20")

A run folder is readable whatever happens: a run that is interrupted or fails leaves what it had
seen until then.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Protocol

from simfl import notebook
from simfl.callbacks import RunInfo, Watchers
from simfl.clock.kernel import Kernel, Status
from simfl.clock.workload import Workload
from simfl.engine import checkpoint, identity, resuming, saving, session
from simfl.engine.build import fleet_of, learning_problem, lower_metrics, plan_of, workload_of
from simfl.errors import Diverged, ScenarioError, Stalled
from simfl.files import own_folder, put, read_file, remove
from simfl.fleet.build import unused
from simfl.fleet.columns import Fleet
from simfl.fleet.memory import fitting
from simfl.registry import OBJECT
from simfl.results.digest import digest
from simfl.results.metrics import LOWER
from simfl.results.result import Result
from simfl.results.store import Store
from simfl.results.summary import NO_RESULT, is_end, summarise, summary_of
from simfl.results.tables import MODEL, PARTS, SCENARIO
from simfl.scenario import Scenario, load, parse
from simfl.scenario.naming import unnamed
from simfl.streams import Streams
from simfl.world.base import is_machine


class Progress(Protocol):
    """Somebody who wants to see a run live."""

    def update(self, status: Status) -> None: ...

    def close(self) -> None: ...


def run(
    scenario: Scenario | Mapping[str, Any] | str | Path,
    out: str | Path | None = None,
    *,
    model: Any = None,
    dataset: Any = None,
    seed: int | None = None,
    timing: bool = False,
    workers: int = 1,
    resume: bool = False,
    data_dir: str | Path | None = None,
    progress: Progress | bool | None = None,
    callbacks: Iterable[Any] = (),
    processes: Iterable[Any] = (),
    tags: Mapping[str, str] | None = None,
    **overrides: Any,
) -> Result:
    """The scenario, played once. Raises InputError, Stalled, Diverged, PluginError.

    scenario: its file, the name of a shipped one, a table, or what `load` gave. out: the run
    folder; without one the results live as long as the Result. model, dataset: in the place of
    those of [learning]: an nn.Module, its class, or a function of the data set that makes one;
    what `simfl.as_dataset` takes, or a function that gives it; or what a scenario's file says.
    timing: the same clock without learning. workers: processes that train; results do not depend
    on it. resume: go on from the newest checkpoint in `out`, if there is one, to the digest of an
    unbroken run; a run that has ended is not played again, and a folder of any other run is
    refused.
    progress: who watches; default: a bar in a notebook, nobody elsewhere; False: nobody.
    callbacks: where evaluations go beside the tables, after those of the scenario; see
    `simfl.callbacks`. processes: what changes the world while the run lives, after those of the
    scenario; see `simfl.world`. tags: what callbacks are told of the run beside its seed.
    overrides: options by key path, as in `**{"strategy.buffer": 20}`.
    """
    whole = resolve(scenario, with_objects(overrides, model, dataset), seed)
    whole = with_processes(whole, processes)
    if whole.sweep or whole.tune:
        section = "sweep" if whole.sweep else "tune"
        raise ScenarioError(f"{whole.name}: has a [{section}], which is a study: use simfl.study")
    folder = None if out is None else Path(out)
    with _held(folder, resume):
        streams = Streams(whole.seed)
        data = None if data_dir is None else Path(data_dir)
        problem = learning_problem(whole, streams, data)
        workload = workload_of(
            whole, streams, timing=timing, data_dir=data, workers=workers, problem=problem
        )
        settled = whole.settled(workload.choices)
        known = identity.identity_of(settled, timing, problem)
        saved = None
        if resume and folder is not None:
            with _closing_on_error(workload):
                done = resuming.finished(folder)
                saved = None if done else saving.found(folder)
                resuming.check(folder, known, whole, timing, saved)
                resuming.warn_of_generators(folder, whole, saved, done)
            if done:
                workload.close()
                with suppress(OSError):
                    _tidy(folder)
                _tell_again(summary_of(folder))
                return Result(folder)
        fleet = fleet_of(whole, streams)
        fleet = fitting(fleet, workload.memory_bytes, whole.fleet.memory)
        store = Store(folder, at=None if saved is None else saved[0]["rows"])
        watch = notebook.run_bar() if progress is None or progress is True else progress or None
        told = None if watch is None else watch.update
        kernel = Kernel(
            fleet, workload, whole.strategy, streams, plan_of(whole), store.append, told,
            whole.process,
        )  # fmt: skip
        info = RunInfo(
            whole.name,
            folder,
            settled.resolved(),
            {**(tags or {}), "seed": str(whole.seed)},
            saved is not None,
        )
        watchers = Watchers([*whole.callbacks, *callbacks], info)
        if watchers:
            kernel.evaluations.evaluated = watchers.evaluation

        def player() -> None:
            if saved is None:
                begin(settled, store, fleet, workers, known)
                _warn_if_lost(settled, folder)
            else:
                saving.restore(kernel, *saved)
                checkpoint.drop_newer(store.folder, saved[0]["checkpoint"])
                identity.write(store.folder, known)
                session.add_to_environment(store.folder, workers, saved[0]["now_s"])
            if folder is not None and all(map(is_machine, whole.process)):
                kernel.driver.save = session.saver(kernel, store, whole, timing)
            kernel.run()

        with _quiet(timing):
            try:
                play(kernel, player, store, settled, watch)
            finally:
                watchers.close(summary_of(store.folder))
        return Result(store.folder, store if folder is None else None)


def play(
    kernel: Kernel,
    player: Callable[[], Any],
    store: Store,
    scenario: Scenario,
    progress: Progress | None,
    interrupt: Callable[[], None] | None = None,
) -> None:
    """Calls the player of a run and writes down what it saw, whatever becomes of it.

    interrupt: what the first signal does; default: the run ends between two events.
    """
    try:
        with session.interruptible(interrupt or kernel.interrupt):
            player()
    except BaseException as error:
        with suppress(Exception):  # of two errors the first is the one to tell
            _write_down(kernel, store, scenario, ended=_name(error), cause=str(error))
        raise
    finally:
        kernel.workload.close()
        if progress is not None:
            progress.close()
    if kernel.reason == "interrupted":
        _leave(kernel, store, scenario)
        raise KeyboardInterrupt
    _write_down(kernel, store, scenario, ended=kernel.reason)


def begin(
    scenario: Scenario,
    store: Store,
    fleet: Fleet,
    workers: int = 1,
    known: identity.Identity | None = None,
) -> None:
    """What a run folder holds from the start.

    scenario: settled. known: what the run depends on; without it, what the scenario names.
    """
    checkpoint.clear(store.folder)
    _write_scenario(scenario, store.folder)
    identity.write(store.folder, known or identity.identity_of(scenario))
    session.write_environment(store.folder, workers)
    store.put_devices(fleet.columns())


def _leave(kernel: Kernel, store: Store, scenario: Scenario) -> None:
    """An interrupted run leaves a checkpoint; if it cannot, what it has seen so far."""
    kernel.driver.save()
    if not checkpoint.exists(store.folder):
        _write_down(kernel, store, scenario, ended="interrupted")


def resolve(
    scenario: Scenario | Mapping[str, Any] | str | Path,
    overrides: Mapping[str, Any],
    seed: int | None,
) -> Scenario:
    """The scenario with its overrides, whatever it was given as. Raises ScenarioError."""
    if isinstance(scenario, str | Path):
        return load(scenario, overrides, seed)
    if isinstance(scenario, Scenario):
        if not overrides and seed is None:
            return scenario
        return parse(scenario.table(), overrides, seed, path=scenario.path)
    return parse(scenario, overrides, seed)


def with_objects(overrides: Mapping[str, Any], model: Any, dataset: Any) -> dict[str, Any]:
    """The overrides with the model and the data set that were given beside them."""
    given = {"learning.model": model, "learning.dataset": dataset}
    return {**overrides, **{key: value for key, value in given.items() if value is not None}}


def with_processes(scenario: Scenario, processes: Iterable[Any]) -> Scenario:
    """The scenario with further processes behind its own. Raises ScenarioError."""
    given = list(processes)
    if not given:
        return scenario
    table = scenario.table()
    whole = {**table, "process": [*table.get("process", []), *given]}
    return parse(whole, path=scenario.path)


def _write_scenario(scenario: Scenario, folder: Path) -> None:
    """The resolved scenario, with what lay beside it: all that repeats the run."""
    lost = "".join(f"# This file cannot be played again: {what}.\n" for what in _lost(scenario))
    put(folder / SCENARIO, (lost + scenario.to_toml()).encode())
    beside = {"devices": scenario.class_files(), "traces": scenario.trace_files()}
    for name, files in beside.items():
        for path in files:
            put(own_folder(folder / name) / path.name, read_file(path))


def _lost(scenario: Scenario) -> list[str]:
    """What the written scenario cannot bring back."""
    return [f"no file can name {part}" for part in unnamed(scenario)]


def _warn_if_lost(scenario: Scenario, folder: Path | None) -> None:
    """Of parts that were given as objects on purpose the file itself says so."""
    lost = [part for part in unnamed(scenario) if f"({OBJECT}" not in part]
    if folder is not None and lost:
        warnings.warn(
            f"{folder / SCENARIO} cannot be played again: no file can name {lost[0]}; put "
            "it at the top of a module that can be imported",
            stacklevel=2,
        )


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


def _write_down(
    kernel: Kernel, store: Store, scenario: Scenario, ended: str, cause: str = ""
) -> None:
    """Finishes the run folder: tables, final model, summary. cause: of an end without a result.

    Killed on the way, the run is resumed from its last checkpoint. So is one that failed, once the
    disk has room or the plug-in is mended; what it had seen is written down all the same.
    """
    kernel.close()
    store.join()
    params = kernel.server.published[0]
    learnt = hasattr(params, "flat")
    if learnt:
        from simfl.results.model import save_model

        save_model(store.folder / MODEL, params)
    diverged = kernel.evaluations.diverged
    numbers = summarise(Result(store.folder).read, devices=scenario.fleet.devices)
    store.put_summary(
        {
            "name": scenario.name,
            "scenario": scenario.hash,
            "seed": scenario.seed,
            "ended": ended,
            **({LOWER: lower} if (lower := lower_metrics(scenario)) else {}),
            **({"cause": cause} if ended in NO_RESULT else {}),
            **({"diverged": diverged} if diverged and not cause else {}),
            **numbers,
            **kernel.workload.totals,
            **(dict.fromkeys(("final_accuracy", "final_loss")) if ended == "diverged" else {}),
            **kernel.workload.notes,
            "unused_settings": unused(
                scenario.fleet.group, scenario.network.cell, kernel.server.fleet
            ),
            "models_alive_max": kernel.server.versions.peak,
            "digest": digest(store.folder, params if learnt else None),
        }
    )
    if is_end(ended) or not checkpoint.exists(store.folder):
        _tidy(store.folder)


def _tidy(folder: Path) -> None:
    """A run that has ended needs neither its checkpoints nor the parts that they count."""
    checkpoint.clear(folder)
    remove(folder / PARTS)


def _tell_again(summary: Mapping[str, Any]) -> None:
    """Raises what ended a run that is not worth repeating, and has no result either."""
    ended = summary.get("ended")
    if ended in NO_RESULT:
        kind = Stalled if ended == "stalled" else Diverged
        raise kind(str(summary.get("cause") or ended))


def _quiet(timing: bool) -> AbstractContextManager[None]:
    """Torch on one thread, where there is learning."""
    if timing:
        return nullcontext()
    from simfl.learn.trainers.one_by_one import single_thread

    return single_thread()


def _name(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, Diverged):
        return "diverged"
    return "stalled" if isinstance(error, Stalled) else f"failed: {error}"
