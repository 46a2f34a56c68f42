"""What edges add to the tables: columns of their tasks, and the table of their versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any

from simfl.clock.ledger import CHUNK_ROWS, Append


@dataclass(slots=True)
class Mark:
    """A task's edge, the version of that edge which it carries, and the one that it entered."""

    edge: int
    version: int
    entered: int | None = None


@dataclass(slots=True)
class EdgeVersion:
    """The row of an edge's version, which is complete when the next one is made.

    A version that went to the cloud has what it took on the way, and what the answer took.
    """

    edge: str
    version: int
    time_s: float
    updates: int = 0
    staleness_mean: float = nan
    staleness_max: int | None = None
    weight_sum: float = 0.0
    step_s: float = 0.0
    up_bytes: int = 0
    up_s: float = nan
    cloud_version: int | None = None
    down_bytes: int = 0
    down_s: float = nan


@dataclass
class EdgeRows:
    """Adds the columns of edges to the tasks, and appends the rows of edges' versions.

    names: of the edges. versions: of the edges as they are, by number; a function of no argument.
    """

    __snapshot__ = ("marks",)  #: kept by checkpoints

    names: Sequence[str]
    append_on: Append
    marks: dict[int, Mark] = field(default_factory=dict)  #: by task serial, until its row is gone
    newest: Sequence[Any] = ()  #: the edges, of which `version` is read
    rows: list[EdgeVersion] = field(default_factory=list)

    def append(self, table: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Hands rows on; those of tasks with the columns of `tables.EDGED`."""
        if table == "tasks":
            marks = [self.marks.pop(serial) for serial in columns["task"]]
            columns = {**columns, **self._columns(marks, columns["outcome"])}
        self.append_on(table, columns)

    def _columns(self, marks: Sequence[Mark], outcomes: Sequence[str]) -> dict[str, list[Any]]:
        return {
            "edge": [self.names[mark.edge] for mark in marks],
            "edge_version": [mark.version for mark in marks],
            "edge_applied_version": [mark.entered for mark in marks],
            "edge_staleness": [
                self._age(mark, outcome) for mark, outcome in zip(marks, outcomes, strict=True)
            ],
        }

    def _age(self, mark: Mark, outcome: str) -> int | None:
        """In versions of the edge, at use or at the run's end."""
        if mark.entered is not None:
            return mark.entered - 1 - mark.version
        age: int = self.newest[mark.edge].version - mark.version
        return age if outcome == "in_flight" else None

    def put(self, row: EdgeVersion) -> None:
        """The row is complete."""
        self.rows.append(row)
        if len(self.rows) >= CHUNK_ROWS:
            self.flush()

    def flush(self) -> None:
        """Hands on the rows that are still held."""
        if self.rows:
            names = EdgeVersion.__slots__
            self.append_on("edges", {n: [getattr(row, n) for row in self.rows] for n in names})
            self.rows = []
