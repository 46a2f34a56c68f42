"""Traces: one Parquet file with one table of what was measured on real devices.

The schema's metadata hold, under the key `simfl`, a JSON object: `trace` (the kind), `version`,
and what else the kind needs; `source` says where it is from. Kinds and their columns:

| kind | columns | also in the metadata |
|---|---|---|
| capacity | any of train_gflops, down_mbps, up_mbps: one row for each device | |
| presence | device, start_s, end_s: when each is there; perhaps period_s | devices; period_s |
| bandwidth | trace, t_s, down_mbps, up_mbps (or one of these): the mean rate up to t_s | |
| charger | trace, t_s, charge_w: the watts up to t_s | |

Rows ascend by device or trace, and within it by time. Presence repeats after period_s, a number
for all or a column that is the same in all rows of a device; without either, never. A recording
repeats after its last row.

A scenario names a trace: `night` is the file `traces/night.parquet` beside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import StringConstraints

from simfl.errors import TraceError, did_you_mean, first_line, shorten
from simfl.files import put, regular
from simfl.fleet.network.series import Series
from simfl.fleet.presence.intervals import Intervals

VERSION = 1
FOLDER = "traces"

#: Rows that a trace may have; a gigabyte or two of memory.
MOST_ROWS = 50_000_000

#: Seconds, GFLOP/s and Mbit/s stay below this: products of them are finite.
MOST_VALUE = 1e15

#: kind -> (columns that it needs, columns that it may have)
KINDS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "capacity": ((), ("train_gflops", "down_mbps", "up_mbps")),
    "presence": (("device", "start_s", "end_s"), ("period_s",)),
    "bandwidth": (("trace", "t_s"), ("down_mbps", "up_mbps")),
    "charger": (("trace", "t_s", "charge_w"), ()),
}

#: How a scenario names a trace.
TraceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$")]


@dataclass(frozen=True, eq=False)
class Trace:
    """A trace in memory.

    columns: equally long, int64 and float64.
    about: metadata.
    """

    kind: str
    columns: Mapping[str, np.ndarray]
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def intervals(self) -> Intervals:
        """The presence of a presence trace's devices."""
        device, n = self.columns["device"], self.about["devices"]
        offsets = np.concatenate([[0], np.cumsum(np.bincount(device, minlength=n))])
        starts, ends = self.columns["start_s"], self.columns["end_s"]
        return Intervals(offsets, starts, ends, self.periods_s())

    def periods_s(self) -> np.ndarray:
        """(devices,) seconds after which each one's presence repeats; inf: never."""
        common = self.about.get("period_s")
        periods_s = np.full(self.about["devices"], inf if common is None else float(common))
        if "period_s" in self.columns:
            periods_s[self.columns["device"]] = self.columns["period_s"]
        return periods_s

    def series(self, column: str) -> Series:
        """A column of a bandwidth or charger trace over time: a row for each recording."""
        return Series(_offsets(self.columns["trace"]), self.columns["t_s"], self.columns[column])


def write_trace(path: Path, trace: Trace) -> None:
    """The trace is on disk."""
    import pyarrow as pa
    from pyarrow import parquet

    about = {**trace.about, "trace": trace.kind, "version": VERSION}
    table = pa.table({name: pa.array(values) for name, values in trace.columns.items()})
    table = table.replace_schema_metadata({"simfl": json.dumps(about, sort_keys=True)})
    held = pa.BufferOutputStream()
    parquet.write_table(table, held, compression="zstd")
    put(path, held.getvalue().to_pybytes())


def read_trace(path: Path) -> Trace:
    """The trace in a file. Raises TraceError."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(regular(path, TraceError)) as file:
            about = _about(path, file.schema_arrow.metadata or {})
            if file.metadata.num_rows > MOST_ROWS:
                raise TraceError(f"{path}: {file.metadata.num_rows:,} rows are too many")
            table = file.read()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise TraceError(
            f"{path}: this is not a readable Parquet file ({first_line(error)})"
        ) from error
    kind = about.pop("trace")
    try:
        return Trace(kind, _columns(table, *KINDS[kind]), about)
    except TraceError as error:
        raise TraceError(f"{path}: {error}") from error


def find_trace(name: str, folders: Sequence[Path]) -> Path:
    """The file of a trace, in the first folder that has it. Raises TraceError."""
    files = {path.stem: path for f in reversed(folders) for path in sorted(f.glob("*.parquet"))}
    if name in files:
        return files[name]
    where = " or ".join(map(str, folders)) or "no folder"
    raise TraceError(f"{name!r} is not a trace in {where} {did_you_mean(name, files)}")


def load_trace(name: str, kind: str, folders: Sequence[Path]) -> Trace:
    """The trace of this name and kind. Raises TraceError."""
    path = find_trace(name, folders)
    trace = read_trace(path)
    if trace.kind != kind:
        raise TraceError(f"{path}: this is a {trace.kind} trace, expected a {kind} trace")
    return trace


def _about(path: Path, metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    try:
        about = json.loads(metadata[b"simfl"])
        kind, version = str(about["trace"]), about["version"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise TraceError(
            f"{path}: no trace of simfl: its Parquet metadata have no sound key `simfl`"
        ) from error
    if kind not in KINDS:
        raise TraceError(
            f"{path}: unknown kind of trace {shorten(kind)!r} {did_you_mean(kind, KINDS)}"
        )
    if version != VERSION:
        raise TraceError(
            f"{path}: version {shorten(str(version))} of the format, expected {VERSION}"
        )
    return dict(about)


def _columns(table: Any, needed: Sequence[str], optional: Sequence[str]) -> dict[str, np.ndarray]:
    found = {}
    for name in table.column_names:
        if name not in (*needed, *optional):
            hint = did_you_mean(name, (*needed, *optional))
            raise TraceError(f"{name} is not a column of this kind of trace {hint}")
        column = table.column(name)
        if column.null_count:
            raise TraceError(f"column {name} has {column.null_count} empty cells")
        try:
            values = column.to_numpy()
            found[name] = values.astype(np.int64 if name in _WHOLE else np.float64, casting="safe")
        except (TypeError, ValueError) as error:
            raise TraceError(f"column {name}: {column.type} cannot be numbers") from error
    return found


_WHOLE = ("device", "trace")


def _check(trace: Trace) -> None:
    """Everything that a single table can show. Raises TraceError."""
    needed, optional = KINDS[trace.kind]
    missing = [name for name in needed if name not in trace.columns]
    if missing:
        raise TraceError(f"column {missing[0]} is missing")
    if "down_mbps" in optional and not set(optional) & set(trace.columns):
        raise TraceError(f"expected at least one column of {', '.join(optional)}")
    if not len(trace):
        raise TraceError("the trace has no rows")
    for name, values in trace.columns.items():
        if values.dtype.kind == "f" and not (np.abs(values) < MOST_VALUE).all():
            raise TraceError(
                f"column {name} has values that are not finite or reach {MOST_VALUE:g}"
            )
    _CHECKS[trace.kind](trace)


def _check_capacity(trace: Trace) -> None:
    for name, values in trace.columns.items():
        if (values <= 0.0).any():
            raise TraceError(f"column {name}: row {int(np.argmin(values))} is not above 0")


def _check_presence(trace: Trace) -> None:
    device, n = trace.columns["device"], trace.about.get("devices")
    if not isinstance(n, int) or isinstance(n, bool) or not 1 <= n <= MOST_ROWS:
        wanted = f"a whole number from 1 to {MOST_ROWS:,}"
        raise TraceError(f"metadata: devices = {shorten(str(n))}, expected {wanted}")
    if (np.diff(device) < 0).any() or device[0] < 0 or device[-1] >= n:
        raise TraceError(f"column device should ascend from 0 to at most {n - 1}")
    common, period_s = trace.about.get("period_s"), trace.columns.get("period_s")
    if not (common is None or (isinstance(common, int | float) and 0.0 < common < 1e15)):
        given = shorten(str(common))
        raise TraceError(f"metadata: period_s = {given}, expected seconds above 0, or null")
    if period_s is not None and (np.diff(period_s)[np.diff(device) == 0] != 0.0).any():
        raise TraceError("column period_s should be the same in all rows of a device")
    trace.intervals()


def _check_bandwidth(trace: Trace) -> None:
    if (np.diff(trace.columns["trace"]) < 0).any():
        raise TraceError("column trace should ascend")
    for name in ("down_mbps", "up_mbps"):
        if name in trace.columns and (trace.series(name).means() <= 0.0).any():
            raise TraceError(f"column {name}: a recording in which nothing passes at all")


def _check_charger(trace: Trace) -> None:
    if (np.diff(trace.columns["trace"]) < 0).any():
        raise TraceError("column trace should ascend")
    trace.series("charge_w")


_CHECKS = {
    "capacity": _check_capacity,
    "presence": _check_presence,
    "bandwidth": _check_bandwidth,
    "charger": _check_charger,
}


def _offsets(ids: np.ndarray) -> np.ndarray:
    """Where each run of equal ids begins, and the end."""
    return np.concatenate([[0], np.flatnonzero(np.diff(ids)) + 1, [len(ids)]])
