"""FLASH's state traces: states that phones reported (Yang et al., WWW 2021).

A file is {id: {"messages": "2020-01-30 22:31:07\\tbattery_charged_on\\n...", ...}}. As in FLASH, a
phone is there while it charges, on Wi-Fi, with its screen locked. Unlike FLASH, times count from
the midnight before a phone's first message and repeat after whole days, so that the hours of the
day stay where they were.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from simfl.errors import TraceError, first_line
from simfl.fleet.traces import Trace
from simfl.interop.tables.encodings import read_text
from simfl.interop.tables.logs import MOST_SPAN_S
from simfl.units import DAY_S

#: message -> (what it is about, whether that now holds)
_SAYS = {
    "battery_charged_on": ("charging", True),
    "battery_charged_off": ("charging", False),
    "screen_lock": ("locked", True),
    "screen_unlock": ("locked", False),
    "wifi": ("wifi", True),
    **dict.fromkeys(("unknown", "2g", "3g", "4g", "5g"), ("wifi", False)),
}
_SAYS_NOTHING = ("screen_on", "screen_off", "battery_low", "battery_okay", "phone_on", "phone_off")


def read(path: Path) -> Trace:
    """The presence of the phones in a file. Raises TraceError.

    A phone is left out whose messages are not sound, or whose clock jumps by ten years;
    `skipped` in the metadata says how many.
    """
    phones = _phones(path)
    kept = [spans for phone in phones if (spans := _spans(phone)) is not None]
    if not any(spans for spans, _ in kept):
        raise TraceError(f"{path}: no phone is ever there (charging, on Wi-Fi and locked)")
    skipped = len(phones) - len(kept)
    about = {"source": "FLASH (Yang et al., WWW 2021)", "skipped": skipped}
    note = f"left out, for their messages are not sound: {skipped} of {len(phones)} phones"
    return presence(kept, **about, notes=[note] if skipped else [])


def _phones(path: Path) -> list[Any]:
    text = read_text(path)
    try:
        table = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{path}: not sound JSON ({first_line(error)})") from error
    phones = list(table.values()) if isinstance(table, dict) else table
    if not isinstance(phones, list) or not all(isinstance(one, dict) for one in phones):
        raise TraceError(f"{path}: expected a table of phones")
    return phones


def _spans(phone: dict[str, Any]) -> tuple[list[Span], float] | None:
    """When the phone is there, and its period; None if its messages make no sense."""
    try:
        messages = list(_messages(phone["messages"]))
    except (KeyError, AttributeError, ValueError):
        return None
    if not messages:
        return None
    first, last = min(messages)[0], max(messages)[0]
    if (last - first).total_seconds() > MOST_SPAN_S:
        return None
    midnight = datetime(first.year, first.month, first.day)
    days = max(1, ceil((last - midnight) / timedelta(days=1)))
    return joined(_there(messages, midnight), days * DAY_S), days * DAY_S


def _messages(text: str) -> Iterator[tuple[datetime, str]]:
    for line in text.split("\n"):
        if line.strip():
            when, what = line.strip().split("\t")
            moment = datetime.fromisoformat(when.strip()).replace(tzinfo=None)
            yield moment, what.strip().lower()


def _there(messages: list[tuple[datetime, str]], midnight: datetime) -> Iterator[Span]:
    """Spans in which everything holds that is needed."""
    holds = dict.fromkeys(("charging", "wifi", "locked"), False)
    since: float | None = None
    for when, what in sorted(messages, key=lambda message: message[0]):
        if what in _SAYS:
            about, now_holds = _SAYS[what]
            holds[about] = now_holds
        elif what not in _SAYS_NOTHING and not what.endswith("%"):
            holds = dict.fromkeys(holds, False)  # as FLASH does with what it cannot read
        t = (when - midnight).total_seconds()
        if all(holds.values()):
            since = t if since is None else since
        elif since is not None:
            yield since, t
            since = None


Span = tuple[float, float]


def joined(spans: Iterable[Span], period_s: float) -> list[Span]:
    """Ascending and apart, within 0 to period_s: those that meet are one, those of no length none.

    Less than 10 ms counts as no length.
    """
    found: list[Span] = []
    for start, end in sorted((max(0.0, start), min(end, period_s)) for start, end in spans):
        if end - start < 0.01:
            continue
        if found and start - found[-1][1] < 0.01:
            found[-1] = found[-1][0], max(found[-1][1], end)
        else:
            found.append((start, end))
    return found


def presence(devices: list[tuple[list[Span], float]], **about: object) -> Trace:
    """A presence trace of these devices: (spans, period_s) of each; never again if all are inf.

    Raises TraceError if empty.
    """
    rows = [
        (i, start, end, period_s)
        for i, (spans, period_s) in enumerate(devices)
        for start, end in spans
    ]
    device, start, end, period = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    columns = {"device": device.astype(np.int64), "start_s": start, "end_s": end}
    columns |= {"period_s": period} if np.isfinite(period).any() else {}
    return Trace("presence", columns, {"devices": len(devices), **about})
