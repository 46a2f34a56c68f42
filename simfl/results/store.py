"""Store: the tables of a run on disk, append-only and in bounded memory.

While a run lives, every table grows as a row of small complete Parquet files in a hidden folder,
each written under another name first, so that a run killed at any moment leaves a folder that
can be read, and a checkpoint can say how far it had come. `join` makes one file of each table;
the parts stay for as long as a checkpoint may refer to them.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from simfl.errors import InputError
from simfl.files import draft_of, own_folder, put, regular, remove, settle, settle_folder
from simfl.results import tables
from simfl.results.tables import MODEL, SUMMARY

#: Rows that are held in memory before they become a part.
PART_ROWS = 50_000


class Store:
    """Where a run writes down what happens.

    folder: the run folder, made if need be and emptied of an earlier run's results; None: a
    temporary one that lives as long as this object. at: what `mark` returned, to go on from
    there; whatever was written later is dropped.
    """

    def __init__(self, folder: Path | None, at: Mapping[str, int] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="simfl-")) if folder is None else Path(folder)
        self._remove = _removal(self, self.folder) if folder is None else None
        self._durable = folder is not None
        self._digests: dict[str, str] = {}
        self._parts = self.folder / tables.PARTS
        self._held: dict[str, list[pa.Table]] = {table: [] for table in tables.TABLES}
        self._rows = dict.fromkeys(tables.TABLES, 0)
        self._count = dict.fromkeys(tables.TABLES, 0) | dict(at or {})
        self._clear(keep=at is not None)

    def append(self, table: str, columns: Mapping[str, Sequence[Any]]) -> None:
        """Adds rows to one of `tables.TABLES`, with its columns."""
        rows = tables.to_arrow(table, columns)
        self._held[table].append(rows)
        self._rows[table] += len(rows)
        if self._rows[table] >= PART_ROWS:
            self._flush(table)

    def put_devices(self, columns: Mapping[str, Any]) -> None:
        """Writes the fleet's columns, once."""
        _write(
            self.folder / "devices.parquet",
            [tables.annotated(tables.free_table(columns), "devices")],
            self._durable,
        )

    def put_summary(self, summary: Mapping[str, Any]) -> None:
        """Writes summary.json. Numbers must be finite; None says that there is none."""
        text = json.dumps(summary, indent=2, allow_nan=False)
        put(self.folder / SUMMARY, (text + "\n").encode())

    def mark(self) -> dict[str, int]:
        """Makes all rows so far durable and says where they end: for `Store(folder, at=...)`."""
        for table in tables.TABLES:
            self._flush(table)
        if self._durable:
            settle_folder(self._parts)
        return dict(self._count)

    def digests(self) -> dict[str, str]:
        """Of the parts so far, by name, so that it is noticed if one of them is damaged."""
        parts = [self._part(table, i) for table, n in self._count.items() for i in range(n)]
        for path in parts:
            if path.name not in self._digests:
                self._digests[path.name] = _digest(path)
        return dict(self._digests)

    def finish(self) -> None:
        """Makes TABLE.parquet of each table, and nothing else remains of it."""
        self.join()
        shutil.rmtree(self._parts)

    def join(self) -> None:
        """Joins the parts of each table into TABLE.parquet, a part at a time; they stay."""
        self.mark()
        for table in tables.TABLES:
            parts = [self._part(table, i) for i in range(self._count[table])]
            if table in tables.OPTIONAL and not parts:
                continue
            whole = _stream(parts, tables.schema(table))
            told = (tables.annotated(part, table) for part in whole)
            _write(self.folder / f"{table}.parquet", told, self._durable)

    def close(self) -> None:
        """Removes a temporary folder now; does nothing to any other."""
        if self._remove is not None:
            self._remove()

    def _flush(self, table: str) -> None:
        if self._rows[table]:
            rows = tables.unite(self._held[table])
            _write(self._part(table, self._count[table]), [rows], self._durable, "lz4")
            self._count[table] += 1
            self._held[table], self._rows[table] = [], 0

    def _part(self, table: str, index: int) -> Path:
        return self._parts / f"{table}-{index:06d}.parquet"

    def _clear(self, keep: bool) -> None:
        """Removes results of an earlier run; keeps the parts that `at` counts."""
        own_folder(self._parts)
        kept = {self._part(t, i).name for t, n in self._count.items() for i in range(n)}
        for part in self._parts.iterdir():
            if part.name not in kept:
                remove(part)
        absent = sorted(name for name in kept if not (self._parts / name).exists())
        if absent:
            raise InputError(f"{self.folder}: cannot resume, {absent[0]} is not there any more")
        stale = [f"{table}.parquet" for table in tables.TABLES] + [SUMMARY, MODEL]
        for name in stale if keep else [*stale, "devices.parquet"]:
            remove(self.folder / name)


def check_parts(folder: Path, digests: Mapping[str, str]) -> None:
    """Raises InputError if a part that a checkpoint counts is missing or damaged."""
    for name, digest in digests.items():
        path = folder / tables.PARTS / name
        if not path.is_file():
            raise InputError(f"{name} is not there any more")
        if _digest(path) != digest:
            raise InputError(f"{name} is damaged")


def _digest(path: Path) -> str:
    with regular(path).open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def _removal(owner: Store, folder: Path) -> weakref.finalize[..., Store]:
    """Removes the folder when called, when its owner goes, or when the interpreter does."""
    return weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)


def _stream(parts: Sequence[Path], plan: pa.Schema) -> Iterator[pa.Table]:
    """Parts as tables of one schema and of about PART_ROWS rows; only one is held at a time."""
    found = [pq.read_schema(regular(part)).remove_metadata() for part in parts]
    plan = pa.unify_schemas([plan, *found])
    held = [plan.empty_table()]
    for part in parts:
        held.append(tables.widen(pq.read_table(part), plan))
        if sum(map(len, held)) >= PART_ROWS:
            yield tables.unite(held)
            held = [plan.empty_table()]
    yield tables.unite(held)


def _write(
    path: Path,
    groups: Sequence[pa.Table] | Iterator[pa.Table],
    durable: bool,
    compression: str = "zstd",
) -> None:
    """Writes these tables as row groups of one file, which appears under its name when complete.

    Words alone are dictionary-encoded: numbers take half the time, and a fifth less room, plain.
    """
    unfinished = draft_of(path)
    writer = None
    for table in groups:
        writer = writer or pq.ParquetWriter(
            unfinished, table.schema, compression=compression, use_dictionary=tables.words(table)
        )
        writer.write_table(table)
    if writer is not None:
        writer.close()
        if durable:
            settle(unfinished)
        os.replace(unfinished, path)
