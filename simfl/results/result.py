"""Result: what a run leaves behind, read when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from simfl.errors import InputError, did_you_mean
from simfl.files import read_object, read_toml
from simfl.results import metrics, tables
from simfl.results.digest import digest
from simfl.results.formatting import as_html, headline
from simfl.results.model import load_model
from simfl.results.store import Store
from simfl.results.summary import summarise, summary_of
from simfl.results.tables import MODEL, SCENARIO, SUMMARY

if TYPE_CHECKING:
    from simfl.params import Params


class Result:
    """One run, seen from its folder. `tasks`, `evaluations`, `versions`, `personal`, `events`,
    `edges`, `devices`: frames.

    store: the Store of a run that was given no folder, kept here because its files go with it.
    """

    def __init__(self, folder: Path, store: Store | None = None) -> None:
        self.folder = folder
        self._store = store

    @cached_property
    def tasks(self) -> pd.DataFrame:
        """One row per task; columns as in `tables.TASKS`."""
        return self.read("tasks")

    @cached_property
    def evaluations(self) -> pd.DataFrame:
        """One row per evaluation; columns as in `tables.EVALUATIONS`, then further metrics.

        Its attribute `lower_is_better` names metrics of the run's author that are so.
        """
        found = self.read("evaluations")
        found.attrs[metrics.LOWER] = list(summary_of(self.folder).get(metrics.LOWER) or ())
        return found

    @cached_property
    def versions(self) -> pd.DataFrame:
        """One row per version; columns as in `tables.VERSIONS`."""
        return self.read("versions")

    @cached_property
    def personal(self) -> pd.DataFrame:
        """One row per evaluation and device, with `evaluate.personal`; see `tables.PERSONAL`."""
        return self.read("personal")

    @cached_property
    def events(self) -> pd.DataFrame:
        """One row per change or entry of a process; columns as in `tables.EVENTS`."""
        return self.read("events")

    @cached_property
    def edges(self) -> pd.DataFrame:
        """One row per version of an edge; columns as in `tables.EDGES`. Empty without edges."""
        return self.read("edges")

    @cached_property
    def devices(self) -> pd.DataFrame:
        """The fleet: one row per device."""
        return self.read("devices")

    @cached_property
    def scenario(self) -> dict[str, Any]:
        """The fully resolved scenario; {} if the folder holds none."""
        path = self.folder / SCENARIO
        return read_toml(path) if path.exists() else {}

    @cached_property
    def summary(self) -> dict[str, Any]:
        """What the run wrote as summary.json; computed from the tables if it did not get there."""
        path = self.folder / SUMMARY
        if not path.exists():
            return summarise(self.parts)
        return read_object(path)

    @property
    def digest(self) -> str:
        """One word for everything that happened: see `results.digest`."""
        known = self.summary.get("digest")
        return known if known is not None else digest(self.folder, self.params)

    @cached_property
    def params(self) -> Params | None:
        """The final model, or None if the run learnt nothing or did not get there."""
        path = self.folder / MODEL
        return load_model(path) if path.exists() else None

    @property
    def name(self) -> str:
        """The scenario's name, or else the folder's."""
        return str(self.scenario.get("name", self.folder.name))

    @property
    def strategy(self) -> str:
        """The strategy's `kind`; empty if the folder holds no scenario."""
        return str(self.scenario.get("strategy", {}).get("kind", ""))

    @property
    def finished(self) -> bool:
        """False if the run was interrupted: then the frames hold what happened until then."""
        return (self.folder / SUMMARY).exists()

    def read(self, table: str, columns: list[str] | None = None) -> pd.DataFrame:
        """A table afresh, or only some of its columns, without keeping it. Raises InputError."""
        return tables.read(self.folder, self._known(table), columns)

    def _known(self, table: str) -> str:
        known = [*tables.TABLES, "devices"]
        if table not in known:
            raise InputError(f"{table!r} is not a table of a run {did_you_mean(table, known)}")
        return table

    def parts(
        self, table: str, columns: list[str] | None = None, rows: int | None = None
    ) -> Iterator[pd.DataFrame]:
        """What `read` gives, so many rows at a time: of a long run no table is held whole.

        rows: by default a quarter of a million. Raises InputError.
        """
        return tables.parts(self.folder, self._known(table), columns, rows)

    def count(self, table: str) -> int:
        """How many rows a table has; none of them is read. Raises InputError."""
        return tables.count(self.folder, self._known(table))

    def describe(self, table: str) -> pd.DataFrame:
        """Unit and meaning of every column of a table, by name. Raises InputError.

        The same is in `attrs["columns"]` of each frame and in the metadata of the Parquet files.
        table: tasks, evaluations, versions, events or devices.
        """
        return tables.describe(table, list(self.read(table)))

    def time_to(self, **target: float) -> float:
        """Virtual seconds until an evaluation first meets the target; inf if none does.

        target: one metric and its value, `accuracy=0.8`. Raises InputError for an unknown metric.
        """
        return metrics.time_to(self.evaluations, **target)

    def bytes_to(self, **target: float) -> float:
        """Bytes moved, down and up, until the target was first met; inf if it never was."""
        return metrics.bytes_to(self.evaluations, **target)

    def versions_to(self, **target: float) -> float:
        """Server version that first met the target; inf if none did."""
        return metrics.versions_to(self.evaluations, **target)

    def headline(self) -> dict[str, str]:
        """The few things that one wants to know first, as text."""
        state = {} if self.finished else {"state": "unfinished"}
        return {"name": self.name, "strategy": self.strategy} | state | headline(self.summary)

    def __repr__(self) -> str:
        lines = self.headline()
        width = max(map(len, lines))
        return "\n".join(["Result", *(f"  {key:<{width}}  {lines[key]}" for key in lines)])

    def _repr_html_(self) -> str:
        return as_html(self.headline())


def open_run(folder: Path | str) -> Result:
    """The run in a folder, finished or not. Raises InputError if there is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; expected a run folder as `simfl run` makes it")
    if not any(tables.paths_of(folder, table) for table in tables.TABLES):
        inside = sorted(p.name for p in folder.iterdir() if any(p.glob("tasks.parquet")))
        hint = f"; the runs inside it are {', '.join(inside)}" if inside else ""
        raise InputError(f"{folder}: not a run folder, for it holds no tasks.parquet{hint}")
    return Result(folder)
