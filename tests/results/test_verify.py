"""Verification passes what a run did, and each kind of forgery breaks the law that it offends."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

import simfl
from simfl.engine import verify
from simfl.results.digest import digest
from simfl.results.summary import summarise
from simfl.results.tables import free_table
from simfl.results.verify import LAWS, SUMMARY_LAWS

SCENARIO: dict[str, Any] = {
    "name": "ledger",
    "seed": 3,
    "fleet": {
        "group": [
            {
                "compute": {"kind": "exponential", "mean_s": 4.0},
                "network": {"down_mbps": 0.5, "up_mbps": 0.2, "latency_s": 0.1},
                "faults": {"drop_probability": 0.2},
                "count": 8,
            },
            {"device": "phone-mid", "network": "lte", "count": 2},
        ]
    },
    "learning": {"dataset": "digits", "model": {"kind": "softmax"}},
    "strategy": {"kind": "fedbuff", "concurrency": 6, "buffer": 3},
    "evaluate": {"every_versions": 2},
    "stop": {"versions": 12},
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> simfl.Result:
    return simfl.run(SCENARIO, out=tmp_path_factory.mktemp("ledger"))


@pytest.fixture
def run(original: simfl.Result, tmp_path: Path) -> simfl.Result:
    """A copy that may be forged."""
    for path in original.folder.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    return simfl.open(tmp_path)


def broken(folder: Path) -> list[str]:
    return [check.law for check in verify.audit(simfl.open(folder)) if check.wrong]


def forge(run: simfl.Result, table: str, frame: pd.DataFrame) -> None:
    path = run.folder / f"{table}.parquet"
    columns = {name: frame[name].astype(object).where(frame[name].notna(), None) for name in frame}
    pq.write_table(free_table(columns).cast(pq.read_schema(path).remove_metadata()), path)


def seal(folder: Path) -> None:
    """The summary and its digest say what the forged tables say: forgers are not fools."""
    run, path = simfl.open(folder), folder / "summary.json"
    numbers = summarise(run.read, devices=len(run.devices))
    sealed = {**run.summary, **numbers, "digest": digest(folder, run.params)}
    path.write_text(json.dumps(sealed), "utf-8")


@pytest.mark.parametrize("sharing", ["none", "max-min"])
@pytest.mark.parametrize("kind", ["fedavg", "fedasync", "overselect"])
def test_what_a_run_did_passes(tmp_path: Path, sharing: str, kind: str) -> None:
    at_once = {"concurrency": 4} if kind == "fedasync" else {"cohort": 4}
    changes = {"strategy": {"kind": kind, **at_once}, "server.sharing": sharing}
    simfl.run(SCENARIO, out=tmp_path / "run", **changes)
    assert broken(tmp_path / "run") == []


@pytest.mark.parametrize(
    "changes",
    [
        {"wire": {"up": [{"kind": "quantize", "bits": 8}]}},
        {"wire": {"up": [{"kind": "topk", "keep": 0.1}], "down": [{"kind": "resfed"}]}},
        {"strategy": {"kind": "scaffold", "cohort": 4}},
        {"fleet.group.0.faults": {"drop_probability": 0.4, "retry": {"wait_s": 1.0, "times": 3}}},
        {"fleet.group.0.presence": {"kind": "onoff", "mean_on_s": 20.0, "mean_off_s": 5.0}},
    ],
    ids=["quantized", "memories", "control variates", "retries", "absences"],
)
def test_bytes_of_every_kind_of_message_pass(tmp_path: Path, changes: dict[str, Any]) -> None:
    simfl.run(SCENARIO, out=tmp_path, **changes)
    assert broken(tmp_path) == []


@pytest.mark.parametrize("lag", ["versions", "tasks"])
def test_a_run_that_was_cut_short_obeys_every_law_of_its_tables(
    run: simfl.Result, lag: str
) -> None:
    """Tasks under way have no row yet, and one table may be behind the other."""
    (run.folder / "summary.json").unlink()
    forge(run, "tasks", run.tasks[run.tasks.outcome != "in_flight"])
    forge(run, lag, run.read(lag).iloc[:-5])
    assert broken(run.folder) == []
    forge(run, lag, pd.concat([run.read(lag).iloc[:5], run.read(lag).iloc[4:]]))
    assert broken(run.folder) != []


def at(frame: pd.DataFrame, row: int, **values: Any) -> pd.DataFrame:
    """The frame with other values in one row, counted by position."""
    changed = frame.copy()
    for name, value in values.items():
        changed[name] = changed[name].astype(object)
        changed.iloc[row, changed.columns.get_loc(name)] = value
    return changed


def first(rows: pd.Series) -> int:
    return int(rows.to_numpy().argmax())


def renumbered(t: pd.DataFrame) -> pd.DataFrame:
    return t.assign(task=t.task + 1)


def longer(t: pd.DataFrame) -> pd.DataFrame:
    return at(t, 0, train_s=t.train_s.iloc[0] + 1.0)


def doubled(t: pd.DataFrame) -> pd.DataFrame:
    """A task is given to a device of the same class that was busy then."""
    pairs = (
        (i, int(t.device.iloc[j]))
        for i in range(len(t))
        for j in range(len(t))
        if t.device.iloc[i] != t.device.iloc[j]
        and t.device_class.iloc[i] == t.device_class.iloc[j]
        and t.dispatched_s.iloc[j] < t.dispatched_s.iloc[i] < t.ended_s.iloc[j] - 1.0
    )
    row, device = next(pairs)
    return at(t, row, device=device)


def shifted(t: pd.DataFrame) -> pd.DataFrame:
    """One update is a version older than it was, another one younger."""
    applied = [i for i in range(len(t)) if t.outcome.iloc[i] == "applied"]
    older = at(t, applied[0], staleness=t.staleness.iloc[applied[0]] + 1)
    return at(older, applied[1], staleness=t.staleness.iloc[applied[1]] - 1)


def aged(t: pd.DataFrame) -> pd.DataFrame:
    row = first(t.outcome == "in_flight")
    return at(t, row, staleness=t.staleness.iloc[row] + 1)


def earlier(t: pd.DataFrame) -> pd.DataFrame:
    """An update claims to come from the version before, and to be the staler for it."""
    row = first((t.outcome == "applied") & (t.version > 1) & (t.staleness > 0))
    lag = t.staleness.iloc[row] + 1
    return at(t, row, version=t.version.iloc[row] - 1, staleness=lag)


def sent_early(t: pd.DataFrame) -> pd.DataFrame:
    return at(t, first((t.outcome == "in_flight") & (t.phase == "train")), up_bytes=9)


def exchanged(t: pd.DataFrame) -> pd.DataFrame:
    """A byte less for one update and more for another of the same version; the sum stays."""
    one = first(t.outcome == "applied")
    same = (t.outcome == "applied") & (t.applied_version == t.applied_version.iloc[one])
    other = next(i for i in range(len(t)) if same.iloc[i] and i != one)
    less = at(t, one, up_bytes=t.up_bytes.iloc[one] - 1)
    return at(less, other, up_bytes=t.up_bytes.iloc[other] + 1)


def reclassed(t: pd.DataFrame) -> pd.DataFrame:
    return at(t, first(t.device < 8), device_class="phone-mid")


def backwards(e: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([e.iloc[:2][::-1], e.iloc[2:]])


def uncounted(v: pd.DataFrame) -> pd.DataFrame:
    return at(v, 0, updates=v.updates.iloc[0] + 1)


def moved(e: pd.DataFrame) -> pd.DataFrame:
    return at(e, 3, down_bytes=e.down_bytes.iloc[3] + 10**6)


FORGERIES: dict[str, tuple[str, Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "every task has one row": ("tasks", renumbered),
    "phases follow each other to the task's end": ("tasks", longer),
    "versions and evaluations are in order of time": ("evaluations", backwards),
    "a device has one task at a time": ("tasks", doubled),
    "staleness is the lag in versions": ("tasks", shifted),
    "a task carries the version of its dispatch": ("tasks", earlier),
    "versions count the updates that entered them": ("versions", uncounted),
    "bytes move in their phase": ("tasks", sent_early),
    "staleness is conserved": ("tasks", aged),
    "waste and use add up to what was moved": ("evaluations", moved),
    "tasks belong to devices of the fleet": ("tasks", reclassed),
    verify.LAW: ("tasks", exchanged),
}


def test_there_is_a_forgery_for_every_law(run: simfl.Result) -> None:
    assert set(FORGERIES) == {*LAWS, verify.LAW}
    assert {check.law for check in verify.audit(run)} == {*FORGERIES, *SUMMARY_LAWS}


@pytest.mark.parametrize("law", FORGERIES)
def test_a_forged_ledger_breaks_the_law_that_it_offends_and_no_other(
    run: simfl.Result, law: str
) -> None:
    table, change = FORGERIES[law]
    forge(run, table, change(run.read(table)))
    seal(run.folder)
    assert broken(run.folder) == [law]


def test_a_ledger_that_is_not_sealed_again_is_caught_by_its_digest(run: simfl.Result) -> None:
    forge(run, "tasks", run.tasks.assign(drift=1.0))
    assert broken(run.folder) == ["the digest is that of the tables and the model"]


@pytest.mark.parametrize(
    ("key", "value", "law"),
    [
        ("versions", 1, "the summary is that of the tables"),
        ("wasted_bytes", 0, "the summary is that of the tables"),
        ("digest", "0" * 32, "the digest is that of the tables and the model"),
    ],
)
def test_a_forged_summary_is_caught(run: simfl.Result, key: str, value: object, law: str) -> None:
    path = run.folder / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), key: value}), "utf-8")
    assert broken(run.folder) == [law]


def test_a_forged_model_is_caught(run: simfl.Result) -> None:
    path = run.folder / "model.safetensors"
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    assert broken(run.folder) == ["the digest is that of the tables and the model"]
