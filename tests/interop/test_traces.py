"""Foreign traces become traces of simfl, or are refused with the place and the reason."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simfl.errors import TraceError
from simfl.fleet.traces import read_trace
from simfl.interop.flash import joined
from simfl.interop.traces import FORMATS, import_trace

DAY_S = 86400.0


def imported(tmp_path: Path, kind: str, content, name="source", **options):
    source = tmp_path / name
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_trace(import_trace(kind, source, tmp_path / "t" / "out.parquet", **options).path)


def test_fedscale_capacities_become_rates(tmp_path):
    """10 ms for 0.6 GFLOP is 60 GFLOP/s; kbit/s are thousands."""
    table = {
        1: {"computation": 10.0, "communication": 2500},
        2: {"computation": 40, "communication": 800.0},
    }
    trace = imported(tmp_path, "fedscale", pickle.dumps(table))
    assert trace.kind == "capacity"
    assert trace.columns["train_gflops"].tolist() == [60.0, 15.0]
    assert trace.columns["down_mbps"].tolist() == trace.columns["up_mbps"].tolist() == [2.5, 0.8]
    halved = imported(tmp_path, "fedscale", pickle.dumps(table), inference_flops=0.3e9)
    assert halved.columns["train_gflops"].tolist() == [30.0, 7.5]


def test_fedscale_behaviour_becomes_presence(tmp_path):
    """Sessions out of order, touching, empty and past the end of the loop."""
    table = {
        "a": {
            "active": [50, 0, 20, 70],
            "inactive": [60, 10, 20, 99],
            "finish_time": 80,
            "duration": 1,
        },
        "b": {"active": [], "inactive": [], "finish_time": 10.0},
        "c": {"active": [0.0, 5.0], "inactive": [5.0, 6.0], "finish_time": 40.0},
    }
    trace = imported(tmp_path, "fedscale", pickle.dumps(table))
    part = trace.intervals()
    assert part.spell(0, 85.0) == (True, 90.0)
    assert part.spell(0, 55.0) == (True, 60.0)
    assert part.spell(0, 75.0) == (True, 90.0)  # the loop joins its end to its beginning
    assert part.spell(1, 3.0) == (False, np.inf)
    assert part.spell(2, 4.0) == (True, 6.0)
    assert part.spell(2, 44.0) == (True, 46.0)


MESSAGES = """
2020-01-30 22:00:00\tbattery_charged_on
2020-01-30 22:10:00\t87%
2020-01-30 22:30:00\tWIFI
2020-01-30 23:00:00\tscreen_lock
2020-01-31 06:00:00\tscreen_unlock
2020-01-31 07:00:00\tbattery_charged_off
2020-01-31 23:00:00\tscreen_lock
2020-01-31 23:30:00\tbattery_charged_on
2020-02-01 05:30:00\t4g
"""


def test_a_flash_phone_is_there_while_it_charges_on_wifi_and_is_locked(tmp_path):
    """From 23:00 to 06:00 and from 23:30 to 05:30, again after three whole days."""
    phones = {"x": {"guid": "x", "model": "m", "messages": MESSAGES}, "y": {"messages": "?"}}
    trace = imported(tmp_path, "flash", json.dumps(phones))
    assert trace.about["devices"] == 1
    assert trace.about["skipped"] == 1
    hours = [
        (a / 3600, b / 3600)
        for a, b in zip(trace.columns["start_s"], trace.columns["end_s"], strict=True)
    ]
    assert hours == [(23.0, 30.0), (47.5, 53.5)]
    assert set(trace.columns["period_s"]) == {3 * DAY_S}


def test_mahimahi_packets_become_a_rate(tmp_path):
    """One packet each millisecond is 12 Mbit/s; then half of that; then none for a second."""
    times = [*range(1, 1001), *range(1002, 2001, 2), 3000]
    trace = imported(tmp_path, "mahimahi", "\n".join(map(str, times)))
    assert trace.columns["t_s"].tolist() == [1.0, 2.0, 3.0]
    assert trace.columns["down_mbps"] == pytest.approx([11.988, 6.0, 0.024])
    total = (trace.columns["down_mbps"] * 1.0).sum() * 1e6 / 8
    assert total == pytest.approx(1500 * len(times))


@given(st.lists(st.integers(0, 50_000), min_size=1), st.floats(0.01, 7.0))
def test_no_packet_is_lost_by_counting(tmp_path_factory, times, bin_s):
    times = [*sorted(times), 50_001]
    trace = imported(
        tmp_path_factory.mktemp("m"), "mahimahi", "\n".join(map(str, times)), bin_s=bin_s
    )
    seconds = np.diff(trace.columns["t_s"], prepend=0.0)
    total = (trace.columns["down_mbps"] * seconds).sum() * 1e6 / 8
    assert total == pytest.approx(1500 * len(times))


LOG = "trace,t_s,mbps\nbus,0.0,9.0\nbus,1.0,2.0\nbus,3.0,4.0\ntram,0.0,7.0\ntram,2.0,6.0\n"


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz"])
def test_a_log_becomes_recordings(tmp_path, name):
    content = gzip.compress(LOG.encode()) if name.endswith("gz") else LOG
    trace = imported(tmp_path, "csv", content, name=name)
    assert trace.columns["trace"].tolist() == [0, 0, 1]
    assert trace.columns["t_s"].tolist() == [1.0, 3.0, 2.0]
    assert trace.columns["down_mbps"].tolist() == [2.0, 4.0, 6.0]
    assert trace.series("down_mbps").means().tolist() == [pytest.approx(10 / 3), 6.0]


def test_a_log_in_json_says_the_same(tmp_path):
    rows = [
        dict(zip(("trace", "t_s", "mbps"), line.split(","), strict=True))
        for line in LOG.split()[1:]
    ]
    nested = {
        "bus": [{"t_s": 1, "mbps": 2}, {"t_s": 3, "mbps": 4}],
        "tram": [{"t_s": 0, "mbps": 0}, {"t_s": 2, "mbps": 6}],
    }
    whole = imported(tmp_path, "csv", LOG)
    for content in (rows, nested):
        trace = imported(tmp_path, "json", json.dumps(content))
        for name, values in whole.columns.items():
            assert np.array_equal(values, trace.columns[name])


@pytest.mark.parametrize(
    ("kind", "content", "says"),
    [
        ("fedscale", pickle.dumps({}), "table of devices"),
        ("fedscale", pickle.dumps([1]), "table of devices, not list"),
        ("fedscale", pickle.dumps({1: {"speed": 3}}), "expected computation"),
        (
            "fedscale",
            pickle.dumps({7: {"computation": "x", "communication": 1}}),
            "computation is str",
        ),
        ("fedscale", pickle.dumps({7: {"computation": 0, "communication": 1}}), "train_gflops"),
        ("fedscale", pickle.dumps({7: {"computation": 10**400, "communication": 1}}), "is int"),
        (
            "fedscale",
            pickle.dumps({1: {"active": [1], "inactive": 3, "finish_time": 9}}),
            "inactive is int",
        ),
        (
            "fedscale",
            pickle.dumps({1: {"active": [], "inactive": [], "finish_time": 9}}),
            "no rows",
        ),
        ("flash", "{", "not sound JSON"),
        ("flash", "[" * 100_000, "not sound JSON"),
        ("flash", "[1]", "table of phones"),
        ("flash", '{"x": {"messages": ""}}', "no phone is ever there"),
        ("mahimahi", "", "should ascend"),
        ("mahimahi", "1\ntwo\n", "number of milliseconds"),
        ("mahimahi", "5\n4\n", "should ascend"),
        ("mahimahi", "nan\n", "should ascend"),
        ("mahimahi", b"\xff", "not UTF-8"),
        ("mahimahi", "1\n1e14\n", "since the recording began"),
        ("csv", "time,mbps\n1,2\n", "column t_s is missing"),
        ("csv", "t_s,speed\n1,2\n", "expected a column mbps"),
        ("csv", "t_s,mbps\n1,2\n2,\n", "line 3: mbps"),
        ("csv", "t_s,mbps\n1,-2\n", "line 2: mbps"),
        ("csv", "t_s,mbps\n1,nan\n", "line 2: mbps"),
        ("csv", "t_s,mbps\n1,0\n", "no recording"),
        ("csv", "t_s,mbps\n", "no rows"),
        ("json", "[1, 2]", "list of rows"),
        ("json", '{"a": 3}', "list of rows"),
        ("json", '[{"t_s": true, "mbps": 1}]', "row 1: t_s"),
    ],
)
def test_malformed_files_are_refused_with_a_reason(tmp_path, kind, content, says):
    with pytest.raises(TraceError, match=says) as caught:
        imported(tmp_path, kind, content)
    assert "source" in str(caught.value)
    assert not (tmp_path / "t").exists()


def test_a_gzip_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("simfl.interop.tables.encodings.MOST_BYTES", 10_000)
    with pytest.raises(TraceError, match="more than 10,000 bytes"):
        imported(tmp_path, "csv", gzip.compress(b"0" * 1_000_000), name="log.csv.gz")
    with pytest.raises(TraceError, match="gzip file"):
        imported(tmp_path, "csv", gzip.compress(LOG.encode())[:-9], name="log.csv.gz")


def test_an_unknown_format_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(TraceError, match="did you mean 'mahimahi'"):
        import_trace("mahimah", tmp_path / "x", tmp_path / "y")
    for kind in FORMATS:
        with pytest.raises(TraceError, match="no file"):
            import_trace(kind, tmp_path / "x", tmp_path / "y")


spans = st.lists(st.tuples(st.floats(-10.0, 110.0), st.floats(-10.0, 110.0)), max_size=12)


@given(spans)
def test_joined_spans_ascend_apart_and_cover_the_same(given_spans):
    found = joined(given_spans, 100.0)
    edges = [edge for span in found for edge in span]
    assert edges == sorted(set(edges))
    assert all(0.0 <= edge <= 100.0 for edge in edges)
    for t in np.arange(0.25, 100.0, 0.5).tolist():
        there = any(a + 0.02 <= t < b - 0.02 for a, b in given_spans if b - a >= 0.05)
        assert not there or any(a <= t < b for a, b in found)


@pytest.mark.parametrize(
    ("name", "mu", "sigma"), [("fcc_2016_webget", 0.103, 0.504), ("oboe_sessions", 0.848, 0.631)]
)
def test_published_logs_keep_their_statistics(data_dir, tmp_path, name, mu, sigma):
    """Log-normal mean and spread of the recordings' mean rates, as published with the logs."""
    source = data_dir.parent / "traces" / "abr-bandwidth" / f"{name}.csv.gz"
    if not source.is_file():
        pytest.skip(f"needs {source}")
    trace = read_trace(import_trace("csv", source, tmp_path / "log.parquet").path)
    means = np.log(trace.series("down_mbps").means())
    assert (means.mean(), means.std()) == (
        pytest.approx(mu, abs=2e-3),
        pytest.approx(sigma, abs=2e-3),
    )


def test_an_option_of_another_format_is_refused(tmp_path):
    with pytest.raises(TraceError, match="bin_s is not an option of csv"):
        imported(tmp_path, "csv", LOG, bin_s=3.0)
