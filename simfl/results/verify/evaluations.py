"""Laws of evaluations: at the moments that the scenario asks for, of the version of the moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from simfl.results.metrics import lower_is_better
from simfl.results.verify.subject import SLACK_S, Tables, Unchecked, late


def ranges(t: Tables) -> str | None:
    """A model is right about a share of the examples, and the loss of a finite one is finite."""
    seen = t.evaluations
    if t.queues:
        raise Unchecked("what a Flower app calls its metrics is its own")
    for name in seen:
        values = seen[name].to_numpy(float)
        share = str(name).startswith(("accuracy", "pers_")) or name == "global"
        if share and not ((values >= 0.0) & (values <= 1.0) | np.isnan(values)).all():
            return f"{name} is no share"
        if np.isinf(values).any() and (t.sound or name != "loss"):
            return f"{name} is infinite"
    kind = t.scenario.get("learning", {}).get("objective", {}).get("kind", "")
    if t.sound and ":" not in kind and not (seen["loss"] >= 0.0).all():
        return "a loss is negative or missing"
    if t.sound and seen["accuracy"].isna().any() and seen["accuracy"].notna().any():
        return "an accuracy is missing"
    if t.finished and not t.learnt and seen["accuracy"].notna().any():
        return "there is an accuracy, but no model"
    return None


def versions(t: Tables) -> str | None:
    """What is evaluated is the newest version that was ready then; at one instant either side."""
    version, now_s = t.evaluations["version"].to_numpy(), t.evaluations["time_s"].to_numpy()
    if not t.finished:
        now_s, version = now_s[version <= len(t.versions)], version[version <= len(t.versions)]
    if len(version) and not 0 <= version.min() <= version.max() <= len(t.versions):
        return "a version was evaluated that was never made"
    wrong = late(t.made_s[version], now_s) | late(now_s, t.made_s[version + 1])
    if not wrong.any():
        return None
    shown = f"version {version[wrong][0]} at t = {now_s[wrong][0]:g} s"
    return f"what was evaluated is not the newest version of the moment: {shown}"


def asked_for(t: Tables) -> str | None:
    """At the start, every so often, every so many versions, and at the end; at no other moment."""
    if t.queues:
        raise Unchecked("a Flower app is evaluated when it says so")
    if not t.learnt and not len(t.evaluations):
        raise Unchecked("there is no model, so nothing is evaluated")
    t.need_end()
    there, options = t.evaluations["time_s"].to_numpy(), t.scenario.get("evaluate", {})
    due, may = _moments(t, options)
    for moment_s in due:
        if not (np.abs(there - moment_s) <= SLACK_S + 1e-9 * moment_s).any():
            return f"there is no evaluation at t = {moment_s:g} s"
    moments = np.array([*due, *may])
    for now_s in there:
        asked, seen = _near(moments, now_s), _near(there, now_s)
        if seen > asked:
            return f"{seen} evaluations at t = {now_s:g} s, where the scenario asks for {asked}"
    return _twice(t, options) or _last(t)


def _near(moments_s: np.ndarray, now_s: float) -> int:
    return int((np.abs(moments_s - now_s) <= SLACK_S + 1e-9 * now_s).sum())


def _twice(t: Tables, options: Mapping[str, Any]) -> str | None:
    """The same version at the same instant, unless two rules ask for it there."""
    again = t.evaluations.duplicated(["time_s", "version"])
    if again.any() and not options.get("every_s"):
        return f"an evaluation stands twice: at t = {t.evaluations['time_s'][again].iloc[0]:g} s"
    return None


def _last(t: Tables) -> str | None:
    seen = t.evaluations["version"]
    ready = int((t.made_s[1:-1] <= t.end_s + SLACK_S).sum())
    last = seen.iloc[-1] if len(seen) else -1
    return None if last == ready else f"version {ready}, the last one, was not evaluated"


def _moments(t: Tables, options: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """When there must be an evaluation, and when there may be one."""
    due = [0.0] if options.get("at_start", True) else []
    every_s, every = options.get("every_s"), options.get("every_versions")
    made_s = t.made_s[1:-1]
    if every_s:
        due += np.arange(every_s, t.end_s, every_s)[: len(t.evaluations) + 1].tolist()
    if every:
        due += made_s[every - 1 :: every].tolist()
    due = [moment_s for moment_s in due if moment_s < t.end_s - SLACK_S or moment_s == 0.0]
    return due, [t.end_s, *made_s[made_s >= t.end_s - SLACK_S][:1]]


def target(t: Tables) -> str | None:
    """Only the last evaluation may meet the target, which ends the run."""
    wanted = t.scenario.get("stop", {}).get("target", {})
    for name, value in wanted.items():
        seen = t.evaluations[name].to_numpy()[:-1]
        lower = lower_is_better(t.evaluations, name)
        if ((seen <= value) if lower else (seen >= value)).any():
            return f"the target {name} = {value:g} was met, and the run went on"
    return None
