"""Small tables and run folders, made by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable
from math import nan
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from simfl.results import Result, tables
from simfl.results.store import Store
from simfl.results.summary import summarise
from simfl.results.tables import SCENARIO

sys.path.insert(0, str(Path(__file__).parent))  # forgeries.py and its runs, shared by tests

PLAIN = {
    "tasks": {
        "task": 0, "device": 0, "device_class": "phone", "version": 0, "applied_version": None,
        "dispatched_s": 0.0, "download_s": 1.0, "train_s": 2.0, "upload_s": 3.0, "ended_s": 6.0,
        "outcome": "applied", "cause": "", "phase": "upload", "down_bytes": 10, "up_bytes": 20,
        "examples": 5, "epochs": 1.0, "staleness": None, "staleness_s": nan, "drift": nan,
        "cosine": nan, "weight": 0.0, "train_loss": nan, "energy_j": 4.0,
    },
    "evaluations": {
        "time_s": 0.0, "version": 0, "loss": nan, "accuracy": nan, "tasks_ended": 0,
        "down_bytes": 0, "up_bytes": 0,
    },
    "versions": {
        "version": 1, "time_s": 0.0, "updates": 1, "staleness_mean": 0.0, "staleness_max": None,
        "weight_sum": 1.0, "step_s": 0.0,
    },
}  # fmt: skip

Row = dict[str, Any]


def columns(table: str, rows: tuple[Row, ...]) -> dict[str, list[Any]]:
    """Rows that differ from a plain one in what they name, as columns."""
    full = [PLAIN[table] | row for row in rows]
    names = {name: None for row in full for name in row}
    return {name: [row.get(name, nan) for row in full] for name in names}


@pytest.fixture(scope="session")
def cols() -> Callable[..., dict[str, list[Any]]]:
    """cols("tasks", {...}, ...): columns of rows that differ from a plain one as said."""
    return lambda table, *rows: columns(table, rows)


@pytest.fixture(scope="session")
def frame() -> Callable[..., pd.DataFrame]:
    """frame("tasks", {...}, ...): the same as the frame that a Result would show."""

    def make(table: str, *rows: Row) -> pd.DataFrame:
        whole = tables.to_arrow(table, columns(table, (*rows, {})))
        return tables.to_pandas(whole.slice(0, len(rows)), table)

    return make


@pytest.fixture
def run_folder(tmp_path: Path) -> Callable[..., Result]:
    """run_folder("name", tasks=[...], evaluations=[...]): a finished run with such rows."""

    def make(name: str, kind: str = "fedavg", **tables: list[Row]) -> Result:
        store = Store(tmp_path / name)
        for table, rows in tables.items():
            store.append(table, columns(table, tuple(rows)))
        store.put_devices({"device_class": ["phone"] * 4, "network": ["lte", "lte", "3g", "3g"]})
        store.finish()
        text = f'name = "{name}"\n[strategy]\nkind = "{kind}"\n'
        (store.folder / SCENARIO).write_text(text, encoding="utf-8")
        store.put_summary(summarise(Result(store.folder).parts, devices=4))
        return Result(store.folder)

    return make
