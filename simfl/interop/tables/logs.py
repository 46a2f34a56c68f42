"""Throughput logs as bandwidth traces: a row for each moment, with the rate that was measured.

Columns are `t_s` (seconds, from anywhere, or an ISO 8601 time stamp) or `t_ms`; `mbps` (or
`down_mbps`, `up_mbps`); and perhaps `trace`, a name for each recording. Times count from the first
row of each recording. A rate holds from the row before to its own (`hold = "backward"`: the first
row of a recording only says when it began) or from its own row to the next (`"forward"`: the last
row only says when it ended). A recording that goes 1 s, 2 s, 3 s began at second 0: backward, its
first row counts as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from simfl.errors import TraceError, did_you_mean, shorten
from simfl.fleet.network.series import TICKS
from simfl.fleet.traces import MOST_ROWS, Trace
from simfl.interop.tables.spreadsheets import Rows
from simfl.units import DAY_S

HOLDS = ("backward", "forward")

#: hold -> (row whose rate is not used, the other hold, the row whose rate that one does not use)
_ENDS = {"backward": ("first", "forward", "last"), "forward": ("last", "backward", "first")}

#: Seconds that a recording may span: ten years.
MOST_SPAN_S = 3653 * DAY_S

TIMES = ("t_s", "t_ms")
RATES = {"mbps": "down_mbps", "down_mbps": "down_mbps", "up_mbps": "up_mbps"}


def read_log(rows: Rows, hold: str) -> Trace:
    """The recordings of the rows. Metadata count what is not used, as `notes` in words. TraceError.

    hold: "backward" or "forward".
    """
    if hold not in HOLDS:
        raise TraceError(f"hold = {shorten(hold)!r} is not known {did_you_mean(hold, HOLDS)}")
    names, recordings = _recordings(rows)
    recordings = [_from_its_start(one, hold) for one in recordings]
    steps = [_steps(rows.path, one, hold) for one in recordings]
    used = [one for one in steps if len(one) and one[:, 1:].any()]
    if not recordings:
        raise TraceError(f"{rows.path}: holds no recording, for it has no rows")
    if not used:
        raise TraceError(
            f"{rows.path}: no recording of which anything passes (of {len(recordings)}, each has "
            "fewer than two moments, or rates of 0 alone)"
        )
    whole = np.concatenate(used)
    columns = {"trace": np.repeat(np.arange(len(used)), [*map(len, used)]), "t_s": whole[:, 0]}
    columns |= {RATES[name]: whole[:, k] for k, name in enumerate(names, start=1)}
    skipped = len(recordings) - len(used)
    notes = list(_notes(rows, recordings, steps, hold, skipped))
    about = {"source": f"throughput log {rows.path.name}", "skipped": skipped, "notes": notes}
    return Trace("bandwidth", columns, about)


def _recordings(rows: Rows) -> tuple[list[str], list[np.ndarray]]:
    """(names of the rates, recordings as rows of a time in seconds and these rates)."""
    found: dict[str, list[tuple[float, ...]]] = {}
    time, rates = "", list[str]()
    for number, (where, row) in enumerate(rows.rows):
        if not time:
            time, rates = _columns(rows.path, row)
        moment = rows.time_s(where, row, time)
        recording = found.setdefault(str(row.get("trace", "")), [])
        if recording and moment < recording[-1][0]:
            raise TraceError(
                f"{rows.path}: {where}: {time} = {shorten(str(row[time]))} is before the row above "
                "it: times should ascend; sort them, or name recordings in a column trace"
            )
        recording.append((moment, *(rows.number(where, row, name) for name in rates)))
        if number >= MOST_ROWS:
            raise TraceError(f"{rows.path}: more than {MOST_ROWS:,} rows")
    return rates, [np.array(values) for values in found.values()]


def _columns(path: Path, row: Mapping[str, Any]) -> tuple[str, list[str]]:
    """Names of the columns of times and rates."""
    times = [name for name in TIMES if name in row]
    rates = [name for name in RATES if name in row]
    if not times:
        hint = did_you_mean("t_s", [*row][:40])
        raise TraceError(f"{path}: column t_s is missing (or t_ms) {hint}")
    if not rates:
        hint = did_you_mean("mbps", [*row][:40])
        raise TraceError(f"{path}: expected a column mbps, down_mbps or up_mbps {hint}")
    for many in (times, [name for name in rates if RATES[name] == "down_mbps"]):
        if len(many) > 1:
            raise TraceError(f"{path}: expected one of the columns {' and '.join(many)}, not both")
    return times[0], rates


def _from_its_start(rows: np.ndarray, hold: str) -> np.ndarray:
    """The recording, with a row at second 0 before one that is as far from it as from the next."""
    later = rows[rows[:, 0] > rows[0, 0], 0]
    if hold == "forward" or not len(later) or rows[0, 0] <= 0.0:
        return rows
    regular = rows[0, 0] <= 1.5 * (later[0] - rows[0, 0])
    return np.concatenate([np.zeros_like(rows[:1]), rows]) if regular else rows


def _steps(path: Path, rows: np.ndarray, hold: str) -> np.ndarray:
    """Rows of (end of a step in seconds since the first row, rates); n moments make n - 1 steps.

    Rows of one tick are one moment, at which their rates are averaged.
    """
    ticks = np.round((rows[:, 0] - rows[0, 0]) * TICKS)
    first = np.flatnonzero(np.diff(ticks, prepend=-1.0) > 0.0)
    counts = np.diff(first, append=len(rows))
    rates = np.add.reduceat(rows[:, 1:], first, axis=0) / counts[:, None]
    if ticks[-1] > MOST_SPAN_S * TICKS:
        years = ticks[-1] / TICKS / (365.25 * DAY_S)
        raise TraceError(
            f"{path}: a recording spans {years:.0f} years, from {rows[0, 0]:.15g} to "
            f"{rows[-1, 0]:.15g} s, expected at most 10; name recordings in a column trace"
        )
    used = rates[1:] if hold == "backward" else rates[:-1]
    return np.column_stack([ticks[first][1:] / TICKS, used])


def _notes(
    rows: Rows, recordings: list[np.ndarray], steps: list[np.ndarray], hold: str, skipped: int
) -> Iterator[str]:
    """What was done to the rows, and what of them is not in the trace."""
    n = len(recordings)
    begins = [one[0, 0] for one in recordings if one[0, 0] != 0.0]
    if begins:
        yield f"times count from each recording's first row (which was at {begins[0]:.15g} s)"
    end, other, uses = _ENDS[hold]
    unused = sum(bool(one[0 if hold == "backward" else -1, 1:].any()) for one in recordings)
    if unused:
        yield (
            f"rates hold {hold}, so that the one of the {end} row is not used in {unused} of {n} "
            f"recordings (--hold {other} uses it, and not the one of the {uses} row)"
        )
    joined = sum(map(len, recordings)) - sum(len(one) + 1 for one in steps)
    if joined:
        yield f"averaged with the row above, for they are of the same moment: {joined} rows"
    if skipped:
        yield f"left out, for they have one moment only, or rates of 0: {skipped} of {n} recordings"
    if rows.points == ",":
        yield "commas are decimal"
    yield from _gaps(steps)


def _gaps(steps: list[np.ndarray]) -> Iterator[str]:
    """A note on a gap over a minute that is a hundred times as long as the typical step."""
    lengths = np.concatenate([np.diff(one[:, 0], prepend=0.0) for one in steps])
    longest, typical = lengths.max(), np.median(lengths)
    if longest > max(60.0, 100.0 * typical):
        yield f"the longest gap between rows is {longest:g} s, the typical one {typical:g} s"
