"""The record of what processes did: the rows of `events.parquet`."""

from __future__ import annotations

from typing import Any

from simfl.clock.ledger import CHUNK_ROWS, Append

_COLUMNS = ("time", "process", "kind", "device", "value")


class Journal:
    """Collects rows and hands them on as columns. append(table, columns): where they go."""

    def __init__(self, append: Append) -> None:
        self._append = append
        self._rows: list[tuple[Any, ...]] = []

    def write(self, time: float, process: str, kind: str, device: int | None, value: float) -> None:
        """Adds a row."""
        self._rows.append((time, process, kind, device, value))
        if len(self._rows) >= CHUNK_ROWS:
            self.flush()

    def flush(self) -> None:
        """Hands on everything that is still held."""
        if self._rows:
            columns = zip(*self._rows, strict=True)
            self._append("events", dict(zip(_COLUMNS, columns, strict=True)))
            self._rows = []
