"""mahimahi packet files (Netravali et al., ATC 2015) as bandwidth traces.

Each line is the millisecond, perhaps with a fraction, at which one packet of 1,500 bytes can be
delivered; the file repeats after its last line.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import ceil
from pathlib import Path

import numpy as np

from simfl.errors import TraceError, first_line
from simfl.fleet.network.series import TICKS
from simfl.fleet.traces import MOST_ROWS, Trace
from simfl.interop.tables.encodings import read_text
from simfl.interop.tables.logs import MOST_SPAN_S

PACKET_BYTES = 1500


def read_mahimahi(path: Path, *, up: Path | None = None, bin_s: float = 1.0) -> Trace:
    """One recording of a packet file, and of one for the way up. Raises TraceError.

    bin_s: packets are counted in bins so long; the last one may be of another length.
    """
    down = _packets(path)
    both = {"down_mbps": down} if up is None else {"down_mbps": down, "up_mbps": _packets(up)}
    origin_ms = min(times[0] for times in both.values())
    origin_ms = origin_ms if origin_ms > MOST_SPAN_S * 1e3 else 0.0  # since 1970
    both = {name: times - origin_ms for name, times in both.items()}
    end_ms = max(1, ceil(min(times[-1] for times in both.values())))
    ends_s = _ends(path, end_ms / 1e3, bin_s)
    edges_ms = np.concatenate([[0.0], ends_s * 1e3])
    columns = {"trace": np.zeros(len(ends_s), dtype=np.int64), "t_s": ends_s}
    for name, times in both.items():
        packets, _ = np.histogram(times[times <= end_ms], edges_ms)
        columns[name] = packets * PACKET_BYTES * 8 / 1e6 / np.diff(edges_ms) * 1e3
    notes = list(_notes(both, origin_ms, end_ms))
    return Trace("bandwidth", columns, {"source": f"mahimahi file {path.name}", "notes": notes})


def _ends(path: Path, end_s: float, bin_s: float) -> np.ndarray:
    """Ends of the bins; a rest that no step of a series could be joins the bin before it."""
    if not 0.01 <= bin_s <= MOST_SPAN_S:
        raise TraceError(f"bin_s = {bin_s:g}, expected seconds from 0.01 to {MOST_SPAN_S:g}")
    bins = max(1, ceil((end_s - 2 / TICKS) / bin_s))
    if end_s > MOST_SPAN_S or bins > MOST_ROWS:
        raise TraceError(
            f"{path}: spans {end_s:g} s in {bins:,} bins, expected at most {MOST_SPAN_S:g} s and "
            f"{MOST_ROWS:,} bins; lines are milliseconds since the recording began"
        )
    ends_s = bin_s * np.arange(1, bins + 1)
    ends_s[-1] = end_s
    return ends_s


def _notes(both: Mapping[str, np.ndarray], origin_ms: float, end_ms: float) -> Iterator[str]:
    if origin_ms:
        yield f"times count from the first packet, at {origin_ms:.15g} ms"
    late = sum(int((times > end_ms).sum()) for times in both.values())
    if late:
        yield f"left out, for they come after the other direction has ended: {late} packets"


def _packets(path: Path) -> np.ndarray:
    """Milliseconds of the packets."""
    try:
        times = np.array(read_text(path).split(), dtype=np.float64)
    except ValueError as error:
        reason = first_line(error)
        raise TraceError(
            f"{path}: every line should be a number of milliseconds ({reason})"
        ) from error
    sound = len(times) > 0 and bool((times >= 0.0).all()) and bool((times < 1e15).all())
    if not sound or (np.diff(times) < 0).any() or times[-1] <= 0.0:
        raise TraceError(f"{path}: milliseconds of packets should ascend, from 0 on")
    return times
