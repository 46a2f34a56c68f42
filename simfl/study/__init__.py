"""Many runs, one answer: strategies x seeds x sweeps on common random numbers.

    study = simfl.study("quickstart", ["fedbuff", "fedasync"], seeds=range(5), out="runs/mine")
    print(study.at_target(accuracy=0.95))

Every cell is an ordinary run in a folder named by its scenario's hash. A finished cell is never
played again, so a study that was interrupted, or has grown, goes on where it stopped. Cells know
nothing of simfl's own version: remove the folder after changing code that they depend on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from simfl.errors import InputError
from simfl.results.study import CELLS, Study, finished, write_table
from simfl.run import resolve
from simfl.scenario import Scenario
from simfl.study.cells import Cell, cells_of
from simfl.study.play import Job, play_all
from simfl.verbs import make_verb


class Progress(Protocol):
    """Somebody who wants to see a study live."""

    def update(self, done: int, total: int, cell: str) -> None: ...

    def close(self) -> None: ...


def study(
    scenario: Scenario | Mapping[str, Any] | str | Path,
    strategies: Iterable[Any] | Mapping[str, Any] | None = None,
    *,
    seeds: Iterable[int] | None = None,
    sweep: Mapping[str, Any] | None = None,
    out: str | Path | None = None,
    workers: int = 1,
    backend: str = "local",
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
    **overrides: Any,
) -> Study:
    """Every cell played, failed ones excepted, and `study.parquet` written. Raises InputError.

    strategies: kinds, tables or instances in place of the scenario's own; or a mapping from a
    label to one of these, or to overrides by key path where more than the strategy changes.
    seeds: default those that the scenario sweeps, else 0 to 4. sweep: more key paths with their
    values, beside the scenario's [sweep]. out: default runs/NAME. overrides: for all cells.
    """
    base = resolve(scenario, overrides, None)
    folder = Path("runs") / base.name if out is None else Path(out)
    cells = cells_of(base, strategies, seeds, sweep or {})
    if workers < 1:
        raise InputError(f"workers = {workers}, expected at least 1")
    (folder / CELLS).mkdir(parents=True, exist_ok=True)
    failures: dict[str, str] = {}
    try:
        _play(cells, folder, failures, workers, backend, data_dir, progress)
    finally:
        rows = [(cell.keys, cell.hash, failures.get(cell.hash, "")) for cell in cells]
        write_table(folder, rows)
        if progress is not None:
            progress.close()
    return Study(folder)


def _play(
    cells: list[Cell],
    folder: Path,
    failures: dict[str, str],
    workers: int,
    backend: str,
    data_dir: str | Path | None,
    progress: Progress | None,
) -> None:
    """Plays what is not finished; fills in why cells failed, by hash."""
    distinct = {cell.hash: cell for cell in cells}
    left = [hash_ for hash_ in distinct if not finished(folder / CELLS / hash_)]
    jobs = [_job(distinct[hash_], folder / CELLS / hash_, data_dir) for hash_ in left]
    done = len(distinct) - len(jobs)
    if progress is not None and done:
        progress.update(done, len(distinct), "finished earlier")
    for i, failure in play_all(jobs, workers, backend):
        done += 1
        if failure:
            failures[left[i]] = failure
        if progress is not None:
            said = f"{distinct[left[i]]}" + (f": failed, {failure}" if failure else "")
            progress.update(done, len(distinct), said)


def _job(cell: Cell, folder: Path, data_dir: str | Path | None) -> Job:
    where = None if data_dir is None else str(Path(data_dir).absolute())
    return Job(cell.scenario.resolved(), cell.scenario.path, folder.absolute(), where)


make_verb(__name__)
