"""A pilot's log becomes a fleet that does what the pilot did."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simfl
from simfl.cli import main as command
from simfl.errors import InputError, TraceError
from simfl.interop.flower.run import scenario_of
from simfl.interop.pilots.calibrate import Loops, calibrate
from simfl.interop.pilots.phases import read_phases
from simfl.interop.pilots.written import pilot


def row(device: str, train_s: float, **more: Any) -> dict[str, Any]:
    """A task on a link of 8 Mbit/s down and 4 up, that starts for 2 s."""
    found = {"device": device, "download_s": 1.0, "launch_s": 2.0, "train_s": train_s}
    return found | {"upload_s": 2.0, "down_bytes": 1e6, "up_bytes": 1e6} | more


LOG = [row(d, s) for _ in range(4) for d, s in (("a", 3.0), ("b", 3.1), ("c", 9.0))]


def written(path: Path, rows: list[dict[str, Any]] = LOG) -> Path:
    if path.suffix == ".csv":
        names = list(rows[0])
        lines = [",".join(names), *(",".join(str(one[n]) for n in names) for one in rows)]
    else:
        lines = [json.dumps(one) for one in rows]
    path.write_text("\n".join(lines), "utf-8")
    return path


def test_a_log_without_noise_gives_back_what_it_was_made_of(tmp_path: Path) -> None:
    found = calibrate(read_phases(written(tmp_path / "log.csv")), None, None, Loops())
    fast, slow = found.groups
    assert (fast["count"], slow["count"]) == (2, 1)
    assert slow["compute"] == {
        "gflops": pytest.approx(1 / 9.0, rel=1e-3),
        "setup_s": 2.0,
        "spread_sigma": 0.0,
        "jitter_sigma": 0.0,
    }
    assert slow["network"] == {"down_mbps": 8.0, "up_mbps": 4.0, "overhead_s": 0.0}
    assert [one.error for one in found.judged] == pytest.approx([0.0, 0.0], abs=1e-3)


def test_the_scenario_plays_as_the_pilot_did(tmp_path: Path) -> None:
    rows = [row("a", 3.0, wait_s=0.5, reply_s=0.3), row("b", 9.0, wait_s=0.5, reply_s=0.3)] * 3
    text, _ = pilot(read_phases(written(tmp_path / "log.jsonl", rows)), "log.jsonl")
    (tmp_path / "pilot.toml").write_text(text, "utf-8")
    tasks = simfl.run(tmp_path / "pilot.toml").tasks
    seconds = (tasks["ended_s"] - tasks["dispatched_s"]).groupby(tasks["device_class"]).mean()
    assert seconds.tolist() == pytest.approx([1 + 2 + 3 + 2 + 0.8, 1 + 2 + 9 + 2 + 0.8], rel=2e-3)


@pytest.mark.parametrize(("down", "up"), [(1e6, 25e4), (1e6, 4e6), (200.0, 120.0)])
def test_messages_of_unlike_lengths_take_as_long_as_in_the_pilot(
    tmp_path: Path, down: float, up: float
) -> None:
    """An update that a codec of the pilot's made short, or one with more beside it."""
    rows = [row("a", 3.0, down_bytes=down, up_bytes=up)] * 2
    text, _ = pilot(read_phases(written(tmp_path / "log.csv", rows)), "log.csv")
    (tmp_path / "pilot.toml").write_text(text, "utf-8")
    result = simfl.run(tmp_path / "pilot.toml", out=tmp_path / "run")
    tasks = result.tasks
    assert tasks["download_s"].mean() == pytest.approx(1.0, rel=2e-2)
    assert tasks["upload_s"].mean() == pytest.approx(2.0, rel=2e-2)
    assert tasks["up_bytes"].mean() / tasks["down_bytes"].mean() == pytest.approx(
        up / down, rel=2e-2
    )
    assert command(["verify", str(tmp_path / "run")]) == 0


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ([{"class": "x"}, {"class": ""}], "device a is of several classes, or of none"),
        ([{"class": "x"}, {"class": "y"}], "device a is of several classes"),
        ([{"class": "x"}, {"device": "b", "class": ""}], "device b has no class"),
        ([{"up_bytes": 0.0}, {}], "up_bytes = 0: expected bytes"),
        ([{}, {"down_bytes": float("inf")}], "down_bytes"),
    ],
)
def test_what_no_pilot_can_have_is_refused(
    tmp_path: Path, changes: list[dict[str, Any]], what: str
) -> None:
    rows = [row("a", 3.0, **{"class": ""}) | change for change in changes]
    with pytest.raises(TraceError, match=what):
        calibrate(read_phases(written(tmp_path / "log.csv", rows)), None, None, Loops())


@pytest.mark.parametrize("nbytes", [-5.0, 0.0, float("nan"), float("inf")])
def test_a_length_must_be_one(tmp_path: Path, nbytes: float) -> None:
    rows = [{key: value for key, value in one.items() if "bytes" not in key} for one in LOG]
    with pytest.raises(TraceError, match=r"up_bytes = .* above 0"):
        calibrate(read_phases(written(tmp_path / "log.csv", rows)), 1e6, nbytes, Loops())


def test_one_task_a_device_does_not_judge_itself(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log = written(tmp_path / "log.csv", [row("a", 3.0), row("b", 3.1)])
    assert command(["calibrate", str(log), "-o", str(tmp_path / "pilot.toml")]) == 0
    shown = capsys.readouterr().out
    assert "0.0%" not in shown
    assert "group-0 is not judged" in shown


def test_loops_are_not_counted_twice(tmp_path: Path) -> None:
    """With a preset, waits for work and half a look are the loops', the rest is the device's."""
    rows = [row("a", 3.0, wait_s=1.5, reply_s=0.25, **{"class": "phone"})] * 4
    log = read_phases(written(tmp_path / "log.csv", rows))
    text, (one,) = pilot(log, "log.csv", deployment="flower-1.42")
    scenario = scenario_of({**_toml(text)})
    (group,) = scenario.fleet.group
    assert group.name == "phone"
    assert group.compute.setup_s == pytest.approx(1.0 + 2.0 - 0.5)  # beside the download
    assert group.network.overhead_s == 0.0
    assert scenario.strategy.deployment.pull_s == 3.0
    assert one.error == pytest.approx(0.0, abs=1e-3)


def _toml(text: str) -> dict[str, Any]:
    import tomllib

    return tomllib.loads(text)


def test_messages_of_several_sizes_tell_rate_and_overhead_apart(tmp_path: Path) -> None:
    rows = [
        row("a", 3.0, down_bytes=n, download_s=0.4 + n / 1e6, up_bytes=n, upload_s=0.6 + n / 5e5)
        for n in (1e5, 1e6, 4e6)
    ]
    found = calibrate(read_phases(written(tmp_path / "log.csv", rows)), None, None, Loops())
    network = found.groups[0]["network"]
    assert network == pytest.approx({"down_mbps": 8.0, "up_mbps": 4.0, "overhead_s": 0.5})


def test_jitter_is_measured_within_devices_and_spread_between_them(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    levels = np.exp(0.3 * draw.standard_normal(12))
    rows = [
        row(f"d{i}", 5.0 * level * np.exp(0.1 * draw.standard_normal()), **{"class": "phone"})
        for i, level in enumerate(levels)
        for _ in range(40)
    ]
    found = calibrate(read_phases(written(tmp_path / "log.csv", rows)), None, None, Loops())
    (group,) = found.groups
    assert group["compute"]["jitter_sigma"] == pytest.approx(0.1, rel=0.1)
    assert group["compute"]["spread_sigma"] == pytest.approx(np.log(levels).std(), rel=0.1)
    assert abs(found.judged[0].error) < 0.02
    assert found.judged[0].distance < 0.06


def test_the_command_writes_a_scenario_and_says_how_well_it_fits(
    tmp_path: Path, capsys: Any
) -> None:
    short = {"device": "client", "download_s": "down", "train_s": "train", "upload_s": "up"}
    names = {**short, "launch_s": "boot"}
    rows = [{names[k]: v for k, v in one.items() if k in names} for one in LOG]
    log, out = written(tmp_path / "log.csv", rows), tmp_path / "pilot.toml"
    sizes = ["--down-bytes", "1000000", "--up-bytes", "1000000"]
    assert command(["calibrate", str(log), "-o", str(out), *sizes]) == 0
    said = capsys.readouterr().out
    assert "group-1" in said
    assert "+0.0%" in said
    assert len(simfl.load(out).fleet.group) == 2


@pytest.mark.parametrize(
    ("rows", "options", "said"),
    [
        ([{"device": "a", "download_s": 1, "upload_s": 1}], {}, "column train_s is missing"),
        ([{"download_s": 1, "upload_s": 1, "train_s": 1}], {}, "column device is missing"),
        ([{**LOG[0], "train_s": "fast"}], {}, "expected a number from 0 on"),
        ([{k: v for k, v in LOG[0].items() if k != "up_bytes"}], {}, "give --up-bytes"),
        (LOG, {"deployment": "flower-1.41"}, "flower-1.4"),
    ],
)
def test_a_log_that_says_too_little_is_refused(
    tmp_path: Path, rows: list[dict[str, Any]], options: dict[str, str], said: str
) -> None:
    with pytest.raises(InputError, match=said):
        pilot(read_phases(written(tmp_path / "log.csv", rows)), "log.csv", **options)


def test_a_log_without_tasks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("device,train_s\n", "utf-8")
    with pytest.raises(TraceError, match="holds no task"):
        read_phases(tmp_path / "log.csv")
