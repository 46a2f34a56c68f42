"""Tables of sessions as presence and charger traces: a row from the start to the end of each.

Columns are `device`, any name; `start_s` and `end_s`, seconds or ISO 8601 time stamps; and, for a
charger, `charge_w`, the watts that flow in meanwhile. Rows come in any order. Second 0 of the trace
is the midnight before the first start. Devices are numbered in the order in which the file names
them.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from math import ceil, inf
from typing import Any, NamedTuple

import numpy as np

from simfl.errors import TraceError, did_you_mean, shorten
from simfl.fleet.traces import MOST_ROWS, Trace
from simfl.interop.flash import joined, presence
from simfl.interop.tables.logs import MOST_SPAN_S
from simfl.interop.tables.spreadsheets import Rows
from simfl.units import DAY_S

NEEDED = ("device", "start_s", "end_s")
WATTS = "charge_w"

#: Numbers from here on, 1980, are seconds since 1970, and have a date.
_SINCE_1970_S = 10 * 365.25 * DAY_S


class Session(NamedTuple):
    """A row of the file.

    where: its line.
    """

    start_s: float
    end_s: float
    watts: float
    where: str


def read(rows: Rows, kind: str, period_s: float | None) -> Trace:
    """The sessions of the rows. Metadata say in `notes` what was done to them. Raises TraceError.

    kind: presence or charger.
    period_s: after what time the sessions of all devices repeat, inf: never; default: whole days.
    """
    devices = _sessions(rows, kind)
    midnight_s, of_day = _midnight_s(rows, devices)
    devices = [[_later(one, -midnight_s) for one in device] for device in devices]
    last_s = max(one.end_s for device in devices for one in device)
    every_s = DAY_S * ceil(last_s / DAY_S) if period_s is None else period_s
    _check_period(rows, every_s, last_s)
    notes = [of_day, f"{len(devices)} devices, in the order in which the file names them"]
    notes += [f"repeats after {every_s:.15g} s" if every_s < inf else "never repeats"]
    notes += ["commas are decimal"] * (rows.points == ",")
    if kind == "charger":
        return _charger(rows, devices, every_s, notes)
    spans = [[(one.start_s, one.end_s) for one in device] for device in devices]
    kept = [(joined(device, every_s), every_s) for device in spans]
    fewer = sum(map(len, spans)) - sum(len(device) for device, _ in kept)
    notes += [f"joined with others that they touch, or too short: {fewer} sessions"] * bool(fewer)
    return presence(kept, source=f"sessions {rows.path.name}", notes=notes)


def _sessions(rows: Rows, kind: str) -> list[list[Session]]:
    """The sessions of each device. Raises TraceError."""
    found: dict[str, list[Session]] = {}
    for number, (where, row) in enumerate(rows.rows):
        for name in NEEDED:
            if name not in row:
                hint = did_you_mean(name, [*map(str, row)][:40])
                raise TraceError(f"{rows.path}: {where}: column {name} is missing {hint}")
        device = str(row["device"]).strip()
        if not device or row["device"] is None:
            raise TraceError(f"{rows.path}: {where}: device is empty, expected the name of one")
        start_s, end_s = (rows.time_s(where, row, name) for name in NEEDED[1:])
        if not start_s < end_s:
            given = (
                f"end_s = {shorten(str(row['end_s']))}, start_s = {shorten(str(row['start_s']))}"
            )
            raise TraceError(f"{rows.path}: {where}: {given}: expected an end after the start")
        watts = rows.number(where, row, WATTS) if kind == "charger" else 0.0
        found.setdefault(device, []).append(Session(start_s, end_s, watts, where))
        if number >= MOST_ROWS:
            raise TraceError(f"{rows.path}: more than {MOST_ROWS:,} rows")
    return list(found.values())


def _midnight_s(rows: Rows, devices: list[list[Session]]) -> tuple[float, str]:
    """Second 0 of the trace in the file's seconds, and how the trace says so."""
    first_s = min(one.start_s for device in devices for one in device)
    last_s = max(one.end_s for device in devices for one in device)
    dated = rows.clock != "a number" or first_s >= _SINCE_1970_S
    midnight_s = first_s // DAY_S * DAY_S if dated else 0.0
    if last_s - midnight_s > MOST_SPAN_S:
        years = (last_s - midnight_s) / (365.25 * DAY_S)
        raise TraceError(f"{rows.path}: spans {years:.0f} years, expected at most 10")
    if not dated:
        return 0.0, "times are taken as seconds since a midnight"
    day = np.datetime64(int(midnight_s), "s").astype("datetime64[D]")
    zone = "" if rows.clock == "a time stamp" else " UTC"
    return midnight_s, f"second 0 is the midnight{zone} that begins {day}"


def _later(one: Session, by_s: float) -> Session:
    return one._replace(start_s=one.start_s + by_s, end_s=one.end_s + by_s)


def _check_period(rows: Rows, every_s: float, last_s: float) -> None:
    if not last_s <= every_s:
        raise TraceError(
            f"{rows.path}: period_s = {every_s:.15g}, but sessions last until second "
            f"{last_s:.15g}; expected a period that holds them all, or inf"
        )


def _charger(rows: Rows, devices: list[list[Session]], every_s: float, notes: list[str]) -> Trace:
    """What flows in, step by step, 0 W between sessions; of each device until the period ends."""
    if every_s == inf:
        raise TraceError(
            f"{rows.path}: period_s = inf: a charger repeats; give a number of seconds"
        )
    steps = [list(_steps(rows, sorted(device), every_s)) for device in devices]
    whole: Any = np.array([step for device in steps for step in device])
    columns = {
        "trace": np.repeat(np.arange(len(steps)), [*map(len, steps)]),
        "t_s": whole[:, 0],
        WATTS: whole[:, 1],
    }
    about = {"source": f"sessions {rows.path.name}", "notes": notes}
    return Trace("charger", columns, about)


def _steps(rows: Rows, device: list[Session], every_s: float) -> Iterator[tuple[float, float]]:
    """(until_s, watts), from second 0 to the end of the period."""
    for one, other in pairwise(device):
        if other.start_s < one.end_s:
            raise TraceError(
                f"{rows.path}: {other.where}: the session from second {other.start_s:.15g} begins "
                f"before the one of {one.where} ends; expected one at a time for each device"
            )
    now_s = 0.0
    for one in device:
        if one.start_s > now_s:
            yield one.start_s, 0.0
        yield one.end_s, one.watts
        now_s = one.end_s
    if now_s < every_s:
        yield every_s, 0.0
