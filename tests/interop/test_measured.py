"""CSV tables of capacity, presence and charging: read, played, or refused in a sentence."""

from __future__ import annotations

import json
import re
from math import inf
from pathlib import Path

import pytest

import simfl
from simfl.cli import main
from simfl.errors import ScenarioError, TraceError
from simfl.fleet.traces import Trace
from simfl.interop.traces import Imported, import_trace
from simfl.results.verify import verify

PAGE = Path(__file__).parents[2] / "docs" / "traces.md"
DAY_S = 86_400.0

CAPACITY = "device,train_gflops,down_mbps\na,1.5,20\nb,2,30\n"
PRESENCE = "device,start_s,end_s\nb,79200,108000\na,3600,7200\nb,100,200\n"
CHARGER = "device,start_s,end_s,charge_w\nb,10,20,2\na,0,100,5\nb,20,50,4.5\n"


def imported(tmp_path: Path, content: str | bytes, **options: object) -> Imported:
    source = tmp_path / "source"
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    return import_trace("csv", source, tmp_path / "out.parquet", **options)


def columns(trace: Trace) -> dict[str, list[float]]:
    return {name: values.tolist() for name, values in trace.columns.items()}


BECOMES = {
    CAPACITY: ("capacity", {"train_gflops": [1.5, 2.0], "down_mbps": [20.0, 30.0]}),
    PRESENCE: (
        "presence",
        {
            "device": [0, 0, 1],
            "start_s": [100.0, 79200.0, 3600.0],
            "end_s": [200.0, 108000.0, 7200.0],
            "period_s": [2 * DAY_S] * 3,
        },
    ),
    CHARGER: (
        "charger",
        {
            "trace": [0, 0, 0, 0, 1, 1],
            "t_s": [10.0, 20.0, 50.0, DAY_S, 100.0, DAY_S],
            "charge_w": [0.0, 2.0, 4.5, 0.0, 5.0, 0.0],
        },
    ),
}


def german(text: str) -> str:
    return text.replace(",", ";").replace(".", ",")


SPELLINGS = {
    "plain": str.encode,
    "byte-order mark": lambda text: text.encode("utf-8-sig"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "Windows": lambda text: text.replace("\n", "\r\n").encode(),
    "semicolons": lambda text: text.replace(",", ";").encode(),
    "decimal commas": lambda text: german(text).encode(),
    "Excel": lambda text: ("sep=;\r\n" + german(text)).encode("utf-8-sig"),
    "tabs and blanks": lambda text: text.replace(",", "\t ").replace("\n", "\n\n").encode(),
}


@pytest.mark.parametrize("text", BECOMES)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_table_says_the_same_however_it_is_written(
    tmp_path: Path, text: str, spelling: str
) -> None:
    trace = imported(tmp_path, SPELLINGS[spelling](text)).trace
    assert (trace.kind, columns(trace)) == BECOMES[text]


def test_json_rows_say_the_same(tmp_path: Path) -> None:
    names, *rows = [line.split(",") for line in PRESENCE.split()]
    source = tmp_path / "x.json"
    source.write_text(json.dumps([dict(zip(names, row, strict=True)) for row in rows]))
    trace = import_trace("json", source, tmp_path / "out.parquet").trace
    assert columns(trace) == BECOMES[PRESENCE][1]


@pytest.mark.parametrize(
    ("start", "end", "day"),
    [
        ("2026-03-02T22:00:00", "2026-03-03T06:00:00", "midnight that begins 2026-03-02"),
        ("2026-03-02T23:00+01:00", "2026-03-03T06:00Z", "midnight UTC that begins 2026-03-02"),
        ("1772488800", "1772517600", "midnight UTC that begins 2026-03-02"),
        ("79200", "108000", "seconds since a midnight"),
    ],
)
def test_hours_of_the_day_stay_where_they_were(
    tmp_path: Path, start: str, end: str, day: str
) -> None:
    found = imported(tmp_path, f"device,start_s,end_s\nx,{start},{end}\n")
    assert day in str(found)
    assert columns(found.trace)["start_s"] == [22 * 3600.0]
    assert columns(found.trace)["end_s"] == [30 * 3600.0]


def test_sessions_that_meet_are_one_and_that_is_said(tmp_path: Path) -> None:
    found = imported(tmp_path, "device,start_s,end_s\na,5,9\na,1,6\na,9,10\na,20,21\n")
    assert columns(found.trace)["start_s"] == [1.0, 20.0]
    assert "or too short: 2 sessions" in str(found)


def test_presence_may_repeat_after_another_time_or_never(tmp_path: Path) -> None:
    text = "device,start_s,end_s\na,5,9\n"
    assert imported(tmp_path, text, period_s=10.0).trace.periods_s().tolist() == [10.0]
    assert imported(tmp_path, text, period_s=inf).trace.periods_s().tolist() == [inf]


SESSION = "device,start_s,end_s\n"


@pytest.mark.parametrize(
    ("content", "options", "says"),
    [
        ("", {}, "no rows"),
        (SESSION, {}, "no rows"),
        ("device,gflops\na,1\n", {}, "what kind of trace the columns device, gflops are"),
        ("time_s,down_mbps\n0,1\n", {}, "what kind of trace"),
        ("device,start,end\na,1,2\n", {}, "what kind of trace"),
        ("train_gflops\n0\n", {}, "line 2: train_gflops = 0, expected a number above 0"),
        ("train_gflops\nnan\n", {}, "line 2: train_gflops = 'nan', expected a number"),
        ("train_gflops,up_mbps\n1,\n", {}, "line 2: up_mbps = '', expected a number"),
        ("train_gflops\n1e20\n", {}, "not finite or reach 1e.15"),
        ("t_s,start_s,mbps\n0,1,2\n", {}, "columns t_s and start_s: .* not both"),
        ("device,start_s\na,1\n", {}, "column end_s is missing"),
        ("start_s,end_s\n1,2\n", {}, "column device is missing"),
        (SESSION + " ,1,2\n", {}, "line 2: device is empty"),
        (SESSION + "a,nan,5\n", {}, "line 2: start_s = 'nan'"),
        (SESSION + "a,5,inf\n", {}, "line 2: end_s = 'inf'"),
        (SESSION + "a,-1,5\n", {}, "line 2: start_s = '-1'"),
        (SESSION + "a,9,5\n", {}, "line 2: end_s = 5, start_s = 9: expected an end after"),
        (SESSION + "a,1,2026-03-02T22:00\n", {}, "line 2: .* expected a number"),
        (SESSION + "a,1772488800000,1772488900000\n", {}, "is no time in seconds"),
        (SESSION + "a,0,1e9\n", {}, "spans 32 years"),
        (SESSION + "a,1,50\n", {"period_s": 20.0}, "sessions last until second 50"),
        (SESSION + "a,1,50\n", {"period_s": float("nan")}, "period_s = nan"),
        (SESSION + "a,1,50\n", {"hold": "forward"}, "hold goes with a log"),
        (CAPACITY, {"period_s": 5.0}, "period_s goes with sessions"),
        (CHARGER, {"period_s": inf}, "a charger repeats"),
        (CHARGER + "a,50,60,1\n", {}, "line 5: .* before the one of line 3 ends"),
        (CHARGER + "a,150,160,-1\n", {}, "line 5: charge_w = '-1'"),
    ],
)
def test_what_is_no_sound_table_is_refused_with_its_place(
    tmp_path: Path, content: str, options: dict[str, float], says: str
) -> None:
    with pytest.raises(TraceError, match=says):
        imported(tmp_path, content, **options)
    assert not (tmp_path / "out.parquet").exists()


#: Long tasks of three devices, about a minute each.
EASY = {
    "strategy": {"kind": "fedasync", "concurrency": 3, "epochs": 0.2},
    "evaluate.every_s": 9e3,
    "fleet.group.0.slowdown": 5000.0,
}


def test_the_page_s_tables_become_a_fleet_that_is_played(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tables = re.findall(r"`(\w+)\.csv`[^`]*```csv\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert [name for name, _ in tables] == ["phones", "nights", "plugs"]
    for name, text in tables:
        Path(f"{name}.csv").write_text(text)
        assert main(["traces", "import", "csv", f"{name}.csv", "-o", f"traces/{name}.parquet"]) == 0
    blocks = re.findall(r"```toml\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    group = next(block for block in blocks if "plugs" in block)
    Path("mine.toml").write_text('extends = "quickstart"\nname = "mine"\n' + group)
    stop = {"after_s": 22.2 * 3600}
    run = simfl.run("mine.toml", out="run", stop=stop, **EASY)
    tasks = run.tasks[run.tasks["outcome"] == "applied"]
    assert len(tasks) > 9
    assert tasks["dispatched_s"].min() >= 21 * 3600.0  # Cem's alone
    assert set(tasks["device"]) == {0, 2}  # Anna's from ten past ten on
    assert not [check for check in verify(run) if check.wrong or check.unchecked]


def test_a_battery_has_one_charger() -> None:
    both = {"capacity_j": 1.0, "charge_w": 1.0, "charger": "plugs"}
    with pytest.raises(ScenarioError, match="one of `charge_w` and `charger`"):
        simfl.run("quickstart", **{"fleet.group.0.battery": both})
