"""Faults that the clock had, or might have, put back by a patch: the naive engine finds them."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import pytest

from simfl.clock import lifecycle
from simfl.clock.battery import Batteries, Battery
from simfl.clock.events import Clock
from simfl.clock.lifecycle import Journeys
from simfl.clock.network import sharing
from simfl.clock.network.transfer import Carrier

Patch = Callable[[pytest.MonkeyPatch], None]


def cell_forgotten(patch: pytest.MonkeyPatch) -> None:
    """Once the server was full, a cell's own capacity is not looked at."""
    patch.setattr(sharing, "_overflows", lambda cell: False)


def overcharged(patch: pytest.MonkeyPatch) -> None:
    """A full battery goes on charging."""
    at = Battery.at
    patch.setattr(Battery, "at", lambda one, t, draw_w=0.0: at(one._replace(full_j=1e9), t, draw_w))


def pauses_without_charge(patch: pytest.MonkeyPatch) -> None:
    """What flows in during a task's pauses is not there when it is needed."""
    empty_s = Batteries.empty_s
    patch.setattr(
        Batteries,
        "empty_s",
        lambda all_, device, ahead, pauses: empty_s(all_, device, ahead, pauses=False),
    )


def shared_unwatched(patch: pytest.MonkeyPatch) -> None:
    """No battery is empty while a transfer is on a shared link."""
    cut_s = Journeys._cut_s

    def only_planned(journeys: Any, task: Any, j: Any, ends_s: list[float]) -> float:
        return cut_s(journeys, task, j, ends_s) if j.ends_s else j.lost_s

    patch.setattr(Journeys, "_cut_s", only_planned)


def left_at_the_end(patch: pytest.MonkeyPatch) -> None:
    """A message that is through just when its device leaves waits for its return."""

    def suspend(carrier: Carrier, carriage: Any) -> None:
        carrier._halt(carriage)
        carrier._flow(carriage)

    patch.setattr(Carrier, "_suspend", suspend)


def latency_carries(patch: pytest.MonkeyPatch) -> None:
    """On shared links a failure's share is that of the bytes, whatever the latency."""

    def share(j: Any, leg: int) -> float:
        return j.stop_share if leg == j.stop_leg else 1.0

    patch.setattr(lifecycle, "_carried_share", share)


def one_by_one(patch: pytest.MonkeyPatch) -> None:
    """The strategy is asked between two arrivals of one instant."""
    patch.setattr(Clock, "due", lambda clock, kind: True)


def never_cut(patch: pytest.MonkeyPatch) -> None:
    """Lifetimes and absences are looked at with the plan of a task only where it is alone."""
    patch.setattr(Journeys, "_watch", lambda journeys, task: None)


def endless(patch: pytest.MonkeyPatch) -> None:
    """Batteries never run empty."""
    patch.setattr(Battery, "empty_s", lambda one, draw_w: inf)


#: name -> (patch, True where exact worlds show it)
FAULTS: dict[str, tuple[Patch, bool]] = {
    "cell-after-full-server": (cell_forgotten, False),
    "battery-full-on-charger": (overcharged, True),
    "battery-paused-on-charger": (pauses_without_charge, True),
    "battery-on-shared-uplink": (shared_unwatched, False),
    "through-at-departure": (left_at_the_end, False),
    "failure-in-latency": (latency_carries, False),
    "arrivals-one-by-one": (one_by_one, True),
    "unwatched-losses": (never_cut, False),
    "battery-never-empty": (endless, True),
}
