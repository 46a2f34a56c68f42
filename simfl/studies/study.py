"""Many runs, one answer: strategies x seeds x sweeps on common random numbers.

    study = simfl.study("quickstart", ["fedbuff", "fedasync"], seeds=range(5), out="runs/mine")
    print(study.at_target(accuracy=0.95))

Every run has a folder named by its scenario's hash. A finished run is never
played again, so a study that was interrupted, or has grown, goes on where it stopped; seeds that
it had before stay in its table. With [tune] in the scenario each variant gets its own best options
first, on other seeds: see `simfl.studies.tuning`. What finished runs depend on is compared first:
data, device classes, traces, code and versions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from simfl.engine.run import resolve, with_objects
from simfl.errors import InputError
from simfl.files import own_folder
from simfl.notebook import study_bar
from simfl.results.study import RUNS, Study, finished, seeds_of, write_table
from simfl.scenario import Scenario
from simfl.studies.backends import Player
from simfl.studies.combinations import PlannedRun, runs_of
from simfl.studies.tuning import contenders_of, tuned


class Progress(Protocol):
    """A display of a study's progress."""

    def update(self, done: int, total: int, run: str) -> None: ...

    def close(self) -> None: ...


def study(
    scenario: Scenario | Mapping[str, Any] | str | Path,
    strategies: Iterable[Any] | Mapping[str, Any] | None = None,
    *,
    model: Any = None,
    dataset: Any = None,
    train: Any = None,
    evaluate: Any = None,
    seeds: Iterable[int] | None = None,
    sweep: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    workers: int = 1,
    backend: str = "local",
    address: str | None = None,
    data_dir: str | Path | None = None,
    progress: Progress | bool | None = None,
    **overrides: Any,
) -> Study:
    """Every run played, failed ones excepted, and `study.parquet` written. Raises InputError.

    strategies: kinds, tables or instances in place of the scenario's own; or a mapping from a label
        to one of these, or to overrides by key path where more than the strategy changes.
    model, dataset, train, evaluate: as for `simfl.run`, in all runs.
    seeds: by default those that the scenario sweeps, else 0 to 4.
    sweep: more key paths with their values, beside the scenario's [sweep].
    out: by default runs/NAME.
    data_dir: folder of data sets.
    workers: runs at the same time.
    backend: "local", or "ray" for the cluster at `address`.
    progress: a display; by default a bar in a notebook, none elsewhere; False: none.
    overrides: for all runs.
    """
    base = resolve(scenario, with_objects(overrides, model, dataset, train, evaluate), None)
    folder = Path("runs") / base.name if out is None else Path(out)
    runs, asked = _with_earlier(base, strategies, seeds, sweep or {}, folder)
    if workers < 1:
        raise InputError(f"workers = {workers}, expected at least 1")
    contenders = [] if base.tune is None else contenders_of(runs, base.tune)
    own_folder(folder / RUNS)
    player = Player(folder, data_dir, workers, backend, address)
    failures: dict[str, str] = {}
    watch = study_bar() if progress is None or progress is True else progress or None
    try:
        trials = base.tune.trials * len(contenders) if base.tune else 0
        count = _Counted(watch, trials + len({run.hash for run in runs if asked(run)}))
        if base.tune is not None:
            runs = tuned(runs, contenders, base.tune, player, count.tell)
        distinct = {run.hash: run for run in runs if asked(run)}
        left = player.unfinished(list(distinct.values()))
        count.skip(len(distinct) - len(left))
        player.play(left, failures, count.tell)
    finally:
        rows = [
            (run.keys, run.hash, failures.get(run.hash, ""))
            for run in runs
            if asked(run) or finished(folder / RUNS / run.hash)
        ]
        write_table(folder, rows)
        if watch is not None:
            watch.close()
    return Study(folder)


def _with_earlier(
    base: Scenario,
    strategies: Iterable[Any] | Mapping[str, Any] | None,
    seeds: Iterable[int] | None,
    sweep: Mapping[str, Any],
    folder: Path,
) -> tuple[list[PlannedRun], Callable[[PlannedRun], bool]]:
    """The runs of these seeds and of those that the folder has already; which were asked for."""
    runs = runs_of(base, strategies, seeds, sweep)
    asked = {run.keys["seed"] for run in runs}
    earlier = set(seeds_of(folder)) - asked
    if earlier:
        runs = runs_of(base, strategies, sorted(asked | earlier), sweep)
    return runs, lambda run: run.keys["seed"] in asked


class _Counted:
    """Counts finished runs and trials, and reports each to a display."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._done, self._total = progress, 0, total

    def tell(self, words: str) -> None:
        """One more has ended."""
        self._done += 1
        if self._progress is not None:
            self._progress.update(self._done, self._total, words)

    def skip(self, number: int) -> None:
        """So many had ended before."""
        self._done += number - bool(number)
        if number:
            self.tell("finished earlier")
