"""Laws of the summary: what it says is what the folder holds, and why the run ended is so."""

from __future__ import annotations

from typing import Any

import numpy as np

from simfl.results.digest import digest
from simfl.results.result import Result
from simfl.results.summary import summarise
from simfl.results.verify.tables import SLACK_S, Tables, Unchecked, plays_an_app, tables_of

#: Beside the numbers that the tables give.
_KEYS = ("name", "scenario", "seed", "ended", "unused_settings", "models_alive_max", "digest")


def numbers(run: Result) -> str | None:
    known: dict[str, Any] = run.summary
    again = summarise(run.read, devices=len(run.devices))
    missing = sorted(name for name in (*again, *_KEYS) if name not in known)
    if missing:
        return f"it lacks {', '.join(missing)}"
    differ = sorted(name for name, value in again.items() if known[name] != value)
    return f"it differs in {', '.join(differ)}" if differ else _counted(run)


def _counted(run: Result) -> str | None:
    """What codecs and strategies count goes up, and the summary has the last of it."""
    seen = run.evaluations
    for name in seen.columns.intersection([*run.summary]):
        values = seen[name].to_numpy(float)
        last = run.summary[name]
        if name not in ("loss", "accuracy") and len(values) and not np.nanmax(values) <= last:
            return f"{name} was larger before the end"
    return None


def played(run: Result) -> str | None:
    """Name and seed are those of scenario.toml."""
    for key, default in (("name", "scenario"), ("seed", 0)):
        told, there = run.summary.get(key), run.scenario.get(key, default)
        if told != there:
            return f"{key} is {told!r}, the scenario says {there!r}"
    return None


def digests(run: Result) -> str | None:
    told, found = run.summary.get("digest"), digest(run.folder, run.params)
    return None if told == found else f"the summary says {told}, the folder has {found}"


def ended(run: Result) -> str | None:
    """The limit that ended the run was reached, and no limit was passed."""
    t, stop, why = tables_of(run), run.scenario.get("stop", {}), str(run.summary.get("ended", ""))
    made, applied = len(t.versions), len(t.applied)
    after_s, versions, updates = (stop.get(key) for key in ("after_s", "versions", "updates"))
    if after_s is not None and t.end_s > after_s * (1 + 1e-9) + SLACK_S:
        return f"it went on after after_s = {after_s:g}"
    if versions is not None and made > versions:
        return f"it made {made} versions, and should stop at {versions}"
    if updates is not None and made and (t.applied["applied_version"] < made).sum() >= updates:
        return f"it made a version after update {updates}"
    reached = {
        "after_s": after_s is not None and t.end_s >= after_s * (1 - 1e-9) - SLACK_S,
        "versions": versions is not None and made == versions,
        "updates": updates is not None and applied >= updates,
        "target": _met(t, stop.get("target", {})),
        "wall_s": stop.get("wall_s") is not None,
        "app ended": t.queues,
    }
    if reached.get(why):
        return None
    if why in ("stalled", "interrupted") or why.startswith("failed: "):
        raise Unchecked(f"the run says {why!r}, which leaves no trace in its tables")
    return f"it says that it ended by {why!r}, which was not so"


def _met(t: Tables, target: dict[str, float]) -> bool:
    if not len(t.evaluations):
        return False
    last = t.evaluations.iloc[-1]
    return any(
        bool(last[name] <= value if name == "loss" else last[name] >= value)
        for name, value in target.items()
    )


def models(run: Result) -> str | None:
    """As many models were alive at once as tasks needed that were under way or waited for use."""
    if plays_an_app(run.scenario.get("strategy", {})):
        raise Unchecked("an app's messages may wait with older models")
    t = tables_of(run)
    least = _alive(t, late=False)
    most = len(t.versions) + 1 if (t.versions["step_s"] > 0).any() else _alive(t, late=True)
    told = run.summary.get("models_alive_max")
    ok = isinstance(told, int) and least <= told <= most
    return None if ok else f"models_alive_max is {told}, the tasks needed {least} to {most}"


def _alive(t: Tables, late: bool) -> int:
    """Most versions that tasks needed at once. late: what ends at an instant still counts then."""
    tasks = t.tasks
    version, begun_s = tasks["version"].to_numpy(), tasks["dispatched_s"].to_numpy()
    done_s = tasks["ended_s"].to_numpy(copy=True)
    applied = (tasks["outcome"] == "applied").to_numpy()
    made = tasks["applied_version"].fillna(0).to_numpy(np.int64)
    done_s[applied] = t.made_s[made[applied]]
    if late:
        done_s[(tasks["outcome"] == "discarded").to_numpy()] = np.inf
    step_s = np.concatenate(([0.0], t.versions["step_s"].to_numpy(), [0.0]))
    done_s[applied] -= step_s[made[applied]]
    done_s[(tasks["outcome"] == "in_flight").to_numpy()] = np.inf
    events = sorted(
        [(s, not late, 1, v) for s, v in zip(begun_s, version, strict=True)]
        + [(s, late, -1, v) for s, v in zip(done_s, version, strict=True)]
    )
    return _peak([(change, v) for _, _, change, v in events])


def _peak(changes: list[tuple[int, int]]) -> int:
    held: dict[int, int] = {}
    alive = peak = 0
    for change, version in changes:
        before = held.get(version, 0)
        held[version] = before + change
        alive += (before + change > 0) - (before > 0)
        peak = max(peak, alive)
    return peak
