"""Faults that the clock had, or might have, put back by a patch: the naive engine finds them."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

import pytest

from simfl.clock.battery import Batteries, Battery
from simfl.clock.events import Clock
from simfl.clock.living.rescaling import LivingLifecycle
from simfl.clock.network import sharing
from simfl.clock.network.transfer import Transfers
from simfl.clock.tasks import lifecycle
from simfl.clock.tasks.lifecycle import Lifecycle

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
    cut_s = Lifecycle._cut_s

    def only_planned(lifecycle: Any, task: Any, plan: Any, ends_s: list[float]) -> float:
        return cut_s(lifecycle, task, plan, ends_s) if plan.ends_s else plan.lost_s

    patch.setattr(Lifecycle, "_cut_s", only_planned)


def left_at_the_end(patch: pytest.MonkeyPatch) -> None:
    """A message that is through just when its device leaves waits for its return."""

    def suspend(transfers: Transfers, transfer: Any) -> None:
        transfers._halt(transfer)
        transfers._flow(transfer)

    patch.setattr(Transfers, "_suspend", suspend)


def latency_carries(patch: pytest.MonkeyPatch) -> None:
    """On shared links a failure's share is that of the bytes, whatever the latency."""

    def share(plan: Any, phase: int) -> float:
        return plan.stop_share if phase == plan.stop_phase else 1.0

    patch.setattr(lifecycle, "carried_share", share)


def one_by_one(patch: pytest.MonkeyPatch) -> None:
    """The strategy is asked between two arrivals of one instant."""
    patch.setattr(Clock, "due", lambda clock, kind: True)


def never_cut(patch: pytest.MonkeyPatch) -> None:
    """Lifetimes and absences are looked at with the plan of a task only where it is alone."""
    patch.setattr(Lifecycle, "_watch", lambda lifecycle, task: None)


def endless(patch: pytest.MonkeyPatch) -> None:
    """Batteries never run empty."""
    patch.setattr(Battery, "empty_s", lambda one, draw_w, end_s=inf: inf)


def slows_later(patch: pytest.MonkeyPatch) -> None:
    """A training under way goes on as fast as it began."""
    patch.setattr(LivingLifecycle, "respeed", lambda lifecycle, task, factor: None)


def carries_later(patch: pytest.MonkeyPatch) -> None:
    """A transfer under way keeps the link that it began with."""
    patch.setattr(LivingLifecycle, "relink", lambda lifecycle, task: None)


def pauses_later(patch: pytest.MonkeyPatch) -> None:
    """A task under way goes on when a process takes its device away."""
    patch.setattr(LivingLifecycle, "replace", lambda lifecycle, task: None)


def fills_later(patch: pytest.MonkeyPatch) -> None:
    """Transfers in a cell whose capacity a process sets do not share it."""
    patch.setattr(Transfers, "resize", lambda transfers, cell, rate, up: None)


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
    "speed-in-mid-task": (slows_later, True),
    "link-in-mid-transfer": (carries_later, True),
    "leave-in-mid-task": (pauses_later, True),
    "cell-in-mid-transfer": (fills_later, False),
}
