"""Throughput over time: mahimahi packet files, and logs as CSV or JSON.

mahimahi (Netravali et al., ATC 2015): each line is the millisecond at which one packet of 1,500
bytes can be delivered; the file repeats after its last line. Logs have a row for each moment:
`t_s` and `mbps` (or `down_mbps`, `up_mbps`), the mean rate since the row before, and perhaps
`trace`, a name for each recording.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Iterable, Mapping
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from simfl.errors import TraceError, did_you_mean
from simfl.fleet.network.series import TICKS
from simfl.fleet.traces import MOST_ROWS, Trace

PACKET_BYTES = 1500

#: Larger files are refused, and so is what unpacks to more.
MOST_BYTES = 2**30

_NAMES = {"mbps": "down_mbps", "down_mbps": "down_mbps", "up_mbps": "up_mbps"}


def read_mahimahi(path: Path, *, up: Path | None = None, bin_s: float = 1.0) -> Trace:
    """One recording of a packet file, and of one for the way up. Raises TraceError.

    bin_s: packets are counted in bins so long; the last one may be shorter.
    """
    down = _packets(path)
    both = {"down_mbps": down} if up is None else {"down_mbps": down, "up_mbps": _packets(up)}
    end_ms = min(int(times[-1]) for times in both.values())
    ends_s = bin_s * np.arange(1, max(1, ceil(end_ms / 1e3 / bin_s - 1e-9)) + 1)
    ends_s[-1] = end_ms / 1e3
    edges_ms = np.concatenate([[0.0], ends_s * 1e3])
    columns = {"trace": np.zeros(len(ends_s), dtype=np.int64), "t_s": ends_s}
    for name, times in both.items():
        packets, _ = np.histogram(times[times <= end_ms], edges_ms)
        columns[name] = packets * PACKET_BYTES * 8 / 1e6 / np.diff(edges_ms) * 1e3
    return Trace("bandwidth", columns, {"source": f"mahimahi packet file {path.name}"})


def read_csv(path: Path) -> Trace:
    """The recordings of a log of comma-separated values, gzipped or not. Raises TraceError."""
    lines = csv.DictReader(io.StringIO(_text(path)))
    try:
        names = lines.fieldnames or []
        if "t_s" not in names:
            raise TraceError(f"{path}: column t_s is missing {did_you_mean('t_s', names)}")
        return _log(path, lines)
    except csv.Error as error:
        raise TraceError(f"{path}: not sound CSV ({error})") from error


def read_json(path: Path) -> Trace:
    """The recordings of a log: a list of rows, or {name: rows}. Raises TraceError."""
    try:
        log = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{path}: not sound JSON ({error})") from error
    if isinstance(log, dict):
        log = [{"trace": name, **row} for name, rows in log.items() for row in _rows(path, rows)]
    return _log(path, _rows(path, log))


def _rows(path: Path, rows: Any) -> list[Mapping[str, Any]]:
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise TraceError(f"{path}: expected a list of rows, each a table with t_s and mbps")
    return rows


def _log(path: Path, rows: Iterable[Mapping[str, Any]]) -> Trace:
    """A trace of rows. A row that takes no time (a recording's first, at 0) says nothing."""
    found: dict[str, list[tuple[float, ...]]] = {}
    names: list[str] = []
    for line, row in enumerate(rows, start=1):
        if line == 1:
            names = [name for name in _NAMES if name in row]
            if not names:
                raise TraceError(f"{path}: expected a column mbps, down_mbps or up_mbps")
        values = tuple(_number(path, line, row, name) for name in ("t_s", *names))
        found.setdefault(str(row.get("trace", "")), []).append(values)
        if line > MOST_ROWS:
            raise TraceError(f"{path}: more than {MOST_ROWS:,} rows")
    tables = [_steps(np.array(values)) for values in found.values()]
    tables = [table for table in tables if len(table) and table[:, 1:].any()]
    if not tables:
        raise TraceError(f"{path}: no recording of which anything passes")
    ids = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    whole = np.concatenate(tables)
    columns = {"trace": ids, "t_s": whole[:, 0]}
    columns |= {_NAMES[name]: whole[:, k] for k, name in enumerate(names, start=1)}
    about = {"source": f"throughput log {path.name}", "skipped": len(found) - len(tables)}
    return Trace("bandwidth", columns, about)


def _steps(rows: np.ndarray) -> np.ndarray:
    """Rows in order of time, each at least a tick long."""
    rows = rows[np.argsort(rows[:, 0], kind="stable")]
    ticks = np.round(rows[:, 0] * TICKS)
    return rows[np.diff(ticks, prepend=0.0) >= 1.0]


def _number(path: Path, line: int, row: Mapping[str, Any], name: str) -> float:
    value = row.get(name)
    try:
        number = float(value) if not isinstance(value, bool) else float("nan")  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not 0.0 <= number < 1e12:
        raise TraceError(f"{path}: row {line}: {name} = {value!r:.60}, expected a number from 0 on")
    return number


def _packets(path: Path) -> np.ndarray:
    """Milliseconds of the packets."""
    try:
        times = np.array(_text(path).split(), dtype=np.float64)
    except ValueError as error:
        raise TraceError(f"{path}: every line should be a whole number ({error})") from error
    sound = len(times) > 0 and np.isfinite(times).all() and (times == np.floor(times)).all()
    if not sound or times[0] < 0 or (np.diff(times) < 0).any() or not 0 < times[-1] < 1e12:
        raise TraceError(f"{path}: milliseconds of packets should ascend, from 0 on")
    return times


def _text(path: Path) -> str:
    """A text file, unpacked if it is gzipped."""
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise TraceError(f"{path}: more than {MOST_BYTES:,} bytes of text")
        return data.decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise TraceError(f"{path}: not a readable text file ({error})") from error
