"""The numbers of summary.json, from the tables of a run."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from simfl.errors import InputError
from simfl.files import read_object
from simfl.results.costs import PHASE_BYTES, PHASE_S, spent, waste, wasted_share
from simfl.results.metrics import (
    ages_in_flight,
    gini,
    jain,
    measures,
    participation,
    spread,
    staleness_of,
)
from simfl.results.tables import OUTCOMES, SUMMARY
from simfl.results.waste import by_cause, energy_by_phase, never_fired

#: Evaluations whose mean is `last10_accuracy`, or all if there are fewer.
LAST = 10

# What is read of the tasks; the other columns stay on disk.
_TASK_COLUMNS = [
    *("device", "version", "ended_s", "outcome", "cause", "staleness", "energy_j"),
    *PHASE_S.values(),
    *PHASE_BYTES.values(),
]


def summarise(
    read: Callable[[str, list[str] | None], pd.DataFrame], devices: int | None = None
) -> dict[str, Any]:
    """The numbers of summary.json, ready for JSON: None where there is nothing to say.

    read: gives some columns of a table of the run (`Result.read`), so that a long run is never
    held whole. devices: size of the fleet, for fairness of participation.
    """
    tasks = read("tasks", _TASK_COLUMNS)
    evaluations = read("evaluations", None)
    versions = read("versions", ["time_s", "version"])
    summary = _extent(tasks, evaluations, versions) | _learnt(evaluations)
    table = spent(tasks)
    wasted = waste(table)
    summary |= _cost(tasks, table, wasted)
    found = spread(staleness_of(tasks))
    summary |= {f"staleness_{key}": found[key] for key in ("mean", "p50", "p95", "max")}
    summary["in_flight_age_max"] = ages_in_flight(tasks, summary["versions"]).max()
    summary |= _failures(tasks, wasted, read("devices", None)) | _edges(read("edges", None))
    if devices is not None:
        counts = participation(tasks, devices)
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


def _extent(
    tasks: pd.DataFrame, evaluations: pd.DataFrame, versions: pd.DataFrame
) -> dict[str, Any]:
    times = pd.concat([tasks["ended_s"], evaluations["time_s"], versions["time_s"]])
    counts = tasks["outcome"].value_counts()
    return {
        "virtual_s": times.max(),
        "versions": 0 if versions.empty else versions["version"].max(),
        "tasks": len(tasks),
        **{outcome: int(counts.get(outcome, 0)) for outcome in OUTCOMES},
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


def _cost(tasks: pd.DataFrame, table: pd.DataFrame, wasted: pd.DataFrame) -> dict[str, Any]:
    return {
        "down_bytes": tasks["down_bytes"].sum(),
        "up_bytes": tasks["up_bytes"].sum(),
        "wasted_bytes": wasted["bytes"].sum(),
        "device_s": table["device_s"].sum(),
        "wasted_device_s": wasted["device_s"].sum(),
        "wasted_share": wasted_share(table),
        "in_flight_share": wasted_share(table, ("in_flight",)),
        "energy_j": tasks["energy_j"].sum(),
    }


def _failures(tasks: pd.DataFrame, wasted: pd.DataFrame, devices: pd.DataFrame) -> dict[str, Any]:
    """Lost work and bytes by cause and phase, energy by phase, and faults without effect."""
    return {
        "waste": by_cause(wasted),
        "energy_by_phase_j": energy_by_phase(tasks, devices),
        "never_fired": never_fired(tasks, devices),
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
