from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from simfl.errors import InputError, InvariantError
from simfl.results import store, tables
from simfl.results.digest import digest
from simfl.results.store import Store


def task_column(folder: Path) -> list[int]:
    return tables.read(folder, "tasks")["task"].tolist()


def test_a_finished_store_gives_back_what_was_appended(tmp_path, cols) -> None:
    """Values, missing values and types, over several appends and files."""
    rows = {"staleness": 3, "applied_version": 4, "drift": 0.5}, {"outcome": "lost", "task": 1}
    with_store = Store(tmp_path)
    with_store.append("tasks", cols("tasks", rows[0]))
    with_store.mark()
    with_store.append("tasks", cols("tasks", rows[1]))
    with_store.finish()
    tasks = tables.read(tmp_path, "tasks")
    assert tasks["staleness"].tolist() == [3, pd.NA]
    assert tasks["drift"].tolist()[0] == 0.5
    assert tasks["drift"].isna().tolist() == [False, True]
    assert tasks["outcome"].tolist() == ["applied", "lost"]
    assert tasks.columns.tolist() == [column.name for column in tables.TASKS]


def test_dtypes_are_those_of_the_documented_table(tmp_path, cols) -> None:
    """With and without rows: an empty table is no reason for another dtype."""
    names = {"int": "int64", "int?": "Int64", "float": "float64", "word": "category"}
    store = Store(tmp_path)
    store.append("tasks", cols("tasks", {}))
    store.finish()
    for table, plan in tables.TABLES.items():
        found = tables.read(tmp_path, table).dtypes.astype(str).to_dict()
        assert found == {column.name: names[column.dtype] for column in plan}


def test_a_finished_folder_holds_one_file_per_table(tmp_path, cols) -> None:
    store = Store(tmp_path)
    store.append("tasks", cols("tasks", {}))
    store.put_devices({"device_class": ["phone"], "train_gflops": [2.0]})
    store.finish()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [f"{t}.parquet" for t in ("devices", "evaluations", "tasks", "versions")]
    assert tables.read(tmp_path, "devices")["train_gflops"].tolist() == [2.0]


def test_a_killed_run_leaves_complete_parts(tmp_path, cols, monkeypatch) -> None:
    """Rows still in memory are lost, a half-written part is not read, the others are."""
    monkeypatch.setattr(store, "PART_ROWS", 2)
    killed = Store(tmp_path)
    for task in range(5):
        killed.append("tasks", cols("tasks", {"task": task}))
    (tmp_path / tables.PARTS / "tasks-000002.parquet.tmp").write_bytes(b"PAR1 and then nothing")
    assert task_column(tmp_path) == [0, 1, 2, 3]


def test_a_run_killed_while_it_joins_its_parts_counts_nothing_twice(tmp_path, cols) -> None:
    """The joined file appears before the parts go."""
    killed = Store(tmp_path)
    killed.append("tasks", cols("tasks", {"task": 7}))
    killed.mark()
    part = tables.paths_of(tmp_path, "tasks")[0]
    (tmp_path / "tasks.parquet").write_bytes(part.read_bytes())
    assert task_column(tmp_path) == [7]


def test_parts_are_joined_a_few_rows_at_a_time(tmp_path, cols, monkeypatch) -> None:
    """Small parts (many checkpoints) become larger row groups, never one of everything."""
    monkeypatch.setattr(store, "PART_ROWS", 10)
    joined = Store(tmp_path)
    for task in range(95):
        joined.append("tasks", cols("tasks", {"task": task}))
        if task % 3 == 0:
            joined.mark()
    joined.finish()
    meta = pq.ParquetFile(tmp_path / "tasks.parquet").metadata
    sizes = [meta.row_group(i).num_rows for i in range(meta.num_row_groups)]
    assert sum(sizes) == 95
    assert max(sizes) < 20
    assert min(sizes[:-1]) >= 10
    assert task_column(tmp_path) == list(range(95))


def test_a_resumed_store_is_an_unbroken_one(tmp_path, cols) -> None:
    """What was written after the mark is dropped, and then written again."""
    broken = Store(tmp_path / "a")
    broken.append("tasks", cols("tasks", {"task": 0}))
    mark = broken.mark()
    broken.append("tasks", cols("tasks", {"task": 99}))
    broken.mark()
    resumed, unbroken = Store(tmp_path / "a", at=mark), Store(tmp_path / "b")
    unbroken.append("tasks", cols("tasks", {"task": 0}))
    for each in (resumed, unbroken):
        each.append("tasks", cols("tasks", {"task": 1, "staleness": 2}))
        each.finish()
    assert task_column(tmp_path / "a") == [0, 1]
    assert digest(tmp_path / "a") == digest(tmp_path / "b")


def test_a_store_cannot_resume_without_its_parts(tmp_path) -> None:
    with pytest.raises(InputError, match="cannot resume, tasks-000000"):
        Store(tmp_path, at={"tasks": 1, "evaluations": 0, "versions": 0})


def test_a_fresh_store_forgets_an_earlier_run(tmp_path, cols) -> None:
    """Also what it wrote beside the tables: an old summary under a new ledger would lie."""
    old = Store(tmp_path)
    old.append("tasks", cols("tasks", {}))
    old.put_devices({"device_class": ["phone"]})
    old.put_summary({"tasks": 1})
    old.finish()
    Store(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [tables.PARTS]
    assert task_column(tmp_path) == []


def test_a_store_without_a_folder_goes_when_it_is_closed(cols) -> None:
    store = Store(None)
    store.append("tasks", cols("tasks", {}))
    store.finish()
    assert task_column(store.folder) == [0]
    store.close()
    assert not store.folder.exists()


def test_a_metric_that_comes_later_is_missing_before(tmp_path, cols) -> None:
    """In the parts of a living run as in the joined table."""
    store = Store(tmp_path)
    store.append("evaluations", cols("evaluations", {"accuracy": 0.1}))
    store.mark()
    store.append("evaluations", cols("evaluations", {"accuracy": 0.2, "head_accuracy": 0.4}))
    store.mark()
    parts = tables.read(tmp_path, "evaluations")
    store.finish()
    for table in (parts, tables.read(tmp_path, "evaluations")):
        assert table["head_accuracy"].isna().tolist() == [True, False]
        assert table["head_accuracy"].tolist()[1] == 0.4


def test_some_columns_are_read_alone(tmp_path, cols) -> None:
    """From parts, from the joined file, and where there is nothing."""
    store = Store(tmp_path)
    assert tables.read(tmp_path, "tasks", ["up_bytes"]).shape == (0, 1)
    store.append("tasks", cols("tasks", {"up_bytes": 5}))
    store.mark()
    assert tables.read(tmp_path, "tasks", ["up_bytes"]).to_dict("list") == {"up_bytes": [5]}
    store.finish()
    assert tables.read(tmp_path, "tasks", ["up_bytes"]).to_dict("list") == {"up_bytes": [5]}


def test_rows_that_do_not_fit_the_table_are_refused(tmp_path, cols) -> None:
    store = Store(tmp_path)
    rows = cols("tasks", {}, {})
    with pytest.raises(InvariantError, match="unknown \\['colour'\\]"):
        store.append("tasks", {**rows, "colour": [1, 2]})
    with pytest.raises(InvariantError, match="missing columns \\['phase'\\]"):
        store.append("tasks", {name: rows[name] for name in rows if name != "phase"})
    with pytest.raises(InvariantError, match="differ in length"):
        store.append("tasks", {**rows, "phase": ["train"]})


def test_a_summary_holds_no_number_that_json_does_not_know(tmp_path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Store(tmp_path).put_summary({"final_loss": float("nan")})


def test_a_damaged_table_is_named(tmp_path) -> None:
    (tmp_path / "tasks.parquet").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="cannot read its table 'tasks'"):
        tables.read(tmp_path, "tasks")


def test_every_column_says_its_unit_and_meaning(tmp_path) -> None:
    """In words, on the frame, and in the file, where other programs find it."""
    import simfl

    group = {"compute": {"kind": "constant", "s": 1.0}, "count": 2}
    run = simfl.run(
        {
            "fleet": {"group": [group]},
            "learning": {"dataset": "none", "parameters": 10, "examples": 10,
                         "flops_per_example": 1.0},
            "strategy": {"kind": "fedavg", "cohort": 1},
            "stop": {"versions": 1},
        },
        tmp_path,
    )  # fmt: skip
    for table in ("tasks", "versions", "devices"):
        said = run.describe(table)
        assert list(said.index) == list(run.read(table))
        assert (said["meaning"] != "").all(), said[said["meaning"] == ""]
        file = json.loads(pq.read_schema(tmp_path / f"{table}.parquet").metadata[b"simfl"])
        assert file["columns"] == run.read(table).attrs["columns"] == said.to_dict(orient="index")
    assert run.describe("tasks").loc["train_s", "unit"] == "s"
    with pytest.raises(InputError, match="did you mean 'tasks'"):
        run.describe("task")
