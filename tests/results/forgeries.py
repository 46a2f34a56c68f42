"""Forged run folders: every column of every table, every value of the summary, and whole runs.

A forgery changes one thing in a copy of an honest run and is sealed again as a forger would: the
summary says what the forged tables say, and so does the digest.
"""

from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import tomli_w

import simfl
from simfl.results.digest import digest
from simfl.results.summary import summarise
from simfl.results.tables import free_table
from simfl.scenario import load

Change = Callable[[Any], Any]


@dataclass(frozen=True)
class Forgery:
    """A name, and what is done to a run folder."""

    name: str
    forge: Callable[[Path], None]


def forgeries(run: simfl.Result) -> Iterator[Forgery]:
    """All that this page can think of for a run."""
    for table in ("tasks", "evaluations", "versions", "devices"):
        yield from _of_columns(run, table)
    yield from _of_summary(run)
    yield from _of_scenario(run)
    yield from _of_rows(run)
    yield from _of_whole_runs(run)


def put(folder: Path, table: str, frame: pd.DataFrame) -> None:
    """Writes a table as a run would, whatever is in it."""
    path = folder / f"{table}.parquet"
    columns = {name: frame[name].astype(object).where(frame[name].notna(), None) for name in frame}
    plan = pq.read_schema(path).remove_metadata()
    pq.write_table(free_table(columns).select(plan.names).cast(plan), path)


def seal(folder: Path) -> None:
    """The summary and its digest say what the forged folder says: forgers are not fools."""
    run, path = simfl.open(folder), folder / "summary.json"
    numbers = {}
    with suppress(Exception):  # tables that make no sense have no summary
        numbers = summarise(run.parts, devices=len(run.devices))
    sealed = {**run.summary, **numbers, "digest": digest(folder, run.params)}
    sealed["scenario"] = load(folder / "scenario.toml", trusted=False).hash
    path.write_text(json.dumps(sealed), "utf-8")


def copied(run: simfl.Result, to: Path) -> Path:
    """A copy that may be forged."""
    shutil.copytree(run.folder, to, dirs_exist_ok=True)
    return to


def at(frame: pd.DataFrame, row: int, **values: Any) -> pd.DataFrame:
    """The frame with other values in one row, counted by position."""
    changed = frame.copy()
    for name, value in values.items():
        changed[name] = changed[name].astype(object)
        changed.iloc[row, changed.columns.get_loc(name)] = value
    return changed


def _in_table(table: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Any:
    def forge(folder: Path) -> None:
        put(folder, table, change(simfl.open(folder).read(table)))
        seal(folder)

    return forge


# One value of one column.


def _others(value: Any, column: pd.Series) -> dict[str, Any]:
    """Values that could stand there instead, by name."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        known = [word for word in column.cat.categories if word != value]
        return {"unknown": "oops"} | ({"another": known[0]} if known else {})
    if pd.isna(value):
        whole = pd.api.types.is_integer_dtype(column.dtype)
        return {"filled": 1 if whole else 0.5}
    if pd.api.types.is_integer_dtype(column.dtype):
        return {"more": int(value) + 1, "negative": -1 - int(value)}
    more = float(value) * 1.5 + 0.1 if np.isfinite(value) else 1.0
    return {"more": more, "missing": None, "infinite": float("inf")}


def _rows(run: simfl.Result, table: str) -> dict[str, int]:
    """Rows that differ in kind, by name."""
    frame = run.read(table)
    if table != "tasks":
        return {"middle": len(frame) // 2} if len(frame) else {}
    outcomes = frame["outcome"].astype(str)
    stale = (outcomes == "applied") & (frame["staleness"].fillna(0) > 0)
    kinds = {"stale": stale, **{kind: outcomes == kind for kind in sorted(set(outcomes))}}
    return {kind: int(np.flatnonzero(rows)[-1]) for kind, rows in kinds.items() if rows.any()}


def _of_columns(run: simfl.Result, table: str) -> Iterator[Forgery]:
    frame = run.read(table)
    for kind, row in _rows(run, table).items():
        for name in frame:
            for how, value in _others(frame[name].iloc[row], frame[name]).items():
                same = isinstance(value, float) and value == frame[name].iloc[row]
                if not same:
                    change = _changing(row, str(name), value)
                    yield Forgery(f"{table}.{name} {how} ({kind})", _in_table(table, change))


def _changing(row: int, name: str, value: Any) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: at(frame, row, **{name: value})


# The summary, which is not sealed again where it is what was forged.


def _of_summary(run: simfl.Result) -> Iterator[Forgery]:
    for key, value in run.summary.items():
        yield Forgery(f"summary.{key} changed", _in_summary(key, lambda v: _differing(v)))
        yield Forgery(f"summary.{key} missing", _in_summary(key, None))
        if isinstance(value, float):
            yield Forgery(f"summary.{key} null", _in_summary(key, lambda v: None))


def _in_summary(key: str, change: Change | None) -> Callable[[Path], None]:
    def forge(folder: Path) -> None:
        path = folder / "summary.json"
        summary = json.loads(path.read_text("utf-8"))
        value = summary.pop(key)
        if change is not None:
            summary[key] = change(value)
        path.write_text(json.dumps(summary), "utf-8")

    return forge


def _differing(value: Any) -> Any:
    if isinstance(value, str):
        return value[::-1] + "?"
    if isinstance(value, list):
        return [*value, "oops"]
    if isinstance(value, dict):
        return {**value, "oops": 1.0}
    return 1 if value is None else value + 1


# What was played.


def _of_scenario(run: simfl.Result) -> Iterator[Forgery]:
    changes: dict[str, Any] = {"name": "another", "seed": 4, "stop.versions": 13}
    changes["fleet.group.0.count"] = 7
    if run.params is not None:  # else nothing is evaluated
        changes |= {"evaluate.every_versions": 3, "evaluate.at_start": False}
    for key, value in changes.items():
        yield Forgery(f"scenario {key}", _in_scenario(key, value))
    yield Forgery("scenario seed, summary seed too", _in_scenario("seed", 4, {"seed": 4}))
    yield Forgery("scenario not sealed", _in_scenario("stop.versions", 13, None))


def _in_scenario(key: str, value: Any, told: dict[str, Any] | None = {}) -> Any:  # noqa: B006
    def forge(folder: Path) -> None:
        path = folder / "scenario.toml"
        whole = tomllib.loads(path.read_text("utf-8"))
        *where, last = key.split(".")
        table: Any = whole
        for word in where:
            table = table[int(word)] if isinstance(table, list) else table.setdefault(word, {})
        table[last] = value
        path.write_text(tomli_w.dumps(whole), "utf-8")
        if told is not None:
            seal(folder)
            summary = json.loads((folder / "summary.json").read_text("utf-8"))
            (folder / "summary.json").write_text(json.dumps({**summary, **told}), "utf-8")

    return forge


# Rows that were never there, or are not there any more.


def _of_rows(run: simfl.Result) -> Iterator[Forgery]:
    for table in ("tasks", "evaluations", "versions", "devices"):
        rows = len(run.read(table))
        for which in sorted({0, rows // 2, rows - 1}) if rows else ():
            yield Forgery(f"{table} without row {which}", _in_table(table, _without(which)))
        if rows:
            yield Forgery(f"{table} with a row twice", _in_table(table, _twice))
            yield Forgery(f"{table} without rows", _in_table(table, lambda frame: frame.iloc[:0]))
            backwards = _in_table(table, lambda frame: frame.iloc[::-1])
            yield Forgery(f"{table} backwards", backwards)
    yield Forgery("a task less, serials closed up", _in_table("tasks", _closed_up))
    yield Forgery("two tasks changed devices", _in_table("tasks", _exchanged))


def _without(row: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.drop(frame.index[row])


def _twice(frame: pd.DataFrame) -> pd.DataFrame:
    middle = len(frame) // 2
    return pd.concat([frame.iloc[: middle + 1], frame.iloc[middle:]])


def _closed_up(tasks: pd.DataFrame) -> pd.DataFrame:
    """The first lost task never was."""
    row = int((tasks["outcome"] == "lost").to_numpy().argmax())
    serial = tasks["task"].iloc[row]
    left = tasks.drop(tasks.index[row])
    return left.assign(task=left["task"].where(left["task"] < serial, left["task"] - 1))


def _exchanged(tasks: pd.DataFrame) -> pd.DataFrame:
    """Two devices' stories, from first to last."""
    a, b = tasks["device"].value_counts().index[:2]
    return tasks.assign(device=tasks["device"].replace({a: b, b: a}))


# A faster run, a cheaper one, one that ended for another reason.


def _of_whole_runs(run: simfl.Result) -> Iterator[Forgery]:
    yield Forgery("ten times as fast", _sped_up)
    if run.tasks["energy_j"].any():
        yield Forgery("half the energy", _in_table("tasks", _cheaper))
    yield Forgery("half the bytes", _lighter)
    if (run.tasks["staleness"] > 1).any():
        yield Forgery("staleness halved everywhere", _fresher)
    for ended in ("target", "after_s", "updates", "wall_s", "app ended", "oops", ""):
        change = _in_summary("ended", lambda v, ended=ended: ended)
        yield Forgery(f"ended by {ended!r}", change)


def _sped_up(folder: Path) -> None:
    for table in ("tasks", "evaluations", "versions"):
        frame = simfl.open(folder).read(table)
        timed = [name for name in frame if str(name).endswith("_s") or name == "energy_j"]
        put(folder, table, frame.assign(**{name: frame[name] / 10.0 for name in timed}))
    seal(folder)


def _cheaper(tasks: pd.DataFrame) -> pd.DataFrame:
    return tasks.assign(energy_j=tasks["energy_j"] / 2.0)


def _lighter(folder: Path) -> None:
    for table in ("tasks", "evaluations"):
        frame = simfl.open(folder).read(table)
        halved = {name: frame[name] // 2 for name in ("down_bytes", "up_bytes")}
        put(folder, table, frame.assign(**halved))
    seal(folder)


def _fresher(folder: Path) -> None:
    run = simfl.open(folder)
    put(folder, "tasks", run.tasks.assign(staleness=run.tasks["staleness"] // 2))
    versions = run.versions
    put(folder, "versions", versions.assign(staleness_max=versions["staleness_max"] // 2))
    seal(folder)
