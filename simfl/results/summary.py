"""The numbers of summary.json, from the tables of a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from simfl.errors import InputError
from simfl.files import read_object
from simfl.results.costs import waste, wasted_share
from simfl.results.metrics import gini, jain, measures
from simfl.results.tables import OUTCOMES, SUMMARY
from simfl.results.totals import COLUMNS, Totals
from simfl.results.waste import AT_RISK, by_cause, silent

#: Evaluations whose mean is `last10_accuracy`, or all if there are fewer.
LAST = 10

#: What is read of the edges.
_EDGE_COLUMNS = ["version", "down_bytes", "up_bytes"]

#: Gives some columns of a table of the run part by part, as `Result.parts` does.
Parts = Callable[[str, list[str] | None], Iterable[pd.DataFrame]]


def summarise(parts: Parts, devices: int | None = None) -> dict[str, Any]:
    """The numbers of summary.json, ready for JSON: None where there is nothing to say.

    parts: of the run's tables, so that a long run is never held whole. devices: size of the fleet,
    for fairness of participation.
    """
    fleet = pd.concat([part.filter(AT_RISK) for part in parts("devices", None)])
    totals = Totals(parts("tasks", COLUMNS), fleet)
    evaluations = pd.concat(list(parts("evaluations", None)))
    made = [part.max() for part in parts("versions", ["time_s", "version"])]
    summary = _extent(totals, evaluations, made) | _learnt(evaluations)
    wasted = waste(totals.spent)
    summary |= _cost(totals, wasted)
    found = totals.staleness.spread()
    summary |= {f"staleness_{key}": found[key] for key in ("mean", "p50", "p95", "max")}
    summary["in_flight_age_max"] = summary["versions"] - min(totals.flying, default=math.nan)
    summary |= {
        "waste": by_cause(wasted),
        "energy_by_phase_j": totals.energy_j,
        "never_fired": silent(totals.risks),
    }
    summary |= _edges(pd.concat([*parts("edges", _EDGE_COLUMNS)]))
    if devices is not None:
        counts = totals.participation(devices)
        summary |= {"participation_jain": jain(counts), "participation_gini": gini(counts)}
    return {key: _plain(value) for key, value in summary.items()}


def summary_of(folder: Path) -> dict[str, Any]:
    """The summary.json of a run folder; {} if it is not there or cannot be read."""
    try:
        return read_object(folder / SUMMARY)
    except InputError:
        return {}


#: Ends that would be the same again, but are no results: `cause` in the summary says why.
NO_RESULT = ("stalled", "diverged")

#: How a study's table words that a run has not been played to its end: left, or another process's.
NOT_PLAYED, HELD = "not played", "under way in another process"


def is_result(ended: object) -> bool:
    """True if a run came to its own end and what it shows can be used."""
    return is_end(ended) and not str(ended).startswith(NO_RESULT)


def is_end(ended: object) -> bool:
    """True if a run came to its own end, so that it need not be repeated."""
    broken = ("failed", "interrupted", NOT_PLAYED, HELD)
    return isinstance(ended, str) and bool(ended) and not ended.startswith(broken)


def _extent(totals: Totals, evaluations: pd.DataFrame, made: list[pd.Series]) -> dict[str, Any]:
    """How far the run came.

    made: last time and version of each part of the versions.
    """
    latest = pd.DataFrame(made)
    times = pd.Series([*totals.ends_s, evaluations["time_s"].max(), latest["time_s"].max()])
    newest = latest["version"].max()
    return {
        "virtual_s": times.max(),
        "versions": 0 if pd.isna(newest) else int(newest),
        "tasks": totals.tasks,
        **{outcome: totals.outcomes[outcome] for outcome in OUTCOMES},
    }


def _learnt(evaluations: pd.DataFrame) -> dict[str, Any]:
    last = evaluations.iloc[-1] if len(evaluations) else {"loss": math.nan, "accuracy": math.nan}
    further = [name for name in measures(evaluations) if name not in ("accuracy", "loss")]
    return {
        "final_accuracy": last["accuracy"],
        "best_accuracy": evaluations["accuracy"].max(),
        "last10_accuracy": evaluations["accuracy"].tail(LAST).mean(),
        "final_loss": last["loss"],
        **{f"final_{name}": last[name] for name in further if len(evaluations)},
    }


def _cost(totals: Totals, wasted: pd.DataFrame) -> dict[str, Any]:
    table, sums = totals.spent, totals.sums
    return {
        "down_bytes": sums["down_bytes"],
        "up_bytes": sums["up_bytes"],
        "wasted_bytes": wasted["bytes"].sum(),
        "device_s": table["device_s"].sum(),
        "wasted_device_s": wasted["device_s"].sum(),
        "wasted_share": wasted_share(table),
        "in_flight_share": wasted_share(table, ("in_flight",)),
        "energy_j": sums["energy_j"],
    }


def _edges(edges: pd.DataFrame) -> dict[str, Any]:
    """Versions of edges, and bytes between them and the cloud; nothing without edges."""
    if edges.empty:
        return {}
    return {
        "edge_versions": (edges["version"] > 0).sum(),
        "cloud_down_bytes": edges["down_bytes"].sum(),
        "cloud_up_bytes": edges["up_bytes"].sum(),
    }


def _plain(value: Any) -> Any:
    """What JSON knows: Python numbers, None for NaN and infinities; tables and lists of these."""
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | str):
        return value
    number = value.item() if hasattr(value, "item") else value
    return number if math.isfinite(number) else None
