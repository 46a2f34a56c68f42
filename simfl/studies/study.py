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

from simfl.engine.run import resolve
from simfl.errors import InputError
from simfl.results.study import CELLS, Study, finished, write_table
from simfl.scenario import Scenario
from simfl.studies.backends import play_all
from simfl.studies.cells import Cell, cells_of
from simfl.studies.job import Ended, Job


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
    address: str | None = None,
    data_dir: str | Path | None = None,
    progress: Progress | None = None,
    **overrides: Any,
) -> Study:
    """Every cell played, failed ones excepted, and `study.parquet` written. Raises InputError.

    strategies: kinds, tables or instances in place of the scenario's own; or a mapping from a
    label to one of these, or to overrides by key path where more than the strategy changes.
    seeds: default those that the scenario sweeps, else 0 to 4. sweep: more key paths with their
    values, beside the scenario's [sweep]. out: default runs/NAME. workers: runs at the same time.
    backend: "local", or "ray" for the cluster at `address`. overrides: for all cells.
    """
    base = resolve(scenario, overrides, None)
    folder = Path("runs") / base.name if out is None else Path(out)
    cells = cells_of(base, strategies, seeds, sweep or {})
    if workers < 1:
        raise InputError(f"workers = {workers}, expected at least 1")
    (folder / CELLS).mkdir(parents=True, exist_ok=True)
    failures: dict[str, str] = {}
    try:
        distinct = {cell.hash: cell for cell in cells}
        left = [cell for hash_, cell in distinct.items() if not finished(folder / CELLS / hash_)]
        jobs = [_job(cell, folder / CELLS / cell.hash, data_dir) for cell in left]
        ended = play_all(jobs, workers, backend, address)
        _watch(ended, left, len(distinct), failures, progress)
    finally:
        rows = [(cell.keys, cell.hash, failures.get(cell.hash, "")) for cell in cells]
        write_table(folder, rows)
        if progress is not None:
            progress.close()
    return Study(folder)


def _watch(
    ended: Iterable[Ended],
    cells: list[Cell],
    total: int,
    failures: dict[str, str],
    progress: Progress | None,
) -> None:
    """Tells of every cell that ended, and fills in why cells failed, by hash."""
    done = total - len(cells)
    if progress is not None and done:
        progress.update(done, total, "finished earlier")
    for number, failure in ended:
        cell, done = cells[number], done + 1
        if failure:
            failures[cell.hash] = failure
        if progress is not None:
            progress.update(done, total, f"{cell}" + f": failed, {failure}" * bool(failure))


def _job(cell: Cell, folder: Path, data_dir: str | Path | None) -> Job:
    where = None if data_dir is None else str(Path(data_dir).absolute())
    return Job(cell.scenario.resolved(), cell.scenario.path, folder.absolute(), where)
