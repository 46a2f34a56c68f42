"""Logs as spreadsheets, phones and measuring programs save them: read, or refused in a sentence."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from simfl.cli import main
from simfl.errors import TraceError
from simfl.fleet.traces import Trace, read_trace, write_trace
from simfl.interop.fit import fit
from simfl.interop.traces import Imported, import_trace

#: What every way of writing it down must become: three steps from second 0 on.
ENDS_S, RATES = [1.0, 2.0, 4.0], [1.5, 60.0, 0.5]
PLAIN = "t_s,mbps\n1,1.5\n2,60\n4,0.5\n"
GERMAN = PLAIN.replace(",", ";").replace(".", ",")


def imported(
    tmp_path: Path, content: str | bytes, kind: str = "csv", **options: object
) -> Imported:
    source = tmp_path / "source"
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    return import_trace(kind, source, tmp_path / "out.parquet", **options)


SPELLINGS: dict[str, str | bytes] = {
    "plain": PLAIN,
    "byte-order mark": PLAIN.encode("utf-8-sig"),
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + PLAIN.encode("utf-16-be"),
    "UTF-32": PLAIN.encode("utf-32"),
    "line ends of Windows": PLAIN.replace("\n", "\r\n"),
    "line ends of old": PLAIN.replace("\n", "\r"),
    "blanks": PLAIN.replace(",", " , "),
    "quotes": '"t_s", "mbps"\n"1","1.5"\n2,60\n4,"0.5"\n',
    "blank lines": PLAIN.replace("\n", "\n\n , \n"),
    "a last comma": PLAIN.replace("\n", ",\n"),
    "semicolons": PLAIN.replace(",", ";"),
    "decimal commas": GERMAN,
    "Excel's first line": "sep=;\r\n" + GERMAN,
    "tabs in UTF-16": PLAIN.replace(",", "\t").encode("utf-16"),
    "another order": "cell,mbps,t_s\nx,1.5,1\nx,60,2\nx,0.5,4\n",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_log_says_the_same_however_it_is_written(tmp_path: Path, spelling: str) -> None:
    trace = imported(tmp_path, SPELLINGS[spelling]).trace
    assert trace.columns["t_s"].tolist() == ENDS_S
    assert trace.columns["down_mbps"].tolist() == RATES


DAY = "2018-01-18"
CLOCKS = {
    "seconds since 1970": "t_s,mbps\n1516286279,9\n1516286280,1.5\n1516286281,60\n1516286283,0.5\n",
    "milliseconds": "t_ms,mbps\n1516286279500,9\n1516286280500,1.5\n1516286281500,60\n"
    "1516286283500,0.5\n",
    "time stamps": f"t_s,mbps\n{DAY}T14:37:59.5,9\n{DAY} 14:38:00.5,1.5\n{DAY}T14:38:01.5,60\n"
    f"{DAY}T14:38:03.5,0.5\n",
    "zones": f"t_s,mbps\n{DAY}T14:37:59Z,9\n{DAY}T14:38:00Z,1.5\n{DAY}T16:38:01+02:00,60\n"
    f"{DAY}T14:38:03Z,0.5\n",
}


@pytest.mark.parametrize("clock", CLOCKS)
def test_times_count_from_the_first_row_and_that_is_told(tmp_path: Path, clock: str) -> None:
    found = imported(tmp_path, CLOCKS[clock])
    assert found.trace.columns["t_s"].tolist() == ENDS_S
    assert found.trace.columns["down_mbps"].tolist() == RATES
    assert "times count from each recording's first row" in str(found)
    assert "first row is not used in 1 of 1 recordings" in str(found)


def test_forward_uses_the_first_rate_and_not_the_last(tmp_path: Path) -> None:
    found = imported(tmp_path, CLOCKS["seconds since 1970"], hold="forward")
    assert found.trace.columns["down_mbps"].tolist() == [9.0, 1.5, 60.0]
    assert found.trace.columns["t_s"].tolist() == ENDS_S
    assert "last row is not used" in str(found)


def test_each_recording_of_a_long_log_begins_at_its_own_first_row(tmp_path: Path) -> None:
    log = "trace,t_s,mbps\na,100,1\na,101,2\nb,5000,3\nb,5002,4\nb,5003,4\nc,9000,5\n"
    found = imported(tmp_path, log)
    assert found.trace.columns["trace"].tolist() == [0, 1, 1]
    assert found.trace.columns["t_s"].tolist() == [1.0, 2.0, 3.0]
    assert "left out, for they have one moment only, or rates of 0: 1 of 3" in str(found)
    assert read_trace(found.path).about["skipped"] == 1


def test_rows_of_one_moment_are_averaged_and_counted(tmp_path: Path) -> None:
    found = imported(tmp_path, "t_s,mbps\n0,1\n1,2\n1,4\n1.0001,6\n2,5\n")
    assert found.trace.columns["down_mbps"].tolist() == [4.0, 5.0]
    assert "same moment: 2 rows" in str(found)


def test_a_long_gap_is_told(tmp_path: Path) -> None:
    rows = "".join(f"{t},1\n" for t in [*range(10), 5000])
    assert "longest gap between rows is 4991 s" in str(imported(tmp_path, "t_s,mbps\n" + rows))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("t_s,mbps\n0,1\n2,1\n1,1\n", "line 4: t_s = 1 is before the row above"),
        ("t_s,mbps\n1516286280000,1\n", "milliseconds go into a column t_ms"),
        ("t_s,mbps\n0,1\n1516286280,2\n1516286281,3\n", "spans 48 years"),
        (f"t_s,mbps\n{DAY}T00:00Z,1\n{DAY}T00:01,2\n", "line 3: .* with a zone"),
        (f"t_s,mbps\n0,1\n{DAY}T00:01,2\n", "line 3: .* expected a number"),
        ("t_s,mbps\n0,5,3\n1,2,2\n", "line 2: 3 cells, expected 2 .*decimal commas"),
        ("t_s;mbps\n0;1.234,5\n", "line 2: mbps = '1.234,5'"),
        ("t_s;mbps\n0;1,5\n1;2.5\n", "line 3: mbps = '2.5'"),
        ("t_s;mbps\n0;1,234,567\n", "no signs between thousands"),
        ("t_s\tmbps\n0\t1,5\n", "line 2: mbps = '1,5'"),
        ("t_s,mbps,mbps\n0,1,2\n", "two columns are called 'mbps'"),
        ("t_s,mbps,down_mbps\n0,1,2\n", "mbps and down_mbps, not both"),
        ("t_s,t_ms,mbps\n0,1,2\n", "t_s and t_ms, not both"),
        ("t_s mbps\n0 1\n", "what kind of trace the columns t_s mbps are; expected t_s"),
        ("", "no rows"),
        (PLAIN.encode("utf-16-le"), "save it as UTF-8"),
        (b"t_s,mbps\n0,1 \xb5\n", "save the file as UTF-8"),
        ("t_s,mbps\n0," + "9" * 1_000_000, "not sound CSV"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(
    tmp_path: Path, content: str | bytes, says: str
) -> None:
    with pytest.raises(TraceError, match=says) as caught:
        imported(tmp_path, content)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(tmp_path))


def test_json_of_other_tools_is_read(tmp_path: Path) -> None:
    rows = [{" t_s": stamp, "mbps": rate} for stamp, rate in ((10, 9), (11, 1.5), (12, "60"))]
    found = imported(tmp_path, json.dumps({"bus": rows}).encode("utf-8-sig"), "json")
    assert found.trace.columns["down_mbps"].tolist() == [1.5, 60.0]


def test_packets_have_fractions_marks_and_moments_since_1970(tmp_path: Path) -> None:
    plain = imported(tmp_path, "0.5\n1.5\n\n999.25\n2000\n", "mahimahi")
    assert plain.trace.columns["down_mbps"] == pytest.approx([0.036, 0.012])
    marked = imported(tmp_path, "\ufeff4\n8\n", "mahimahi")
    assert marked.trace.columns["t_s"].tolist() == [0.008]
    late = imported(tmp_path, "1516286280000\n1516286281000\n", "mahimahi")
    assert late.trace.columns["t_s"].tolist() == [1.0]
    assert "first packet, at 1516286280000 ms" in str(late)


def test_packets_after_the_shorter_direction_are_counted(tmp_path: Path) -> None:
    up = tmp_path / "up"
    up.write_text("1\n500\n", "utf-8")
    found = imported(tmp_path, "1\n400\n600\n700\n", "mahimahi", up=up)
    assert "other direction has ended: 2 packets" in str(found)


@pytest.mark.parametrize("bin_s", [float("nan"), float("inf"), 0.0, -1.0])
def test_bins_of_no_length_are_refused(tmp_path: Path, bin_s: float) -> None:
    with pytest.raises(TraceError, match="bin_s = "):
        imported(tmp_path, "1\n2\n", "mahimahi", bin_s=bin_s)


def test_absurd_spans_end_at_once(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="10,000,000,000 bins"):
        imported(tmp_path, "1\n1e11\n", "mahimahi", bin_s=0.01)
    columns = {"start_s": np.array([10.0]), "end_s": np.array([9e14])}
    columns["device"] = np.array([0])
    path = tmp_path / "long.parquet"
    write_trace(path, Trace("presence", columns, {"devices": 1, "period_s": 9.5e14}))
    assert main(["traces", "fit", str(path)]) == 0


def test_phones_with_fractions_are_read_and_others_are_counted(tmp_path: Path) -> None:
    told = "\n".join(
        f"2020-01-30 {when}\t{what}"
        for when, what in (
            ("22:00:00.250", "battery_charged_on"),
            ("22:00:01.5", "wifi"),
            ("22:00:02", "screen_lock"),
            ("22:10:00.75", "screen_unlock"),
        )
    )
    jumped = "1970-01-01 00:00:00\twifi\n2020-01-30 22:00:00\twifi"
    phones = {"a": {"messages": told}, "b": {"messages": jumped}, "c": {"messages": "?"}}
    found = imported(tmp_path, json.dumps(phones), "flash")
    lengths = found.trace.columns["end_s"] - found.trace.columns["start_s"]
    assert lengths.tolist() == [598.75]
    assert "not sound: 2 of 3 phones" in str(found)


def test_sessions_that_are_dropped_are_counted(tmp_path: Path) -> None:
    device = {"active": [0, 20, 90, 95], "inactive": [10, 20, 91], "finish_time": 50}
    found = imported(tmp_path, pickle.dumps({1: device}), "fedscale")
    assert "outside the loop: 2 sessions" in str(found)
    assert "no partner: 1 starts or ends" in str(found)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("kind", ["capacity", "bandwidth"])
def test_few_rows_of_both_directions_are_fitted(tmp_path: Path, kind: str, rows: int) -> None:
    rates = {name: np.arange(1.0, rows + 1.0) for name in ("down_mbps", "up_mbps")}
    times = {"trace": np.arange(rows), "t_s": np.ones(rows)} if kind == "bandwidth" else {}
    network = fit(Trace(kind, {**times, **rates})).group["network"]
    assert {"down_mbps", "up_mbps"} <= network.keys()
