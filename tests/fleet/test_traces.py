"""The trace format: what is written is read again, and what is unsound is refused."""

from __future__ import annotations

import json
from math import inf

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from simfl.errors import TraceError
from simfl.fleet.traces import Trace, find_trace, load_trace, read_trace, write_trace

CAPACITY = Trace(
    "capacity", {"train_gflops": np.array([1.0, 2.0]), "up_mbps": np.array([3.0, 4.0])}
)
PRESENCE = Trace(
    "presence",
    {
        "device": np.array([0, 0, 2]),
        "start_s": np.array([0.0, 5.0, 1.0]),
        "end_s": np.array([2.0, 9.0, 3.0]),
        "period_s": np.array([10.0, 10.0, 4.0]),
    },
    {"devices": 3, "source": "a test"},
)
BANDWIDTH = Trace(
    "bandwidth",
    {
        "trace": np.array([0, 0, 7]),
        "t_s": np.array([1.0, 3.0, 2.0]),
        "down_mbps": np.array([6.0, 0.0, 5.0]),
    },
)


@pytest.mark.parametrize("trace", [CAPACITY, PRESENCE, BANDWIDTH], ids=lambda t: t.kind)
def test_what_is_written_is_read_again(tmp_path, trace):
    write_trace(tmp_path / "t.parquet", trace)
    again = read_trace(tmp_path / "t.parquet")
    assert again.kind == trace.kind
    assert {**trace.about, "version": 1} == again.about
    for name, values in trace.columns.items():
        assert np.array_equal(values, again.columns[name])
        assert values.dtype == again.columns[name].dtype


def test_presence_is_that_of_its_rows():
    part = PRESENCE.intervals()
    assert part.spell(0, 6.0) == (True, 9.0)
    assert part.spell(1, 6.0) == (False, inf)
    assert part.spell(2, 6.0) == (True, 7.0)
    assert part.share().tolist() == [0.6, 0.0, 0.5]


def test_one_period_may_hold_for_all():
    columns = {name: PRESENCE.columns[name] for name in ("device", "start_s", "end_s")}
    part = Trace("presence", columns, {"devices": 3, "period_s": 100}).intervals()
    assert part.spell(2, 202.0) == (True, 203.0)
    with pytest.raises(TraceError, match="period_s = -1"):
        Trace("presence", columns, {"devices": 3, "period_s": -1})


def test_recordings_are_steps_that_end_at_their_rows():
    series = BANDWIDTH.series("down_mbps")
    assert [series.at(0, t) for t in (0.0, 0.9, 1.0, 3.0, 7.5)] == [
        *((6.0, 1.0), (6.0, 1.0), (0.0, 3.0), (6.0, 4.0), (0.0, 9.0)),
    ]
    assert series.at(1, 5.0) == (5.0, inf)
    assert series.means().tolist() == [2.0, 5.0]


def raw(path, columns, about):
    table = pa.table(columns)
    if about is not None:
        table = table.replace_schema_metadata({"simfl": json.dumps(about)})
    parquet.write_table(table, path)
    return path


GOOD = {"trace": "bandwidth", "version": 1}
ROWS = {"trace": [0, 0], "t_s": [1.0, 2.0], "down_mbps": [1.0, 2.0]}


@pytest.mark.parametrize(
    ("columns", "about", "says"),
    [
        (ROWS, None, "no sound key `simfl`"),
        (ROWS, {"trace": "speed", "version": 1}, "unknown kind of trace 'speed'"),
        (ROWS, {"trace": "bandwidth", "version": 9}, "version 9"),
        (ROWS, [1], "no sound key"),
        ({"trace": [0], "t_s": [1.0]}, GOOD, "at least one column of down_mbps"),
        ({"trace": [0], "down_mbps": [1.0]}, GOOD, "column t_s is missing"),
        ({**ROWS, "rtt": [1, 2]}, GOOD, "rtt is not a column"),
        ({**ROWS, "down_mbps": ["1", "2"]}, GOOD, "column down_mbps: string cannot be numbers"),
        ({**ROWS, "trace": [0.0, 0.5]}, GOOD, "column trace: double"),
        ({**ROWS, "down_mbps": [1.0, None]}, GOOD, "1 empty cells"),
        ({**ROWS, "down_mbps": [1.0, np.inf]}, GOOD, "not finite"),
        ({**ROWS, "down_mbps": [1.0, -2.0]}, GOOD, "at least 0"),
        ({**ROWS, "down_mbps": [0.0, 0.0]}, GOOD, "nothing passes at all"),
        ({**ROWS, "t_s": [2.0, 1.0]}, GOOD, "should end after"),
        ({**ROWS, "trace": [1, 0]}, GOOD, "should ascend"),
        ({name: [] for name in ROWS}, GOOD, "no rows|cannot be numbers"),
        ({"train_gflops": [0.0]}, {"trace": "capacity", "version": 1}, "not above 0"),
        (
            {"device": [0], "start_s": [0.0], "end_s": [1.0]},
            {"trace": "presence", "version": 1},
            "devices = None",
        ),
        (
            {"device": [3], "start_s": [0.0], "end_s": [1.0]},
            {"trace": "presence", "version": 1, "devices": 3},
            "from 0 to at most 2",
        ),
        (
            {"device": [0, 0], "start_s": [0.0, 0.5], "end_s": [1.0, 2.0]},
            {"trace": "presence", "version": 1, "devices": 3},
            "begin after the one before",
        ),
        (
            {"device": [0, 0], "start_s": [0.0, 2.0], "end_s": [1.0, 3.0], "period_s": [5.0, 6.0]},
            {"trace": "presence", "version": 1, "devices": 1},
            "the same in all rows",
        ),
    ],
)
def test_an_unsound_trace_is_refused_with_file_and_reason(tmp_path, columns, about, says):
    path = raw(tmp_path / "bad.parquet", columns, about)
    with pytest.raises(TraceError, match=says) as caught:
        read_trace(path)
    assert "bad.parquet" in str(caught.value)


def test_a_damaged_file_is_refused_wherever_it_ends(tmp_path):
    write_trace(tmp_path / "t.parquet", BANDWIDTH)
    whole = (tmp_path / "t.parquet").read_bytes()
    for length in range(0, len(whole), 37):
        (tmp_path / "t.parquet").write_bytes(whole[:length])
        with pytest.raises(TraceError, match=r"t\.parquet"):
            read_trace(tmp_path / "t.parquet")


@given(noise=st.binary(min_size=1, max_size=30), at=st.integers(0, 2000))
def test_noise_is_an_error_of_the_trace_or_nothing(tmp_path_factory, noise, at):
    path = tmp_path_factory.getbasetemp() / "noise.parquet"
    write_trace(path, BANDWIDTH)
    whole = path.read_bytes()
    at %= len(whole)
    path.write_bytes(whole[:at] + noise + whole[at + len(noise) :])
    try:
        read_trace(path)
    except TraceError:
        return


def test_a_huge_trace_is_refused_before_it_is_read(tmp_path, monkeypatch):
    write_trace(tmp_path / "t.parquet", BANDWIDTH)
    monkeypatch.setattr("simfl.fleet.traces.MOST_ROWS", 2)
    with pytest.raises(TraceError, match="3 rows are too many"):
        read_trace(tmp_path / "t.parquet")


def test_a_trace_is_found_by_name_and_checked_for_its_kind(tmp_path):
    write_trace(tmp_path / "bus.parquet", BANDWIDTH)
    assert find_trace("bus", [tmp_path / "nowhere", tmp_path]) == tmp_path / "bus.parquet"
    assert len(load_trace("bus", "bandwidth", [tmp_path])) == 3
    with pytest.raises(TraceError, match="a bandwidth trace, expected a presence trace"):
        load_trace("bus", "presence", [tmp_path])
    with pytest.raises(TraceError, match=r"'buss' is not a trace in .*did you mean 'bus'"):
        find_trace("buss", [tmp_path])
