"""CSV and JSON files as traces: the names of their columns say which kind they are.

| columns | becomes |
|---|---|
| t_s or t_ms, and mbps, down_mbps or up_mbps | bandwidth, see `simfl.interop.tables.logs` |
| device, start_s, end_s | presence, see `simfl.interop.tables.sessions` |
| device, start_s, end_s, charge_w | charger, see `simfl.interop.tables.sessions` |
| train_gflops, down_mbps, up_mbps, one or more; perhaps device | capacity: a row for each device |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from simfl.errors import TraceError
from simfl.fleet.traces import KINDS, MOST_ROWS, Trace
from simfl.interop.tables import sessions
from simfl.interop.tables.logs import TIMES, read_log
from simfl.interop.tables.spreadsheets import Rows, csv_rows, json_rows

CAPACITIES = KINDS["capacity"][1]


def read_csv(path: Path, *, hold: str | None = None, period_s: float | None = None) -> Trace:
    """The trace in a file of separated values, gzipped or not. Raises TraceError.

    hold: of a log, which way a rate holds.
    period_s: after what time sessions repeat.
    """
    return _read(csv_rows(path), hold, period_s)


def read_json(path: Path, *, hold: str | None = None, period_s: float | None = None) -> Trace:
    """The trace in a list of tables, or of {name: list}. Raises TraceError.

    hold, period_s: as for `read_csv`.
    """
    return _read(json_rows(path), hold, period_s)


def _read(rows: Rows, hold: str | None, period_s: float | None) -> Trace:
    first = next(rows.rows, None)
    if first is None:
        raise TraceError(
            f"{rows.path}: holds no rows, expected a line of names and one for each row"
        )
    rows = replace(rows, rows=chain([first], rows.rows))
    kind = _kind(rows.path, first[1])
    if hold is not None and kind != "bandwidth":
        raise TraceError(f"{rows.path}: hold goes with a log of rates; this is a {kind} table")
    if period_s is not None and kind not in ("presence", "charger"):
        raise TraceError(f"{rows.path}: period_s goes with sessions; this is a {kind} table")
    if kind == "bandwidth":
        return read_log(rows, hold or "backward")
    return (
        _capacities(rows, first[1]) if kind == "capacity" else sessions.read(rows, kind, period_s)
    )


def _kind(path: Path, row: Mapping[str, Any]) -> str:
    """What a file with these columns is. Raises TraceError where it could be two or nothing."""
    timed, in_sessions = [*_met(row, TIMES)], [*_met(row, sessions.NEEDED[1:])]
    if timed and in_sessions:
        raise TraceError(
            f"{path}: has the columns {timed[0]} and {in_sessions[0]}: expected moments (t_s) or "
            "sessions (start_s, end_s), not both"
        )
    if timed or "mbps" in row:
        return "bandwidth"
    if in_sessions:
        return "charger" if sessions.WATTS in row else "presence"
    other = [str(name) for name in row if name and name not in (*CAPACITIES, "device")]
    if other or not _met(row, CAPACITIES):
        raise TraceError(
            f"{path}: cannot tell what kind of trace the columns {', '.join(map(str, [*row][:8]))} "
            "are; expected t_s and mbps (bandwidth), device, start_s and end_s (presence; with "
            "charge_w: charger), or some of device, train_gflops, down_mbps and up_mbps and no "
            "others (capacity)"
        )
    return "capacity"


def _met(row: Mapping[str, Any], names: tuple[str, ...]) -> list[str]:
    return [name for name in names if name in row]


def _capacities(rows: Rows, first: Mapping[str, Any]) -> Trace:
    """A row for each device. Raises TraceError."""
    names = _met(first, CAPACITIES)
    found = []
    for where, row in rows.rows:
        speeds = [rows.number(where, row, name) for name in names]
        if not all(speeds):
            raise TraceError(
                f"{rows.path}: {where}: {names[speeds.index(0.0)]} = 0, expected a number above 0"
            )
        found.append(speeds)
        if len(found) > MOST_ROWS:
            raise TraceError(f"{rows.path}: more than {MOST_ROWS:,} rows")
    notes = ["commas are decimal"] * (rows.points == ",")
    columns = dict(zip(names, np.array(found).T.copy(), strict=True))
    return Trace("capacity", columns, {"source": f"table {rows.path.name}", "notes": notes})
