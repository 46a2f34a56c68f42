"""Laws of edges: versions that count up, and what entered them at which age and weight."""

from __future__ import annotations

import numpy as np
import pandas as pd

from simfl.results.verify.subject import Tables, first, late, unequal

_COLUMNS = ["edge", "edge_version", "edge_applied_version", "edge_staleness"]


def versions(t: Tables) -> str | None:
    """Each edge's versions run from 0, later and later, and hold the updates that entered them."""
    tiers = [len(t.edges) > 0, "edge" in t.tasks, bool(t.scenario.get("edge"))]
    if not any(tiers):
        return None
    if not all(tiers):
        return "the scenario, the tasks and the table of edges do not all speak of edges"
    for name, mine in t.edges.groupby("edge", observed=True, sort=False):
        if (mine["version"].to_numpy() != np.arange(len(mine))).any():
            return f"versions of edge {name} have gaps"
        if not (np.diff(mine["time_s"]) >= 0.0).all() or not (mine["step_s"] >= 0.0).all():
            return f"time runs backwards at edge {name}"
    return _staleness(t) or _contributions(t)


def _staleness(t: Tables) -> str | None:
    """In versions of the edge: of what was used there, or is in flight, and of nothing else."""
    tasks = t.tasks
    newest = t.edges["version"].groupby(t.edges["edge"].astype(str)).max()
    last = tasks["edge"].astype(str).map(newest).to_numpy(float)
    sent = tasks["edge_version"].to_numpy()
    entered, age = (tasks[name].to_numpy(float, na_value=np.nan) for name in _COLUMNS[2:])
    flying = (tasks["outcome"] == "in_flight").to_numpy()
    used = ~np.isnan(entered)
    right = np.where(used, entered - 1 - sent, np.where(flying, last - sent, np.nan))
    left_over = (tasks["cause"] == "unused at the end").to_numpy()
    applied = (tasks["outcome"] == "applied").to_numpy()
    return (
        first(tasks, np.isnan(last), "an edge that made no version")
        or first(tasks, (used != applied) & ~left_over, "used at no edge, or at one in vain")
        or first(tasks, ~(sent >= 0) | late(sent, last), "an edge's version that was never made")
        or first(
            tasks, used & (~(entered >= 1) | late(entered, last)), "entered no version of its edge"
        )
        or first(tasks, unequal(age, right), "edge_staleness is not the lag at the edge")
    )


def _contributions(t: Tables) -> str | None:
    """Counts and ages of each version's updates, and weights that a cloud can have shared out."""
    used = t.tasks[t.tasks["edge_applied_version"].notna()]
    keys = [used["edge"].astype(str), used["edge_applied_version"].astype("int64")]
    by = used[["edge_staleness", "weight"]].astype(float).groupby(keys)
    rows = pd.MultiIndex.from_arrays([t.edges["edge"].astype(str), t.edges["version"]])
    counted = by.size().reindex(rows).fillna(0).to_numpy()
    recorded = t.edges["updates"].to_numpy()
    whole = np.full(len(recorded), True) if t.finished else recorded == counted
    wrong = {"updates": whole & (recorded != counted)}
    for name, values in {
        "staleness_mean": by["edge_staleness"].mean(),
        "staleness_max": by["edge_staleness"].max(),
    }.items():
        seen = t.edges[name].to_numpy(float, na_value=np.nan)
        wrong[name] = whole & unequal(seen, values.reindex(rows).to_numpy(float))
    found = (first(t.edges, at, f"{name} of an edge's version") for name, at in wrong.items())
    broken = next((why for why in found if why), None)
    return broken or _weights(t, by["weight"].sum().reindex(rows).to_numpy(float))


def _weights(t: Tables, given: np.ndarray) -> str | None:
    """An edge's share in the cloud is the same for all that entered one of its models."""
    if not len(t.edges) or not t.finished:
        return None
    entered = merged(t)
    share = given / t.edges["weight_sum"].to_numpy()
    known = (entered > 0) & np.isfinite(share)
    frame = pd.DataFrame({"edge": t.edges["edge"].astype(str), "cloud": entered, "share": share})
    spread = frame[known].groupby(["cloud", "edge"])["share"]
    if not np.allclose(spread.max(), spread.min(), rtol=1e-6):
        return "weights of an edge's updates do not have one share in the cloud's model"
    each = spread.mean().groupby("cloud")
    edges = t.edges["edge"].nunique()
    total = each.sum()[each.size() == edges]
    return None if np.allclose(total, 1.0, rtol=1e-6) else "shares of edges do not add up to 1"


def merged(t: Tables) -> np.ndarray:
    """(rows,) the cloud's version that each edge's version became part of; 0: none did."""
    names = t.edges["edge"].astype(str)
    sent = t.edges["cloud_version"].astype("Float64")
    found: np.ndarray = sent.groupby(names).bfill().fillna(0).to_numpy(np.int64)
    found[(t.edges["version"] == 0).to_numpy()] = 0
    return found
