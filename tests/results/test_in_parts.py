"""A long run is read part by part, and shows what it would show if it were read whole."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot as plt

import simfl
from simfl.results import tables
from simfl.results.counts import Counts
from simfl.results.critical_path import SHARES, Made, critical_path, stretches
from simfl.results.html import drawn
from simfl.results.plots import PLOTS
from simfl.results.result import Result
from simfl.results.summary import summarise

numbers = st.lists(st.integers(0, 40), min_size=1, max_size=60)


@pytest.fixture(scope="module")
def played() -> Result:
    """Two classes of devices that come and go, in some hundred tasks."""
    presence = {"kind": "onoff", "mean_on_s": 40.0, "mean_off_s": 20.0}
    faults = {"drop_probability": 0.2, "on_offline": "pause"}
    links = [{"down_mbps": 1.0, "up_mbps": 1.0}, "lte"]
    groups = [
        {"name": f"class-{i}", "compute": {"kind": "exponential", "mean_s": mean_s}, "count": 6,
         "presence": presence, "faults": faults, "network": links[i]}
        for i, mean_s in enumerate((5.0, 20.0))
    ]  # fmt: skip
    bare = {"dataset": "none", "parameters": 10_000, "examples": 10, "flops_per_example": 1.0}
    strategy = {"kind": "fedbuff", "concurrency": 8, "buffer": 2}
    return simfl.run(
        {"fleet": {"group": groups}, "learning": bare, "strategy": strategy,
         "stop": {"versions": 40}}
    )  # fmt: skip


@pytest.mark.parametrize("rows", [1, 7, 50])
def test_parts_are_the_table(played: Result, rows: int) -> None:
    for table in ("tasks", "versions", "evaluations", "events", "devices"):
        whole, parts = played.read(table), list(played.parts(table, rows=rows))
        assert played.count(table) == len(whole) == sum(map(len, parts))
        assert [len(part) for part in parts[:-1]] == [rows] * (len(parts) - 1)
        together = pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]
        pd.testing.assert_frame_equal(together, whole, check_categorical=False, check_dtype=False)


def test_a_summary_of_parts_is_that_of_the_whole(played: Result) -> None:
    whole = summarise(played.parts, devices=12)
    parts = summarise(lambda table, columns: played.parts(table, columns, 7), devices=12)
    for key, value in whole.items():
        if isinstance(value, float):
            assert parts[key] == pytest.approx(value), key
        elif key not in ("waste", "energy_by_phase_j"):
            assert parts[key] == value, key
    assert parts["waste"].keys() == whole["waste"].keys()


@pytest.mark.parametrize("kind", PLOTS)
def test_every_plot_of_parts_is_that_of_the_whole(
    played: Result, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures are compared as drawn, to a hundredth of a point."""
    whole = _points(drawn(PLOTS[kind](Result(played.folder))))
    monkeypatch.setattr(tables, "ROWS_AT_ONCE", 25)
    parts = _points(drawn(PLOTS[kind](Result(played.folder))))
    plt.close("all")
    assert parts == pytest.approx(whole, abs=0.01)


def _points(url: str) -> list[float]:
    """All numbers of an SVG's paths."""
    import base64
    import re

    text = base64.b64decode(url.partition(",")[2]).decode()
    paths = " ".join(re.findall(r' d="([^"]*)"', text))
    return [float(word) for word in re.findall(r"-?\d+\.?\d*", paths)]


def test_stretches_are_means_of_the_versions_in_them(played: Result) -> None:
    path = critical_path(played.tasks, played.versions)
    found = stretches(lambda: played.parts("tasks", rows=9), Made.of(played.versions), most=6)
    assert len(found.shares) == 6
    widths = np.diff(found.edges)
    assert widths.sum() == len(path)
    for share in SHARES:
        assert (found.shares[share] * widths).sum() == pytest.approx(path[share].sum())
    slowest = path.loc[(path["made_s"] - path["opened_s"]).idxmax()]
    assert found.slowest is not None
    assert found.slowest["task"] == slowest["task"]


@given(numbers, numbers)
def test_counts_know_what_the_numbers_know(mine: list[int], theirs: list[int]) -> None:
    both, found = np.array(mine + theirs), Counts.of(mine) + Counts.of(theirs)
    assert found.total == len(both)
    assert found.mean == pytest.approx(both.mean())
    assert found.per(50).tolist() == np.bincount(both, minlength=50).tolist()
    for share in (0.05, 0.5, 0.95, 1.0):
        assert found.quantile(share) == np.quantile(both, share, method="inverted_cdf")
