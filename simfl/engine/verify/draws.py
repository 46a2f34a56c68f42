"""Laws of single tasks: durations and fates follow from the device's columns and the draws.

A task's draws are addressed by the seed, its device, and how many tasks the device had before, so
they are known without playing the run.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from simfl.engine.verify.world import Tasks, World
from simfl.fleet.laws import FlopRate
from simfl.results.verify import Unchecked
from simfl.results.verify.subject import SLACK_S, apart, late
from simfl.results.verify.tasks import POLLING
from simfl.scenario import TimingOptions
from simfl.strategy.special_rules import PersonalRule, step_flops

WAYS = ("download", "upload")


def links(w: World) -> str | None:
    """Latency, then bytes at the device's rate; slower where links are shared or tasks retry."""
    t = w.tasks
    for way, (name, of, draw) in enumerate(
        zip(WAYS, (w.fleet.link.down, w.fleet.link.up), (0, 3), strict=True)
    ):
        latency_s, rate = _links(t, of, draw)
        spent_s, moved = t.spent_s[:, 2 * way], t.moved[:, way]
        through = t.phase != name if name == "download" else t.delivered
        alone = ~t.retries & (not w.shared)
        due_s = latency_s + moved / rate
        wrong = through & alone & apart(spent_s, due_s)
        if not w.base.link.varying:
            wrong |= through & late(due_s, spent_s) & ~t.retries
            wrong |= _too_much(moved, rate, spent_s, t.retries)
            part = np.clip((spent_s - latency_s) * np.where(rate < np.inf, rate, 0.0), 0.0, None)
            unlike = ~(np.abs(moved - part) <= 1.0 + 1e-9 * moved) & (rate < np.inf)
            wrong |= ~through & (t.phase == name) & alone & unlike
        wrong &= w.untouched("set_link.down", "set_link.up")
        problem = t.first(wrong, f"the {name} did not take what its bytes take")
        if problem:
            return problem
    return None


def _links(
    t: Tasks, of: Callable[[int, float, float], tuple[float, float]], draw: int
) -> tuple[np.ndarray, np.ndarray]:
    u = t.u[:, draw : draw + 2].tolist()
    pairs = [of(i, *draws) for i, draws in zip(t.device.tolist(), u, strict=True)]
    latency_s, rate = np.array(pairs).reshape(-1, 2).T
    return latency_s, rate


def _too_much(
    moved: np.ndarray, rate: np.ndarray, spent_s: np.ndarray, retries: np.ndarray
) -> np.ndarray:
    """Each attempt of a task that retries is rounded by itself."""
    attempts = np.where(retries, 1000.0, 1.0)
    return ~(moved <= rate * (spent_s + SLACK_S) * (1.0 + 1e-9) + attempts)


def totals(w: World) -> str | None:
    """What had been moved at an evaluation: what was through, and pro rata what was under way."""
    if w.shared:
        raise Unchecked("messages share links, so their pace is not in the tables")
    if any(one.faults.retry or one.faults.on_offline == "pause" for one in w.scenario.fleet.group):
        raise Unchecked("devices pause or try again at moments that are not in the tables")
    if len(w.changes("set_link.down", "set_link.up", "leave")):
        raise Unchecked("processes changed links and presence meanwhile")
    t, seen = w.tasks, w.run.evaluations
    if not w.run.finished:
        raise Unchecked("the run is unfinished")
    begun_s = (t.dispatched_s, t.ended_s - t.spent_s[:, 2])
    for way, (name, of, draw) in enumerate(
        zip(WAYS, (w.fleet.link.down, w.fleet.link.up), (0, 3), strict=True)
    ):
        column = ("down_bytes", "up_bytes")[way]
        latency_s, rate = _links(t, of, draw)
        first_s, moved = begun_s[way] + latency_s, t.moved[:, way]
        last_s = begun_s[way] + t.spent_s[:, 2 * way]
        for now_s, recorded in zip(seen["time_s"].tolist(), seen[column].tolist(), strict=True):
            least, most = _moved(now_s, first_s, last_s, rate, moved)
            if not least <= recorded <= most:
                return f"{column} at t = {now_s:g} s is {recorded}; the {name}s had moved {least}"
    return None


def _moved(
    now_s: float, first_s: np.ndarray, last_s: np.ndarray, rate: np.ndarray, moved: np.ndarray
) -> tuple[int, int]:
    """Bytes of messages by now, of which each is rounded: at least and at most."""
    flown_s = np.clip(now_s - first_s, 0.0, None)
    part = np.where(flown_s > 0.0, flown_s * np.where(rate < np.inf, rate, 1e30), 0.0)
    unsure = SLACK_S * np.where(rate < np.inf, rate, 0.0) * 1e-3 + 1e-6
    ends = [
        np.where(now_s >= last_s + slack_s, moved, np.clip(np.round(part + more), 0, moved))
        for slack_s, more in ((SLACK_S, -unsure), (-SLACK_S, unsure))
    ]
    return int(ends[0].sum()), int(ends[1].sum())


def training(w: World) -> str | None:
    """By the device's law, the task's steps and its draw."""
    if w.app:
        raise Unchecked("a Flower app decides how long a message is worked on")
    if w.own_loop:
        raise Unchecked("a training function says how much work a task was")
    t, law = w.tasks, w.fleet.compute
    kinds = [isinstance(one, FlopRate) for one in law.laws]
    by_flops = np.array(kinds)[w.group][t.device] if len(t.device) else np.zeros(0, bool)
    steps = t.steps(w.scenario.learning.batch_size)
    problem = t.first(
        ~t.whole_steps(w.scenario.learning.batch_size), "no whole number of mini-batches"
    )
    if problem:
        return problem
    if not np.isfinite(t.epochs).all():
        return t.first(~np.isfinite(t.epochs), "no number of passes over the data")
    none_s = _trains(law, t, np.zeros(len(steps)), steps)
    unit_s = _trains(law, t, np.full(len(steps), 1e12), steps) - none_s
    work = t.seen().astype(float)
    sure = (t.phase == "upload") & ~t.retries & ~np.isfinite(_hangs(w, steps))
    sure &= w.untouched("leave") | w.untouched("set_speed")  # else it paused at some speed
    spent_s = _nominal_s(w)
    flops = _flops(w, np.where(by_flops & sure, spent_s - none_s, np.nan) / unit_s, work)
    due_s = none_s + np.where(by_flops, unit_s * flops, 0.0)
    wrong = sure & late(spent_s, due_s)
    if not _shortens(w):
        wrong |= sure & apart(spent_s, due_s)
    return t.first(wrong, "training did not take what its work takes")


def _nominal_s(w: World) -> np.ndarray:
    """Seconds that each training would have taken at the scenario's speeds."""
    t = w.tasks
    begun_s, spent_s = t.dispatched_s + t.spent_s[:, 0], t.spent_s[:, 1].copy()
    for device in w.changes("set_speed")["device"].unique().tolist():
        mine = t.device == device
        first_s, last_s = begun_s[mine], (begun_s + spent_s)[mine]
        passed = w.speed_integral(device, np.stack([first_s, last_s]))
        spent_s[mine] = passed[1] - passed[0]
    return spent_s


def _trains(law: Any, t: Tasks, flops: np.ndarray, steps: np.ndarray) -> np.ndarray:
    rows = zip(t.device.tolist(), flops.tolist(), steps.tolist(), t.u[:, 2].tolist(), strict=True)
    return np.array([law.train_s(i, f, s, u) for i, f, s, u in rows])


def _flops(w: World, seen: np.ndarray, work: np.ndarray) -> np.ndarray:
    """TFLOP of each task: as the scenario says, else what most tasks took for an example."""
    rule = w.scenario.strategy.local
    tries = isinstance(rule, PersonalRule) and type(rule).trials is not PersonalRule.trials
    if w.scenario.foreign or tries:
        raise Unchecked("the local rule decides how much work a task is")
    options = w.scenario.learning
    work = work + rule.passes() * w.tasks.examples
    if isinstance(options, TimingOptions):
        return work * step_flops(rule, options.flops_per_example) / 1e12
    each = seen[np.isfinite(seen)] / work[np.isfinite(seen)]
    return work * (float(np.median(each)) if len(each) else 0.0)


def _shortens(w: World) -> bool:
    """Whether the strategy may ask for a part of the work."""
    options = w.run.scenario["strategy"]
    options = options["edge"] if w.scenario.edge and "edge" in options else options
    return options["kind"] in POLLING or options.get("on_stale") == "request"


def failures(w: World) -> str | None:
    """Drop-outs, hangs, lifetimes and absences are those of the task's draws and of time."""
    t = w.tasks
    if len(t.serial) == 0:
        return None
    if w.own_loop:
        raise Unchecked("a training function says how many steps a task was")
    steps = t.steps(w.scenario.learning.batch_size) if not w.app else np.ones_like(t.device)
    fates = _fates(w, steps)
    share, hang_s, life_s = fates.T
    whole = -1.0 if _shortens(w) else 1.0  # less work may end before its drop-out
    dropped, hung, died = (t.cause == word for word in ("drop-out", "suspended", "hazard"))
    wrong = {
        "arrived, and should have dropped out": t.delivered & ~t.retries & (share < whole),
        "dropped out, and should not": dropped & ~t.retries & ~(share < 1.0),
        "arrived, and should have hung": t.delivered & np.isfinite(hang_s),
        "hung, and should not": hung & ~np.isfinite(hang_s),
        "outlived its hazard": late(t.lived_s, life_s),
        "was lost to its hazard at another time": died & apart(t.lived_s, life_s),
    }
    if not w.app:
        wrong["hung for another time"] = hung & apart(t.spent_s[:, 1], hang_s)
    found = (t.first(rows, what) for what, rows in wrong.items())
    return next((one for one in found if one), None) or _absences(w)


def _fates(w: World, steps: np.ndarray) -> np.ndarray:
    """(n, 3): share of the work, seconds of a hang, and seconds to live; inf is never."""
    t = w.tasks
    rows = zip(t.device.tolist(), t.u[:, 5:8].tolist(), steps.tolist(), strict=True)
    fates = [w.fleet.faults.fate(i, u[0], u[1], u[2], s) for i, u, s in rows]
    return np.array(fates, dtype=float).reshape(-1, 3)


def _hangs(w: World, steps: np.ndarray) -> np.ndarray:
    return _fates(w, steps)[:, 1]


def _absences(w: World) -> str | None:
    """Where absence loses tasks, they end when their device goes away, and not later."""
    t, presence = w.tasks, w.fleet.presence
    if presence.always:
        return None
    loses = np.array([w.fleet.faults.on_offline(i) == "lost" for i in t.device.tolist()])
    rows = zip(t.device.tolist(), t.dispatched_s.tolist(), strict=True)
    away_s = np.array([presence.off_after(i, sent_s) for i, sent_s in rows])
    own = w.untouched("leave")
    loses &= own
    gone = own & ((t.cause == "offline") | (t.cause == "outage"))
    return t.first(loses & late(t.ended_s, away_s), "went on while its device was away") or t.first(
        gone & apart(t.ended_s, away_s), "was lost while its device was there"
    )
