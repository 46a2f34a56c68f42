"""Laws of models on the way between edges and cloud, and of tasks that leave edges meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from simfl.results.verify.edges import merged
from simfl.results.verify.subject import Tables, apart, first, late, unequal


def travel(t: Tables) -> str | None:
    """The cloud merges once all edges' models are there; an edge goes on with the new one."""
    if not len(t.edges) or "edge" not in t.tasks:
        return None
    return next((why for why in _travels(t) if why), None)


def _travels(t: Tables) -> Iterator[str | None]:
    edges, cloud = t.edges, t.edges["cloud_version"].to_numpy(float, na_value=np.nan)
    part = ~np.isnan(cloud)
    if part.any() and not 0 <= np.nanmin(cloud) <= np.nanmax(cloud) <= len(t.versions):
        yield "an edge's model entered a version that there is not"
        return
    at = np.where(part, cloud, 0).astype(np.int64)
    up = part & (at > 0)
    yield from _each_once(t, at, up)
    step_s = np.concatenate(([0.0], t.versions["step_s"].to_numpy(), [0.0]))
    asked_s, made_s = (t.made_s - step_s)[at], np.where(at > 0, t.made_s[at], 0.0)
    time_s = edges["time_s"].to_numpy()
    up_s, down_s = (edges[name].to_numpy() for name in ("up_s", "down_s"))
    yield first(edges, up & late(time_s + up_s, asked_s), "merged before it had come")
    last_s = pd.Series(time_s + up_s)[up].groupby(at[up]).max()
    right_s = last_s.reindex(at[up]).to_numpy()
    yield first(edges[up], apart(asked_s[up], right_s), "merged later than the last model came")
    ready_s = np.where(part & ~np.isnan(down_s), made_s + down_s, time_s)
    yield from _messages(t, up, at)
    yield from _work(t, ready_s)
    yield _turns(t, up)


def _each_once(t: Tables, at: np.ndarray, up: np.ndarray) -> Iterator[str | None]:
    """Every version of the cloud has the model of every edge once."""
    counts = np.bincount(at[up], minlength=len(t.versions) + 1)[1:]
    pairs = pd.DataFrame({"edge": t.edges["edge"].astype(str), "cloud": at})[up]
    if pairs.duplicated().any() or (t.finished and (counts != t.edges["edge"].nunique()).any()):
        yield "a version of the cloud is not made of one model of each edge"
    entered = t.tasks["applied_version"].to_numpy(float, na_value=np.nan)
    names = zip(t.edges["edge"].astype(str), t.edges["version"], strict=True)
    cloud = dict(zip(names, merged(t).tolist(), strict=True))
    keys = zip(t.tasks["edge"].astype(str), t.tasks["edge_applied_version"], strict=True)
    right = np.array([np.nan if pd.isna(k[1]) else cloud.get(k, 0) for k in keys], dtype=float)
    right[(t.tasks["outcome"] != "applied").to_numpy()] = np.nan
    yield first(t.tasks, unequal(entered, right), "another cloud version than its edge's model's")


def _messages(t: Tables, up: np.ndarray, at: np.ndarray) -> Iterator[str | None]:
    """Models are of one size, and whole wherever they have arrived."""
    edges = t.edges
    moved = {way: edges[f"{way}_bytes"].to_numpy() for way in ("up", "down")}
    took = {way: edges[f"{way}_s"].to_numpy() for way in ("up", "down")}
    newest = edges.groupby("edge", observed=True)["version"].transform("max") == edges["version"]
    through = {"up": up, "down": ~np.isnan(took["down"]) & ~newest.to_numpy()}
    size = max(moved["up"].max(initial=0), moved["down"].max(initial=0))
    for way, nbytes in moved.items():
        never = np.isnan(took[way])
        wrong = ~((nbytes >= 0) & (nbytes <= size)) | (never & (nbytes != 0))
        wrong |= (through[way] & (nbytes != size)) | (took[way] < 0.0)
        yield first(edges, wrong, f"a model on its way {way} has another size")
    inner = np.flatnonzero(up & ~newest.to_numpy() & np.isnan(took["down"]))
    yield f"no model came back to an edge: row {inner[0]}" if len(inner) else None
    idle = ~np.isnan(took["up"]) & (edges["version"] == 0).to_numpy()
    yield first(edges, idle, "version 0 of an edge went to the cloud")
    yield first(edges, (edges["version"] == 0).to_numpy() & (at != 0), "an edge began later")


def _work(t: Tables, ready_s: np.ndarray) -> Iterator[str | None]:
    """Tasks carry the edge's version of their dispatch, and are used once they have arrived."""
    names, numbers = t.edges["edge"].astype(str), t.edges["version"]
    asked_s = (t.edges["time_s"] - t.edges["step_s"]).to_numpy()
    keys = list(zip(names, numbers, strict=True))
    ready, asked = (dict(zip(keys, s.tolist(), strict=True)) for s in (ready_s, asked_s))
    edge, sent = t.tasks["edge"].astype(str), t.tasks["edge_version"]
    base_s = np.array([ready.get(k, np.inf) for k in zip(edge, sent, strict=True)], float)
    next_s = np.array([asked.get((e, v + 1), np.inf) for e, v in zip(edge, sent, strict=True)])
    sent_s = t.tasks["dispatched_s"].to_numpy()
    yield first(t.tasks, t.left & late(base_s, sent_s), "sent before its edge had the model")
    yield first(t.tasks, t.left & late(sent_s, next_s), "sent with an older model of its edge")
    entered = t.tasks["edge_applied_version"].fillna(-1).astype("int64")
    used_s = np.array([asked.get(k, np.inf) for k in zip(edge, entered, strict=True)], float)
    yield first(t.tasks, late(t.tasks["ended_s"], used_s), "used at its edge before it arrived")
    order = np.lexsort([numbers, names])
    ready_s, asked_s, names = ready_s[order], asked_s[order], names.to_numpy(object)[order]
    early = (names[1:] == names[:-1]) & late(ready_s[:-1], asked_s[1:])
    yield "an edge made a version while its model was away" if early.any() else None


def _turns(t: Tables, up: np.ndarray) -> str | None:
    """Edges report after k2 versions, neither sooner nor later."""
    k2 = t.scenario["strategy"].get("k2")
    if k2 is None or t.scenario["strategy"].get("kind") != "hierarchical":
        return None
    reports = up | ~np.isnan(t.edges["up_s"].to_numpy())
    for name, mine in t.edges.assign(reports=reports).groupby("edge", observed=True):
        made_s, since = [*mine["time_s"].tolist(), np.inf], 0
        for version, reported in enumerate(mine["reports"].tolist()):
            due = version - since >= k2
            again = made_s[version + 1] == made_s[version]  # in the same step, and reports for both
            if version and reported != due and not (due and again):
                return f"edge {name} reported out of turn at its version {version}"
            since = version if reported else since
    return None
