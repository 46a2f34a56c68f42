"""Laws of tasks: one row each, phases in order, on devices of the fleet that do one at a time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from simfl.messages import PHASES, examples_seen, local_steps
from simfl.results.costs import PHASE_S
from simfl.results.tables import DELIVERED, OUTCOMES
from simfl.results.verify.subject import SLACK_S, Tables, Unchecked, apart, first, late, unequal

#: Causes of losses, and the column of devices (0 or missing: never) that makes each possible.
_CAUSES = {
    "drop-out": "drop_probability",
    "suspended": "suspend_probability",
    "hazard": "hazard_per_hour",
    "battery": "battery_j",
}
#: Why shipped strategies cancel tasks and discard updates, and the kernel what is left over.
_CHOSEN = (
    *("cancelled", "surplus", "late", "abandoned round", "stale", "straggler", "no direction"),
    *("deprecated", "superseded", "desynchronised", "unused at the end"),
)
#: Strategies that ask for other work than their options say.
_ADAPT = ("asyncfeded", "fedprox")
#: Strategies that poll at a clock of their own: devices answer with a part of the work.
POLLING = ("quafl", "favano")


def serials(t: Tables) -> str | None:
    """Serial numbers run from 0 without gaps."""
    if not t.finished:
        return first(t.tasks, t.tasks["task"].duplicated(), "a serial number repeats")
    there = np.sort(t.tasks["task"].to_numpy())
    gaps = there != np.arange(len(there))
    return first(t.tasks, gaps, "serial numbers have gaps or repeat") or _in_order_of_ends(t)


def _in_order_of_ends(t: Tables) -> str | None:
    """Rows are written when a task is lost or cancelled, or when its update is used."""
    if t.queues:
        return None
    rows = t.tasks[t.tasks["outcome"] != "discarded"]  # at some step after their end
    made = rows["applied_version"].fillna(0).to_numpy(np.int64)
    used = (made > 0) & (made <= len(t.versions))
    step_s = np.concatenate(([0.0], t.versions["step_s"].to_numpy()))
    closed_s = rows["ended_s"].to_numpy(copy=True)
    closed_s[used] = t.made_s[made[used]] - step_s[made[used]]
    return first(rows[1:], late(closed_s[:-1], closed_s[1:]), "rows are not in order of time")


def words(t: Tables) -> str | None:
    """Outcomes, causes and phases are simfl's, and fit each other and the device."""
    tasks = t.tasks
    outcome, cause, phase = (tasks[name].astype(str) for name in ("outcome", "cause", "phase"))
    if not outcome.isin(OUTCOMES).all():
        return first(tasks, ~outcome.isin(OUTCOMES), "an outcome that there is not")
    if not phase.isin(PHASES).all():
        return first(tasks, ~phase.isin(PHASES), "a phase that there is not")
    came = outcome.isin(DELIVERED)
    ours = not t.queues and ":" not in t.strategy["kind"]  # else its words are its own
    silent, lost = outcome.isin(["applied", "in_flight"]), outcome == "lost"
    known = cause.isin([*_CAUSES, "offline", "outage"])
    world = _by_the_world(t, cause)
    return (
        first(tasks, silent & (cause != ""), "a cause of what did not fail")
        or first(tasks, lost & ~known & ~world, "a loss without a cause that there is")
        or first(tasks, ~silent & ~lost & known, "a loss's cause of what was not lost")
        or first(tasks, ours & ~silent & ~lost & ~cause.isin(_CHOSEN), "an unknown cause")
        or first(tasks, came & (phase != PHASES[-1]), "an update that did not end in its upload")
        or first(
            tasks,
            lost & known & ~world & ~_possible(t, cause),
            "a loss that cannot befall its device",
        )
    )


def _by_the_world(t: Tables, cause: pd.Series) -> np.ndarray:
    """Tasks that a process ended at their last instant, or whose device it had taken away."""
    if t.events.empty:
        return np.zeros(len(t.tasks), dtype=bool)
    ended = pd.MultiIndex.from_frame(t.tasks[["device", "ended_s"]])
    acts = t.changed("end_task", "retire", "leave")[["device", "time"]]
    left = t.tasks["device"].isin(t.changed("leave")["device"]) & (cause == "offline")
    return np.asarray(ended.isin(pd.MultiIndex.from_frame(acts)) | left)


def _possible(t: Tables, cause: pd.Series) -> pd.Series:
    """Whether the fleet's faults, batteries and absences can have done it."""
    device = t.tasks["device"].to_numpy()
    possible = pd.Series(False, index=cause.index)
    for word, column in _CAUSES.items():
        odds = t.devices.get(column, pd.Series(0.0, index=t.devices.index)).to_numpy()[device]
        might = np.isfinite(odds) & (odds > 0)
        possible |= (cause == word) & might
    always = t.devices["presence"].astype(str).to_numpy()[device] == "always"
    leaves = t.of_group([g.get("faults", {}).get("on_offline", "lost") for g in t.groups])[device]
    alone = t.of_group([g.get("cell") is None for g in t.groups])[device]
    possible |= (cause == "offline") & ~always & (leaves == "lost")
    return possible | ((cause == "outage") & ~alone & (leaves == "lost"))


def time_order(t: Tables) -> str | None:
    """Phases take the time between dispatch and end, and none is negative."""
    tasks = t.tasks
    spent = tasks[list(PHASE_S.values())]
    if not (spent >= -SLACK_S).all(axis=None):
        return "a phase took less than no time"
    gap = tasks["ended_s"] - tasks["dispatched_s"] - spent.sum(axis=1)
    slack = SLACK_S + 1e-9 * tasks["ended_s"].abs()
    never_left = tasks["outcome"].isin(["in_flight", "cancelled"]) & (spent.sum(axis=1) == 0.0)
    on_time = (gap >= -slack) & ((gap <= slack) | tasks["device"].isin(t.waiting))
    return first(
        tasks, ~on_time & ~never_left, "phases do not add up to the task's end"
    ) or _phases_reached(tasks)


def _phases_reached(tasks: pd.DataFrame) -> str | None:
    for i, phase in enumerate(PHASES[:-1]):
        later = tasks[[PHASE_S[name] for name in PHASES[i + 1 :]]].sum(axis=1) > 0.0
        wrong = (tasks["phase"] == phase) & later
        if wrong.any():
            return first(tasks, wrong, f"time was spent after the {phase} in which it ended")
    return None


def ends(t: Tables) -> str | None:
    """What was in flight at the end is cut off there, and nothing ended later."""
    t.need_end()
    tasks = t.tasks
    flying = (tasks["outcome"] == "in_flight").to_numpy()
    wrong = flying & apart(tasks["ended_s"], t.end_s)
    return first(tasks, wrong, "in flight at another end than the run's") or first(
        tasks, late(tasks["ended_s"], t.end_s), "ended after the run"
    )


def one_at_a_time(t: Tables) -> str | None:
    """A device has one task at a time."""
    tasks = t.tasks.sort_values(["device", "task"])
    same = tasks["device"].to_numpy()[1:] == tasks["device"].to_numpy()[:-1]
    begins, ended = tasks["dispatched_s"].to_numpy()[1:], tasks["ended_s"].to_numpy()[:-1]
    wrong = same & ~(begins >= ended - SLACK_S)
    return first(tasks[1:], wrong, "a device had two tasks at once") or _in_order(t)


def _in_order(t: Tables) -> str | None:
    """Serials follow the order of dispatch, which is that of each edge."""
    if t.queues:
        return None
    tasks = t.tasks.sort_values([*t.tasks.columns.intersection(["edge"]), "task"])
    sent_s = tasks["dispatched_s"].to_numpy()
    again = np.diff(tasks["edge"].cat.codes) == 0 if "edge" in tasks else True
    earlier = again & ~(np.diff(sent_s) >= -SLACK_S)
    return first(tasks[1:], earlier, "sent before an earlier task")


def devices(t: Tables) -> str | None:
    """Tasks are of devices that there are, and a device has one class and one data set."""
    classes = t.devices["device_class"].astype(str).to_numpy()
    device, recorded = t.tasks["device"].to_numpy(), t.tasks["device_class"].astype(str).to_numpy()
    if len(device) and not 0 <= device.min() <= device.max() < len(classes):
        return f"a task has a device that the fleet of {len(classes)} has not"
    if (t.devices["device"].to_numpy() != np.arange(len(classes))).any():
        return "devices are not numbered from 0"
    return first(t.tasks, classes[device] != recorded, "a device is of another class")


def work(t: Tables) -> str | None:
    """A task makes as many passes over its device's examples as the strategy asks for."""
    if t.queues:
        raise Unchecked("a Flower app decides how much work a message is")
    if t.own_loop:
        raise Unchecked("a training function says how much work a task was")
    tasks, strategy, learning = t.tasks[t.left], t.strategy, t.scenario["learning"]
    examples = tasks["examples"].to_numpy()
    of_device = tasks.groupby("device")["examples"].transform("first").to_numpy()
    if (examples != of_device).any():
        return first(tasks, examples != of_device, "a device's data set changed its size")
    if learning.get("dataset") == "none":
        stated = np.broadcast_to(learning["examples"], len(t.devices))
        wrong = examples != stated[tasks["device"].to_numpy()]
        if wrong.any():
            return first(tasks, wrong, "another number of examples than the scenario's")
    if ":" in strategy["kind"] or strategy["kind"] in _ADAPT:
        raise Unchecked(f"{strategy['kind']} decides how much work a task is")
    asked = _asked(strategy, learning.get("batch_size", 10), examples)
    recorded = tasks["epochs"].to_numpy()
    if strategy["kind"] in POLLING or strategy.get("on_stale") == "request":
        wrong = ~((recorded > 0.0) & (recorded <= asked * (1.0 + 1e-9)))
    else:
        wrong = unequal(recorded, asked)
    return first(tasks, wrong, "other work than the strategy asks for")


def _asked(strategy: Mapping[str, Any], batch_size: int, examples: np.ndarray) -> np.ndarray:
    """Passes over the data that tasks make, by their number of examples."""
    epochs, steps = strategy.get("epochs"), strategy.get("steps")

    def passes(n: int) -> float:
        if n < 1:
            return np.nan
        made = local_steps(n, batch_size, None if steps else epochs, steps or None)
        return examples_seen(n, batch_size, made) / n

    sizes, where = np.unique(examples, return_inverse=True)
    return np.array([passes(int(n)) for n in sizes])[where]


SLACK = 1e-5  #: of cosines, which are computed in single precision


def ranges(t: Tables) -> str | None:
    """Numbers are where such numbers can be, and are there where they can be known."""
    tasks = t.tasks
    applied = (tasks["outcome"] == "applied").to_numpy()
    delivered = tasks["outcome"].isin(DELIVERED).to_numpy()
    known = {name: ~tasks[name].isna().to_numpy() for name in ("drift", "cosine", "train_loss")}
    weight, drift, cosine = (tasks[name].to_numpy() for name in ("weight", "drift", "cosine"))
    loss = tasks["train_loss"].to_numpy()
    counts = tasks[["down_bytes", "up_bytes", "examples"]].to_numpy()
    wrong = {
        "a negative count": (counts < 0).any(axis=1),
        "passes over the data are negative or unknown": ~(tasks["epochs"].to_numpy() >= 0.0)
        & (tasks["examples"] > 0).to_numpy(),
        "a weight that is negative or no number": ~((weight >= 0.0) & (weight < np.inf)),
        "a weight of what was not applied": ~applied & (weight != 0.0),
        "drift below 0": known["drift"] & ~(drift >= 0.0),
        "a cosine outside [-1, 1]": known["cosine"] & ~(np.abs(cosine) <= 1.0 + SLACK),
        "drift or cosine of what was not applied": ~applied & (known["drift"] | known["cosine"]),
        "drift without a cosine": known["drift"] != known["cosine"],
        "a training loss of what did not arrive": ~delivered & known["train_loss"],
    }
    if not t.learnt and not t.queues:
        wrong["something learnt where there is no model"] = known["drift"] | known["train_loss"]
    elif t.sound and not t.queues:
        lag = "edge_staleness" if "edge_staleness" in tasks else "staleness"  # where it was used
        fresh = applied & (tasks[lag] == 0).to_numpy(bool, na_value=False)
        if not t.own_loop:
            wrong["an update without its training loss"] = applied & ~known["train_loss"]
        wrong["an update without drift"] = applied & ~known["drift"]
        wrong["an infinite training loss"] = applied & np.isinf(loss)
        wrong["drift of a fresh update"] = fresh & ((drift != 0.0) | (cosine != 1.0))
        wrong["infinite drift"] = np.isinf(drift) & (cosine != 0.0)
    return next((why for what, rows in wrong.items() if (why := first(tasks, rows, what))), None)
