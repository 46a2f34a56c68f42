"""Verification passes what a run did, and catches every kind of forgery."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import simfl
from simfl.results.frames import free_table
from simfl.results.verify import verify

GOLDEN = Path(__file__).parents[1] / "golden" / "ten-devices.toml"


@pytest.fixture
def run(tmp_path: Path) -> simfl.Result:
    return simfl.run(GOLDEN, out=tmp_path / "run")


def broken(folder: Path) -> list[str]:
    return [check.law for check in verify(simfl.open(folder)) if check.wrong]


@pytest.mark.parametrize("sharing", ["none", "max-min"])
@pytest.mark.parametrize("kind", ["fedavg", "fedasync", "overselect"])
def test_what_a_run_did_passes(tmp_path: Path, sharing: str, kind: str) -> None:
    at_once = {"concurrency": 4} if kind == "fedasync" else {"cohort": 4}
    changes = {"strategy": {"kind": kind, **at_once}, "server.sharing": sharing}
    simfl.run(GOLDEN, out=tmp_path / "run", **changes)
    assert broken(tmp_path / "run") == []


@pytest.mark.parametrize(
    ("column", "change", "law"),
    [
        ("task", lambda t: t.assign(task=t.task + 1), "every task has one row"),
        ("train_s", lambda t: t.assign(train_s=t.train_s + 1), "phases follow each other"),
        ("device", lambda t: t.assign(device=0), "a device has one task at a time"),
        ("staleness", lambda t: t.assign(staleness=t.staleness + 1), "staleness is the lag"),
        ("version", lambda t: t.assign(version=0), "a task carries the version of its dispatch"),
        ("outcome", lambda t: t[t.outcome != "applied"], "versions count the updates"),
        ("up_bytes", lambda t: t.assign(up_bytes=9), "bytes move in their phase"),
        (
            "energy_j",
            lambda t: t.assign(energy_j=t.energy_j + 1),
            "the summary is that of the tables",
        ),
        ("drift", lambda t: t.assign(drift=1.0), "the digest is that of the tables"),
    ],
)
def test_a_forged_ledger_is_caught(run: simfl.Result, column: str, change, law: str) -> None:
    path = run.folder / "tasks.parquet"
    forged = change(run.tasks)
    columns = {
        name: forged[name].astype(object).where(forged[name].notna(), None) for name in forged
    }
    pq.write_table(free_table(columns).cast(pq.read_schema(path).remove_metadata()), path)
    assert any(name.startswith(law) for name in broken(run.folder)), column


def test_a_forged_summary_is_caught(run: simfl.Result) -> None:
    path = run.folder / "summary.json"
    summary = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**summary, "versions": 1, "digest": "0" * 32}), "utf-8")
    assert broken(run.folder) == [
        "the summary is that of the tables",
        "the digest is that of the tables and the model",
    ]
