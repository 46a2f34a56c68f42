"""Spans of time, however somebody wrote them down."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from simfl.fleet.traces import Trace

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
    """A presence trace of these devices: (spans, period_s) of each. Raises TraceError if empty."""
    rows = [
        (i, start, end, period_s)
        for i, (spans, period_s) in enumerate(devices)
        for start, end in spans
    ]
    device, start, end, period = np.array(rows, dtype=np.float64).reshape(-1, 4).T
    columns = {"device": device.astype(np.int64), "start_s": start, "end_s": end}
    return Trace("presence", columns | {"period_s": period}, {"devices": len(devices), **about})
