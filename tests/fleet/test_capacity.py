"""Groups whose devices take their speeds from a capacity trace."""

from __future__ import annotations

import numpy as np
import pytest

from simfl.errors import ScenarioError, TraceError
from simfl.fleet.build import build
from simfl.fleet.options import GroupOptions
from simfl.fleet.traces import Trace, write_trace
from simfl.streams import Streams

ROWS = {
    "train_gflops": np.array([1.0, 4.0, 9.0]),
    "down_mbps": np.array([8.0, 16.0, 24.0]),
    "up_mbps": np.array([1.0, 2.0, 3.0]),
}


@pytest.fixture
def fleet_of(tmp_path):
    """Builds a group of 300 devices on a trace with these columns."""

    def make(columns=tuple(ROWS), **options):
        trace = Trace("capacity", {name: ROWS[name] for name in columns})
        write_trace(tmp_path / "three.parquet", trace)
        whole = {"capacity": "three", "count": 300, **options}
        return build([GroupOptions.model_validate(whole)], Streams(3), traces=[tmp_path])

    return make


def test_each_device_has_a_row_of_the_trace(fleet_of):
    columns = fleet_of().columns()
    rows = np.stack([columns["train_gflops"], columns["down_bytes_per_s"] * 8e-6], axis=1)
    assert {tuple(row) for row in rows.round(9).tolist()} == {(1.0, 8.0), (4.0, 16.0), (9.0, 24.0)}
    assert set(columns["network"]) == set(columns["device_class"]) == {"three"}


def test_what_the_trace_does_not_say_is_the_classs(fleet_of):
    """Set-up, jitter, power and memory are those of the phone; its spread is the trace's."""
    fleet = fleet_of(["train_gflops"], device="phone-mid", network="lte")
    assert set(fleet.columns()["train_gflops"].round(9)) == {1.0, 4.0, 9.0}
    assert fleet[0]["network"] == "lte"
    assert fleet.compute.setup_s(0, 0.5) == pytest.approx(3.0 * fleet.compute.slowness[0])
    assert fleet.energy.train_w(0) == 2.5


def test_one_recorded_direction_goes_with_the_other_of_the_network(fleet_of):
    fleet = fleet_of(["up_mbps"], compute={"gflops": 5.0}, network="lte").columns()
    assert set((fleet["up_bytes_per_s"] * 8e-6).round(9)) == {1.0, 2.0, 3.0}
    assert np.median(fleet["down_bytes_per_s"]) > 2e6


@pytest.mark.parametrize(
    ("columns", "options", "error", "says"),
    [
        (["up_mbps"], {"network": "lte"}, TraceError, "has no train_gflops"),
        (["train_gflops", "up_mbps"], {}, TraceError, "no rate for one direction"),
        (
            ["train_gflops"],
            {"compute": {"kind": "constant", "s": 1.0}},
            ScenarioError,
            "cannot be a law in seconds",
        ),
    ],
)
def test_a_trace_that_says_too_little_or_too_much_is_an_error(
    fleet_of, columns, options, error, says
):
    with pytest.raises(error, match=says):
        fleet_of(columns, **options)
