"""Runs in the formats of other viewers."""

from __future__ import annotations

import json
from math import nan

import pytest

from simfl.cli import main
from simfl.errors import InputError
from simfl.results.export import chrome_trace, tensorboard, trace_events


@pytest.fixture
def run(run_folder):
    lost = {"task": 1, "device": 3, "device_class": "board", "outcome": "lost", "cause": "battery",
            "dispatched_s": 1.0, "upload_s": 0.0, "ended_s": 9.0}  # fmt: skip
    versions = [{"time_s": 6.0, "staleness_mean": nan}]
    evaluations = [{"time_s": 6.0, "version": 1, "accuracy": 0.5, "loss": 1.25}]
    task = {"staleness": 0}
    return run_folder("a", tasks=[task, lost], versions=versions, evaluations=evaluations)


def phases(events) -> list[tuple]:
    keys = ("pid", "tid", "name", "ts", "dur", "cat")
    return [tuple(event[key] for key in keys) for event in events if event["ph"] == "X"]


def test_a_slice_for_every_phase_at_its_virtual_microsecond(run) -> None:
    """Class board is process 1, phone 2; the lost task was away between 4 s and 9 s."""
    assert phases(trace_events(run)) == [
        (2, 0, "download", 0.0, 1e6, "applied"),
        (2, 0, "train", 1e6, 2e6, "applied"),
        (2, 0, "upload", 3e6, 3e6, "applied"),
        (1, 3, "download", 1e6, 1e6, "lost"),
        (1, 3, "train", 2e6, 2e6, "lost"),
    ]


def test_classes_devices_versions_and_accuracy_are_named(run) -> None:
    events = list(trace_events(run))
    named = {(e["name"], e["pid"], e["tid"]): e["args"]["name"] for e in events if e["ph"] == "M"}
    assert named == {
        ("process_name", 0, 0): "server", ("process_name", 1, 0): "board",
        ("process_name", 2, 0): "phone", ("thread_name", 1, 3): "#3", ("thread_name", 2, 0): "#0",
    }  # fmt: skip
    (version,) = (e for e in events if e["ph"] == "i")
    assert (version["name"], version["ts"]) == ("version 1", 6e6)
    (accuracy,) = (e for e in events if e["ph"] == "C")
    assert accuracy["args"] == {"accuracy": 0.5}


def test_the_trace_is_strict_json(run, tmp_path) -> None:
    """NaN is no JSON, and viewers refuse it."""

    def refuse(word: str) -> None:
        raise AssertionError(word)

    path = chrome_trace(run, tmp_path / "deep" / "trace.json")
    read = json.loads(path.read_text("utf-8"), parse_constant=refuse)
    assert read["traceEvents"] == list(trace_events(run))


def test_an_empty_run_is_an_empty_trace(run_folder, tmp_path) -> None:
    path = chrome_trace(run_folder("empty"), tmp_path / "trace.json")
    assert phases(json.loads(path.read_text("utf-8"))["traceEvents"]) == []


def test_tensorboard_reads_the_metrics_back(run, tmp_path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    seen = EventAccumulator(str(tensorboard(run, tmp_path / "tb")))
    seen.Reload()
    (event,) = seen.Tensors("evaluations/accuracy")
    assert (event.step, event.wall_time) == (1, 6.0)
    assert event.tensor_proto.float_val[0] == 0.5


def test_the_command_writes_beside_the_run(run, capsys) -> None:
    assert main(["export", str(run.folder), "chrome-trace"]) == 0
    assert capsys.readouterr().out.strip() == str(run.folder / "trace.json")
    assert main(["export", str(run.folder), "chrometrace"]) == InputError.exit_code
    assert "did you mean 'chrome-trace'" in capsys.readouterr().err
