"""Work of a device that pauses while it is away."""

from __future__ import annotations

from math import inf
from typing import Protocol

from simfl.errors import InputError

#: Times that one task may pause.
MOST_PAUSES = 100_000


class Presence(Protocol):
    """The part of the fleet that pausing needs."""

    def off_after(self, device: int, t: float) -> float: ...

    def on_after(self, device: int, t: float) -> float: ...


def done_at(presence: Presence, device: int, start_s: float, work_s: float) -> float:
    """When work of so many seconds, begun at start_s, is done; inf if never.

    Raises InputError where it would take longer than any run lasts.
    """
    for _ in range(MOST_PAUSES):
        if start_s == inf:
            return inf  # it never comes back
        start_s = presence.on_after(device, start_s)
        off_s = presence.off_after(device, start_s) if start_s < inf else inf
        if start_s + work_s <= off_s:
            return start_s + work_s
        work_s -= off_s - start_s
        start_s = off_s
    raise InputError(
        f"a task of device {device} would pause {MOST_PAUSES:,} times and still have {work_s:g} s "
        'of work to do: give it less to do, or another `on_offline` than "pause"'
    )


def worked_s(presence: Presence, device: int, start_s: float, end_s: float) -> float:
    """Seconds of [start_s, end_s] in which the device was there."""
    there_s = 0.0
    start_s = presence.on_after(device, start_s)
    while start_s < end_s:
        off_s = min(presence.off_after(device, start_s), end_s)
        there_s += off_s - start_s
        start_s = presence.on_after(device, off_s) if off_s < end_s else end_s
    return there_s
