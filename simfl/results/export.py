"""Exports a run for other viewers: Chrome traces and TensorBoard.

`chrome_trace`: the Trace Event Format, which Perfetto and chrome://tracing open; one process per
device class, one thread per device, one slice per phase. `tensorboard`: evaluations as scalars;
needs the package of that name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from simfl.errors import InputError
from simfl.files import draft_of, own_folder
from simfl.messages import PHASES
from simfl.results.result import Result

_US = 1e6  # the format counts in microseconds

#: Process of the server; those of the device classes follow.
_SERVER = 0

_COUNTERS = ("time_s", "version", "tasks_ended", "down_bytes", "up_bytes")

_COLUMNS = [
    *("task", "device", "device_class", "version", "staleness", "outcome", "cause"),
    *("dispatched_s", "download_s", "train_s", "upload_s", "ended_s"),
]


def chrome_trace(run: Result, path: str | Path) -> Path:
    """The run as Chrome trace JSON in virtual time; returns the path. Written line by line."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = draft_of(path)
    with draft.open("w", encoding="utf-8", newline="\n") as file:
        file.write('{"displayTimeUnit": "ms", "traceEvents": [\n')
        for i, event in enumerate(trace_events(run)):
            file.write(",\n" * (i > 0) + json.dumps(event, allow_nan=False))
        file.write("\n]}\n")
    os.replace(draft, path)
    return path


def trace_events(run: Result) -> Iterator[dict[str, Any]]:
    """Trace events: names of classes and devices, phases, versions, accuracy."""
    tasks = run.read("tasks", _COLUMNS)
    classes = {name: i for i, name in enumerate(sorted(tasks["device_class"].unique()), 1)}
    yield _name("process_name", "server", _SERVER)
    for name, process in classes.items():
        yield _name("process_name", str(name), process)
    for device, name in sorted(set(zip(tasks["device"], tasks["device_class"], strict=True))):
        yield _name("thread_name", f"#{device}", classes[name], device)
    for row in tasks.to_dict("records"):
        yield from _slices(row, classes[row["device_class"]])
    for row in run.versions.to_dict("records"):
        details = {"updates": row["updates"], "staleness_mean": _finite(row["staleness_mean"])}
        shape = {"ph": "i", "s": "p", "pid": _SERVER, "tid": 0, "ts": row["time_s"] * _US}
        yield {"name": f"version {row['version']}", **shape, "args": details}
    for row in run.evaluations.to_dict("records"):
        value = {"accuracy": _finite(row["accuracy"])}
        yield {"name": "accuracy", "ph": "C", "pid": _SERVER, "ts": row["time_s"] * _US,
               "args": value}  # fmt: skip


def _slices(row: dict[Any, Any], process: int) -> Iterator[dict[str, Any]]:
    """The phases of a task; an upload ends with it, so that time away lies before the upload."""
    starts_s = {
        "download": row["dispatched_s"],
        "train": row["dispatched_s"] + row["download_s"],
        "upload": row["ended_s"] - row["upload_s"],
    }
    details = {key: row[key] for key in ("task", "version", "outcome", "cause")}
    details["staleness"] = None if _missing(row["staleness"]) else int(row["staleness"])
    for phase in PHASES:
        length_s = row[f"{phase}_s"]
        if length_s > 0:
            yield {
                "name": phase, "cat": row["outcome"], "ph": "X", "pid": process,
                "tid": row["device"], "ts": starts_s[phase] * _US, "dur": length_s * _US,
                "args": details,
            }  # fmt: skip


def tensorboard(run: Result, path: str | Path) -> Path:
    """Evaluations and staleness as TensorBoard scalars by version, stamped with virtual time."""
    try:
        from tensorboard.summary import Writer
    except ImportError as error:
        raise InputError(
            "export tensorboard: needs the package tensorboard; install simfl[tensorboard]"
        ) from error
    writer = Writer(str(own_folder(Path(path))))
    for row in run.evaluations.to_dict("records"):
        for name in [name for name in row if name not in _COUNTERS]:
            writer.add_scalar(
                f"evaluations/{name}", row[name], row["version"], wall_time=row["time_s"]
            )
    for row in run.versions.to_dict("records"):
        mean = row["staleness_mean"]
        writer.add_scalar("versions/staleness_mean", mean, row["version"], wall_time=row["time_s"])
    writer.close()
    return Path(path)


#: Exports by the names that the command line uses, with what the file is called.
EXPORTS: dict[str, tuple[Callable[[Result, str | Path], Path], str]] = {
    "chrome-trace": (chrome_trace, "trace.json"),
    "tensorboard": (tensorboard, "tensorboard"),
}


def _name(what: str, name: str, process: int, thread: int = 0) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": process, "tid": thread, "args": {"name": name}}


def _finite(value: float) -> float:
    return value if abs(value) < float("inf") else 0.0


def _missing(value: Any) -> bool:
    return value is None or value != value or str(value) == "<NA>"
