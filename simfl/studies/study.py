"""`simfl.study`: plays strategies x seeds x sweeps on common random numbers.

    study = simfl.study("quickstart", ["fedbuff", "fedasync"], seeds=range(5), out="runs/mine")
    print(study.at_target(accuracy=0.95))

Every run has a folder named by its scenario's hash. A finished run is never played again, so a
study that was interrupted, or has grown, goes on where it stopped; seeds that it had before stay
in its table. With [tune] in the scenario each variant gets its own best options first, on other
seeds: see `simfl.studies.tuning`. What finished runs depend on is compared first: data, device
classes, traces, code and versions. Several processes may play one folder: they share the runs, see
`simfl.studies.backends`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from simfl.engine.overrides import resolve, with_objects
from simfl.engine.session import in_turn, is_held
from simfl.errors import InputError
from simfl.files import own_folder
from simfl.notebook import study_bar
from simfl.results.study import RUNS, Study, finished, seeds_of, write_table
from simfl.results.summary import HELD
from simfl.scenario import Scenario
from simfl.studies.backends import Player
from simfl.studies.combinations import PlannedRun, runs_of
from simfl.studies.tuning import contenders_of, tuned
from simfl.units import counted


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
    shard: tuple[int, int] | None = None,
    wait: bool = True,
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
    shard: (i, n) plays the i-th of n parts of the runs, from 1 on.
    wait: for runs that other processes play into the same folder; False leaves them to those.
    progress: a display; by default a bar in a notebook, none elsewhere; False: none.
    overrides: for all runs.
    """
    base = resolve(scenario, with_objects(overrides, model, dataset, train, evaluate), None)
    folder = Path("runs") / base.name if out is None else Path(out)
    runs, asked = _with_earlier(base, strategies, seeds, sweep or {}, folder)
    mine = _shard(shard)
    workers = counted("workers", workers)
    contenders = [] if base.tune is None else contenders_of(runs, base.tune)
    own_folder(folder / RUNS)
    failures: dict[str, str] = {}
    watch = study_bar() if progress is None or progress is True else progress or None
    try:
        trials = base.tune.trials * len(contenders) if base.tune else 0
        count = _Counted(watch, trials + len(mine([run.hash for run in runs if asked(run)])))
        player = Player(folder, data_dir, workers, backend, address, wait, count.say)
        if base.tune is not None:
            waiting = replace(player, wait=True)  # every process needs the trials of all
            runs = tuned(runs, contenders, base.tune, waiting, count.tell_all)
        distinct = {run.hash: run for run in runs if asked(run)}
        asked_of_us = [distinct[name] for name in mine(list(distinct))]
        left = player.unfinished(asked_of_us)
        count.skip(len(asked_of_us) - len(left))
        player.play(left, failures, count.tell)
    finally:
        with in_turn(folder):
            write_table(folder, _rows(folder, runs, asked, failures))
        if watch is not None:
            watch.close()
    return Study(folder)


def _shard(shard: tuple[int, int] | None) -> Callable[[list[str]], list[str]]:
    """Picks one part of the distinct runs. Raises InputError."""
    number, of = (1, 1) if shard is None else shard
    if not 1 <= number <= of:
        raise InputError(f"shard {number}/{of}: expected a part from 1/{max(of, 1)} on, up to all")
    return lambda hashes: list(dict.fromkeys(hashes))[number - 1 :: of]


def _rows(
    folder: Path,
    runs: list[PlannedRun],
    asked: Callable[[PlannedRun], bool],
    failures: Mapping[str, str],
) -> list[tuple[Mapping[str, Any], str, str]]:
    """What the study's table has a row of: what distinguishes a run, its hash, why it failed."""
    rows = []
    for run in runs:
        done, failure = finished(folder / RUNS / run.hash), failures.get(run.hash, "")
        if not done and not failure and is_held(folder / RUNS / run.hash):
            failure = HELD
        if done or asked(run):
            rows.append((run.keys, run.hash, "" if done else failure))
    return rows


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
        self.tell_all([words])

    def tell_all(self, lines: Sequence[str]) -> None:
        """So many have ended together."""
        self._done += len(lines)
        for words in lines:
            self.say(words)

    def say(self, words: str) -> None:
        """Something beside an end; how many have ended stays."""
        if self._progress is not None:
            self._progress.update(self._done, self._total, words)

    def skip(self, number: int) -> None:
        """So many had ended before."""
        self._done += number - bool(number)
        if number:
            self.tell("finished earlier")
