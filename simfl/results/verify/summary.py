"""Laws of the summary: what it says is what the folder holds, and why the run ended is so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from simfl.results.digest import digest
from simfl.results.metrics import lower_is_better
from simfl.results.result import Result
from simfl.results.summary import Parts, summarise
from simfl.results.tables import ROWS_AT_ONCE
from simfl.results.verify.subject import SLACK_S, Tables, Unchecked, plays_an_app, tables_of

#: Beside the numbers that the tables give.
_KEYS = ("name", "scenario", "seed", "ended", "unused_settings", "models_alive_max", "digest")


def numbers(run: Result) -> str | None:
    """The summary is what its tables come to."""
    known: dict[str, Any] = run.summary
    again = summarise(_held(run), devices=len(run.devices))
    missing = sorted(name for name in (*again, *_KEYS) if name not in known)
    if missing:
        return f"it lacks {', '.join(missing)}"
    differ = sorted(name for name, value in again.items() if known[name] != value)
    return f"it differs in {', '.join(differ)}" if differ else _counted(run)


def _held(run: Result) -> Parts:
    """Gives columns of the tables that other laws have read already."""

    def parts(table: str, columns: list[str] | None) -> list[pd.DataFrame]:
        frame: pd.DataFrame = getattr(run, table)
        whole = frame if columns is None else frame[columns]
        rows = range(0, max(len(whole), 1), ROWS_AT_ONCE)
        return [whole[first : first + ROWS_AT_ONCE] for first in rows]

    return parts


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
        recorded, there = run.summary.get(key), run.scenario.get(key, default)
        if recorded != there:
            return f"{key} is {recorded!r}, the scenario says {there!r}"
    return None


def digests(run: Result) -> str | None:
    """The digest is that of the folder."""
    recorded, found = run.summary.get("digest"), digest(run.folder, run.params)
    return None if recorded == found else f"the summary says {recorded}, the folder has {found}"


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
    if why == "after_s" and after_s is not None and _queues(run):
        raise Unchecked("all updates waited at the server, which leaves no trace in the tables")
    if why in ("stalled", "interrupted") or why.startswith("failed: "):
        raise Unchecked(f"the run says {why!r}, which leaves no trace in its tables")
    return f"it says that it ended by {why!r}, which was not so"


def _queues(run: Result) -> bool:
    server = run.scenario.get("server", {})
    return bool(server.get("ingest_s") or server.get("ingest_s_per_mb"))


def _met(t: Tables, target: dict[str, float]) -> bool:
    if not len(t.evaluations):
        return False
    last = t.evaluations.iloc[-1]
    return any(
        bool(last[name] <= value if lower_is_better(t.evaluations, name) else last[name] >= value)
        for name, value in target.items()
    )


def models(run: Result) -> str | None:
    """As many models were alive at once as tasks needed that were under way or waited for use."""
    if plays_an_app(run.scenario.get("strategy", {})):
        raise Unchecked("an app's messages may wait with older models")
    t = tables_of(run)
    least, most = (_alive(t, discarded_at_once=one) for one in (True, False))
    if not t.edges.empty:  # what waits for the cloud holds the model that its edge has sent there
        most += t.edges["edge"].nunique()
    elif (t.versions["step_s"] > 0).any():  # and what waits for the work of the server holds its
        most = len(t.versions) + 1
    recorded = run.summary.get("models_alive_max")
    ok = isinstance(recorded, int) and least <= recorded <= most
    return None if ok else f"models_alive_max is {recorded}, the tasks needed {least} to {most}"


def _alive(t: Tables, discarded_at_once: bool) -> int:
    """Most versions that tasks needed at once.

    At one instant what ended is let go first; then each version takes its updates before it is
    sent out.
    """
    tasks = t.tasks
    outcome = tasks["outcome"].astype(str)
    version, made, used_s = _at_edges(t) if "edge" in tasks else _at_the_server(t)
    done_s = np.where(made > 0, used_s, tasks["ended_s"].to_numpy())
    stay = ["in_flight"] if discarded_at_once else ["in_flight", "discarded"]
    done_s[outcome.isin(stay).to_numpy() & (made == 0)] = np.inf
    of = tasks["edge"].cat.codes.tolist() if "edge" in tasks else [0] * len(tasks)
    models = list(zip(of, version.tolist(), strict=True))
    sent = zip(tasks["dispatched_s"].tolist(), version.tolist(), models, strict=True)
    done = zip(done_s.tolist(), np.where(made > 0, made, -1).tolist(), models, strict=True)
    events = [(*each, 1) for each in sent] + [(*each, -1) for each in done]
    events.sort(key=lambda event: (event[0], event[1], event[3]))
    return _peak([(change, model) for _, _, model, change in events])


Columns = tuple[np.ndarray, np.ndarray, np.ndarray]


def _at_the_server(t: Tables) -> Columns:
    """Of each task the version that it carried, the one that it entered (0: none), and when."""
    made = t.tasks["applied_version"].fillna(0).to_numpy(np.int64)
    step_s = np.concatenate(([0.0], t.versions["step_s"].to_numpy(), [0.0]))
    return t.tasks["version"].to_numpy(), made, (t.made_s - step_s)[made]


def _at_edges(t: Tables) -> Columns:
    """The same in versions of the edge."""
    made = t.tasks["edge_applied_version"].fillna(0).to_numpy(np.int64)
    asked_s = (t.edges["time_s"] - t.edges["step_s"]).to_numpy()
    keys = zip(t.edges["edge"].astype(str), t.edges["version"], strict=True)
    when_s = dict(zip(keys, asked_s.tolist(), strict=True))
    entered = zip(t.tasks["edge"].astype(str), made.tolist(), strict=True)
    used_s = np.array([when_s.get(key, np.inf) for key in entered], dtype=float)
    return t.tasks["edge_version"].to_numpy(), made, used_s


def _peak(changes: list[tuple[int, tuple[int, int]]]) -> int:
    held: dict[tuple[int, int], int] = {}
    alive = peak = 0
    for change, model in changes:
        before = held.get(model, 0)
        held[model] = before + change
        alive += (before + change > 0) - (before > 0)
        peak = max(peak, alive)
    return peak
