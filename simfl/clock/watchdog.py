"""Why a run cannot go on, in words: the errors that end it instead of a loop without end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from simfl.errors import Stalled


def nothing_due(now_s: float, flying: int) -> Stalled:
    """No event is left. flying: tasks in flight."""
    story = (
        f"{flying} task(s) are in flight on devices that never come back"
        if flying
        else "nothing is in flight and no device will ever be present again"
    )
    return Stalled(f"nothing can happen any more after t = {now_s:g} s: {story}.")


def standstill(now_s: float, events: int) -> Stalled:
    """So many events took no time."""
    return Stalled(
        f"time stands still at t = {now_s:g} s: {events:,} events took no time at all. Give the "
        "devices' work or links a duration, or stop after a number of versions or updates."
    )


def nothing_sent(strategy: str, now_s: float) -> Stalled:
    """A step sent nothing although it could have."""
    return Stalled(
        f"{strategy} sent nothing at t = {now_s:g} s, with nothing in flight and devices present: "
        "nothing would ever happen again."
    )


def all_lost(now_s: float, tasks: int, causes: Iterable[str]) -> Stalled:
    """So many tasks in a row delivered nothing."""
    said = ", ".join(sorted(set(causes))) or "cancelled"
    return Stalled(
        f"the last {tasks:,} tasks were all lost ({said}) by t = {now_s:g} s: no update would ever "
        "arrive. Lower the fleet's drop-out, or stop the run earlier."
    )


def no_version(strategy: str, now_s: float, steps: int) -> Stalled:
    """So many steps in a row left the model as it was."""
    return Stalled(
        f"{strategy} has made no version in its last {steps:,} steps, by t = {now_s:g} s, and the "
        "scenario has no `stop.after_s`: it would go on for ever."
    )


def too_short(key: str, seconds: float, now_s: float) -> Stalled:
    """A period that vanishes beside the time that it is added to."""
    return Stalled(f"{key} = {seconds:g} is nothing beside t = {now_s:g} s: time would stand still")


def gone_wrong(what: str, now_s: float, server: Any) -> str:
    """Why a run whose learning diverged is no result, and what would do."""
    training = None if server.learning is None else server.learning.training
    rate = "" if training is None else f" than {training.rate(max(0, server.version - 1)):g}"
    return (
        f"learning diverged: {what}, since version {server.version} at t = {now_s:g} s; a smaller "
        f"learning.lr{rate} or a learning.clip_norm may keep it finite, and stop.on_divergence = "
        '"warn" goes on all the same'
    )
