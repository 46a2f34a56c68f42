"""The tables of a run: what each column is called, holds, and means.

One row per task, evaluation, version and device. Missing whole numbers (the staleness of a task
that never entered the model) are `<NA>` in pandas, missing real numbers are NaN.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from simfl.errors import InputError, InvariantError, first_line
from simfl.files import regular

#: What may become of a task; only an applied one has entered the model.
OUTCOMES = ("applied", "evaluated", "discarded", "lost", "cancelled", "in_flight")

#: Outcomes of tasks whose upload has arrived.
DELIVERED = ("applied", "evaluated", "discarded")

#: Outcomes whose cost is no waste: the update is in the model, or the device has evaluated it.
USEFUL = ("applied", "evaluated")

#: Files of a run folder beside its tables.
SCENARIO, SUMMARY, MODEL = "scenario.toml", "summary.json", "model.safetensors"

#: Hidden folder of a run folder in which a table grows, part by part, while the run lives.
PARTS = ".parts"

#: Rows of a table that are looked at together where it is read part by part.
ROWS_AT_ONCE = 250_000

_DTYPES = {
    "int": pa.int64(),
    "int?": pa.int64(),
    "float": pa.float64(),
    "word": pa.dictionary(pa.int32(), pa.string()),
}


@dataclass(frozen=True)
class Column:
    """One column.

    dtype: "int", "int?" (may be missing), "float" (may be NaN) or "word".
    """

    name: str
    dtype: str
    unit: str
    meaning: str


TASKS = (
    Column("task", "int", "", "serial number of the dispatch, unique and increasing"),
    Column("device", "int", "", "row of the fleet"),
    Column("device_class", "word", "", "class of the device"),
    Column("version", "int", "versions", "server version that was sent down"),
    Column("applied_version", "int?", "versions", "version that the update made or entered"),
    Column("dispatched_s", "float", "s", "when the server sent the task"),
    Column("download_s", "float", "s", "spent on latency and download"),
    Column("train_s", "float", "s", "spent on set-up and training"),
    Column("upload_s", "float", "s", "spent on latency and upload"),
    Column("ended_s", "float", "s", "delivered, lost or cancelled; end of the run if in flight"),
    Column("outcome", "word", "", "applied, evaluated, discarded, lost, cancelled, in_flight"),
    Column("cause", "word", "", "why it was not applied; empty if it was"),
    Column("phase", "word", "", "phase in which it ended: download, train or upload"),
    Column("down_bytes", "int", "B", "moved to the device, framing included"),
    Column("up_bytes", "int", "B", "moved to the server, framing included"),
    Column("examples", "int", "examples", "size of the device's data set"),
    Column("epochs", "float", "epochs", "passes over the local data asked for"),
    Column("staleness", "int?", "versions", "versions applied between dispatch and use"),
    Column("staleness_s", "float", "s", "from dispatch to use"),
    Column("drift", "float", "", "||w_now - w_base|| / ||delta|| at use"),
    Column("cosine", "float", "", "cosine of w_now - w_base and delta at use; 1 if fresh"),
    Column("weight", "float", "", "effective weight that the strategy gave the update"),
    Column("train_loss", "float", "", "mean training loss over the task"),
    Column("energy_j", "float", "J", "spent by the device"),
)

EVALUATIONS = (
    Column("time_s", "float", "s", "virtual time"),
    Column("version", "int", "versions", "server version that was evaluated"),
    Column("loss", "float", "", "mean test loss"),
    Column("accuracy", "float", "", "share of test examples classified correctly"),
    Column("tasks_ended", "int", "tasks", "tasks ended so far, whatever their outcome"),
    Column("down_bytes", "int", "B", "moved to devices so far, tasks in flight included"),
    Column("up_bytes", "int", "B", "moved to the server so far, tasks in flight included"),
)

VERSIONS = (
    Column("version", "int", "versions", "the new version"),
    Column("time_s", "float", "s", "when it was made"),
    Column("updates", "int", "updates", "updates that went into it"),
    Column("staleness_mean", "float", "versions", "mean staleness of those updates"),
    Column("staleness_max", "int?", "versions", "largest staleness of those updates"),
    Column("weight_sum", "float", "", "sum of their effective weights"),
    Column("step_s", "float", "s", "server work charged for it"),
)

#: With `evaluate.personal` alone. `loss` and `accuracy` of `evaluations` are means of such rows.
PERSONAL = (
    Column("time_s", "float", "s", "virtual time of the evaluation"),
    Column("version", "int", "versions", "server version that was evaluated"),
    Column("device", "int", "", "row of the fleet"),
    Column("loss", "float", "", "mean test loss of the model that the device uses"),
    Column("pers_global", "float", "", "accuracy of that model on all test examples"),
    Column("pers_local", "float", "", "the same, classes as frequent as on the device"),
)

#: With processes alone: what they changed and what they logged.
EVENTS = (
    Column("time", "float", "s", "virtual time"),
    Column("process", "word", "", "kind of the process, numbered from the second of a kind on"),
    Column("kind", "word", "", "of the event; `world.` and a method's name for a change"),
    Column("device", "int?", "", "row of the fleet; missing where it concerns none"),
    Column("value", "float", "", "factor, rate or whatever the process logs; may be NaN"),
)

#: With edges alone: one row per version of an edge, version 0 included.
EDGES = (
    Column("edge", "word", "", "name of the edge"),
    Column("version", "int", "versions", "the edge's version"),
    Column("time_s", "float", "s", "when it was made"),
    Column("updates", "int", "updates", "updates that went into it"),
    Column("staleness_mean", "float", "versions", "mean staleness of those, in edge versions"),
    Column("staleness_max", "int?", "versions", "largest staleness of those, in edge versions"),
    Column("weight_sum", "float", "", "sum of the weights that the edge's strategy gave them"),
    Column("step_s", "float", "s", "work of the edge charged for it"),
    Column("up_bytes", "int", "B", "moved to the cloud, framing included; 0 if it stayed"),
    Column("up_s", "float", "s", "that took; NaN if it stayed"),
    Column("cloud_version", "int?", "versions", "cloud version that it entered and then had"),
    Column("down_bytes", "int", "B", "moved to the edge with that version, framing included"),
    Column("down_s", "float", "s", "that took; NaN if none came"),
)

#: Further columns of `tasks` in a run with edges.
EDGED = (
    Column("edge", "word", "", "name of the edge that sent the task"),
    Column("edge_version", "int", "versions", "edge version that was sent down"),
    Column("edge_applied_version", "int?", "versions", "edge version that the update entered"),
    Column("edge_staleness", "int?", "versions", "edge versions between dispatch and use, or end"),
)

#: Further columns of `tasks`, where a process has set what electricity emits or costs.
METERED = (
    Column("co2_g", "float", "g", "CO2 of the energy that the device spent"),
    Column("cost", "float", "", "price of that energy, in the currency of the process"),
)

#: Further columns of `evaluations` that a run may have: all are float.
METRICS = (
    Column("accuracy_class_K", "float", "", "accuracy on class K (`evaluate.by_class`)"),
    Column("pers_global", "float", "", "accuracy of the models that devices use, their mean"),
    Column("pers_local", "float", "", "the same, classes as frequent as on each device"),
    Column("global", "float", "", "accuracy of the one model that all share, where there is one"),
    Column("regularised_loss", "float", "", "`loss` plus (weight_decay/2)||w||², with a decay"),
    Column("loss_later, accuracy_later", "float", "", "on the data that `learning.shift` leads to"),
)

#: Columns of `devices` that need words; its others are options by the same name.
DEVICES = (
    Column("device", "int", "", "row of the fleet"),
    Column("device_class", "word", "", "class of the device"),
    Column("group", "int", "", "number of its group in the scenario"),
    Column("network", "word", "", "class or rates of its network"),
    Column("presence", "word", "", "kind of its presence"),
    Column("train_gflops", "float", "GFLOP/s", "training speed of the device; NaN for a law in s"),
    Column("latency_s", "float", "s", "one way, from the request to the first byte"),
    Column("down_bytes_per_s", "float", "B/s", "median rate to the device"),
    Column("up_bytes_per_s", "float", "B/s", "median rate to the server"),
    Column("train_w", "float", "W", "power while it trains"),
    Column("radio_w", "float", "W", "power while it transfers"),
    Column("memory_bytes", "int", "B", "memory for training"),
    Column("drop_probability", "float", "", "share of its tasks that drop out"),
    Column("suspend_probability", "float", "", "share of its tasks that hang"),
    Column("hazard_per_hour", "float", "1/h", "rate at which its tasks are lost"),
    Column("retries", "int", "", "times that a drop-out is made good for"),
)

#: Tables that grow while a run lives. `evaluations` may have further float columns (metrics).
TABLES: dict[str, tuple[Column, ...]] = {
    "tasks": TASKS,
    "evaluations": EVALUATIONS,
    "versions": VERSIONS,
    "personal": PERSONAL,
    "events": EVENTS,
    "edges": EDGES,
}

#: Tables that a run may be without.
OPTIONAL = ("personal", "events", "edges")

#: Columns that tables may have beside their own. `evaluations` takes any others, too.
FURTHER: dict[str, tuple[Column, ...]] = {"evaluations": METRICS, "tasks": (*METERED, *EDGED)}


def schema(table: str) -> pa.Schema:
    """Arrow schema of one of TABLES."""
    return pa.schema([pa.field(c.name, _DTYPES[c.dtype]) for c in TABLES[table]])


def annotated(arrow: pa.Table, table: str) -> pa.Table:
    """The table with unit and meaning of its columns in the metadata, under `simfl`, as JSON."""
    known = _meanings(table, arrow.column_names)
    return arrow.replace_schema_metadata({"simfl": json.dumps({"table": table, "columns": known})})


def describe(table: str, names: Sequence[str]) -> pd.DataFrame:
    """Unit and meaning of these columns of a table, by name; empty where nothing is known."""
    rows = _meanings(table, names)
    return pd.DataFrame.from_dict(rows, orient="index", columns=["unit", "meaning"]).rename_axis(
        "column"
    )


class Meanings(dict[str, dict[str, str]]):
    """Unit and meaning by column. Copies are the same object.

    pandas makes a deep copy of a frame's attributes for every column that is read of it, which
    would cost more than what is done with the column.
    """

    def __deepcopy__(self, memo: object) -> Meanings:
        return self


def _meanings(table: str, names: Sequence[str]) -> Meanings:
    columns = DEVICES if table == "devices" else TABLES.get(table, ())
    known = {column.name: column for column in (*columns, *FURTHER.get(table, ()))}
    return Meanings(
        (name, {"unit": known[name].unit, "meaning": known[name].meaning})
        if name in known
        else (name, {"unit": "", "meaning": _metric(table, name)})
        for name in names
    )


def _metric(table: str, name: str) -> str:
    """What a further column of evaluations is."""
    if table != "evaluations":
        return ""
    label = name.removeprefix("accuracy_class_")
    return f"accuracy on class {label}" if label != name else "a metric of the problem or strategy"


def to_arrow(table: str, columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Equal-length columns as an Arrow table; None is missing, and NaN in float columns.

    Every column of the schema is needed; `tasks` takes those of FURTHER, and `evaluations` any
    others as floats. Raises InvariantError when a column is missing, unknown, or of another length.
    """
    plan = schema(table)
    extra = [name for name in columns if name not in plan.names]
    absent = [name for name in plan.names if name not in columns]
    known = {} if table == "evaluations" else {c.name: c for c in FURTHER.get(table, ())}
    if absent or (table != "evaluations" and not set(extra) <= set(known)):
        raise InvariantError(f"rows for {table}: missing columns {absent}, unknown {extra}")
    if len({len(values) for values in columns.values()}) > 1:
        raise InvariantError(f"rows for {table}: columns differ in length")
    for name in extra:
        plan = plan.append(pa.field(name, _DTYPES[known[name].dtype if known else "float"]))
    return pa.table([_array(columns[field.name], field.type) for field in plan], schema=plan)


def free_table(columns: Mapping[str, Sequence[Any]]) -> pa.Table:
    """Columns of any kind (the fleet's) as an Arrow table, words dictionary-encoded."""
    arrays = {name: pa.array(values) for name, values in columns.items()}
    words = {n: a.dictionary_encode() for n, a in arrays.items() if pa.types.is_string(a.type)}
    return pa.table({**arrays, **words})


def words(table: pa.Table) -> list[str]:
    """Names of the columns that are dictionaries."""
    return [field.name for field in table.schema if pa.types.is_dictionary(field.type)]


def paths_of(folder: Path, table: str) -> list[Path]:
    """Files that hold a table, in row order: the finished one, or its parts so far."""
    whole = folder / f"{table}.parquet"
    return [whole] if whole.exists() else sorted((folder / PARTS).glob(f"{table}-*.parquet"))


def read(folder: Path, table: str, columns: list[str] | None = None) -> pd.DataFrame:
    """A table of a run folder, or just some columns of it. Raises InputError on a damaged file."""
    paths = paths_of(folder, table)
    if not paths and table not in TABLES:
        return pd.DataFrame()
    with _damage(folder, table):
        found = [pq.read_table(regular(path), columns=columns) for path in paths]
    return _framed(folder, table, columns, found)


def _framed(
    folder: Path, table: str, columns: list[str] | None, found: Sequence[pa.Table]
) -> pd.DataFrame:
    """The frame of these rows. Raises InputError where a column is missing."""
    with _damage(folder, table):
        whole = unite(found) if found else _empty(table, columns)
    wanted = columns or [column.name for column in TABLES.get(table, ())]
    missing = [name for name in wanted if name not in whole.column_names]
    if missing:
        raise InputError(f"{folder}: its table {table!r} has no column {missing[0]!r}")
    return to_pandas(whole, table)


def parts(
    folder: Path, table: str, columns: list[str] | None = None, rows: int | None = None
) -> Iterator[pd.DataFrame]:
    """The frames that `read` would give as one, in order, of so many rows each but the last.

    There is at least one. Raises InputError on a damaged file.
    """
    rows = rows or ROWS_AT_ONCE
    paths = paths_of(folder, table)
    if sum(map(_length, paths)) <= rows:
        yield read(folder, table, columns)
        return
    with _damage(folder, table):
        for part in _cut(_batches(paths, columns, rows), rows):
            yield _framed(folder, table, columns, [part])


def _batches(paths: Sequence[Path], columns: list[str] | None, rows: int) -> Iterator[pa.Table]:
    """The files' rows in order, at most so many at a time."""
    for path in paths:
        with pq.ParquetFile(regular(path)) as file:
            for batch in file.iter_batches(rows, columns=columns):
                yield pa.Table.from_batches([batch])


def _cut(found: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The same rows, exactly so many at a time, and what is left."""
    held: list[pa.Table] = []
    for table in found:
        held.append(table)
        while sum(map(len, held)) >= rows:
            whole = unite(held)
            yield whole.slice(0, rows)
            held = [whole.slice(rows)] if len(whole) > rows else []
    if held:
        yield unite(held)


def count(folder: Path, table: str) -> int:
    """Rows of a table, without reading them. Raises InputError on a damaged file."""
    with _damage(folder, table):
        return sum(map(_length, paths_of(folder, table)))


def _length(path: Path) -> int:
    return int(pq.read_metadata(regular(path)).num_rows)


@contextmanager
def _damage(folder: Path, table: str) -> Iterator[None]:
    """What reading a damaged file raises becomes an InputError."""
    try:
        yield
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        reason = first_line(error)
        raise InputError(f"{folder}: cannot read its table {table!r} ({reason})") from error


def unite(tables: Sequence[pa.Table]) -> pa.Table:
    """Tables one below the other; a metric that some do not have is NaN there."""
    plan = pa.unify_schemas([t.schema.remove_metadata() for t in tables])
    return pa.concat_tables([widen(t, plan) for t in tables]).unify_dictionaries()


def widen(table: pa.Table, plan: pa.Schema) -> pa.Table:
    """The table with exactly the columns of the plan, those it lacks being NaN."""
    for name in plan.names:
        if name not in table.column_names:
            table = table.append_column(name, pa.array([float("nan")] * len(table), pa.float64()))
    return table.select(plan.names).cast(plan)


def to_pandas(arrow: pa.Table, table: str) -> pd.DataFrame:
    """The pandas frame of an Arrow table: words are categories, missing integers are <NA>."""
    frame = arrow.to_pandas()
    frame.attrs = {"table": table, "columns": _meanings(table, list(frame))}
    for column in (*TABLES.get(table, ()), *FURTHER.get(table, ())):
        if column.dtype == "int?" and column.name in frame:
            values = arrow[column.name].combine_chunks().to_pandas(types_mapper=_nullable)
            frame[column.name] = values
    return frame


def _nullable(dtype: pa.DataType) -> Any:
    return pd.Int64Dtype() if dtype == pa.int64() else None


def _array(values: Sequence[Any], dtype: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(dtype):
        return _words(values)
    array = pa.array(values, dtype, from_pandas=False)
    return array.fill_null(float("nan")) if pa.types.is_floating(dtype) else array


def _words(values: Sequence[str]) -> pa.Array:
    """A dictionary in order of appearance. Many parts of a table hold one word all through."""
    if isinstance(values, tuple) and values and values.count(values[0]) == len(values):
        codes = np.zeros(len(values), np.int32)
        return pa.DictionaryArray.from_arrays(codes, pa.array(values[:1], pa.string()))
    return pa.array(values, pa.string()).dictionary_encode()


def _empty(table: str, columns: list[str] | None) -> pa.Table:
    empty = schema(table).empty_table()
    return empty.select(columns) if columns is not None else empty
