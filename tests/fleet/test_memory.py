"""Models that do not fit: an error, an exclusion, or nobody's business."""

from __future__ import annotations

import pytest

import simfl
from simfl.errors import ScenarioError

SMALL, LARGE = {"device": "mcu-cortex-m4", "count": 2}, {"device": "phone-mid", "count": 3}


def scene(groups, **fleet):
    return {
        "fleet": {"group": groups, **fleet},
        "learning": {
            "dataset": "none",
            "parameters": 100_000,  # 1.2 MB to train, of 0.64
            "examples": 10,
            "flops_per_example": 1e6,
        },
        "strategy": {"kind": "fedavg", "cohort": 2},
        "stop": {"updates": 6},
    }


def test_a_model_that_does_not_fit_is_an_error_with_a_way_out():
    with pytest.raises(ScenarioError, match=r"fleet\.group\.1: .* 1\.2 MB.*0\.64 MB.*exclude"):
        simfl.run(scene([LARGE, SMALL]))


def test_devices_that_are_too_small_can_be_left_out():
    result = simfl.run(scene([LARGE, SMALL], memory="exclude"))
    assert set(result.tasks.device) <= {0, 1, 2}
    assert result.devices.presence.tolist() == ["always"] * 3 + ["never"] * 2


def test_what_does_not_fit_can_be_trained_all_the_same():
    result = simfl.run(scene([SMALL], memory="ignore"))
    assert (result.tasks.outcome == "applied").sum() == 6


def test_a_fleet_that_is_too_small_altogether_is_an_error():
    with pytest.raises(ScenarioError, match="no device of the fleet has enough"):
        simfl.run(scene([SMALL], memory="exclude"))


def test_memory_that_is_unknown_is_enough():
    law = {"compute": {"gflops": 1.0}, "count": 3}
    assert len(simfl.run(scene([law])).tasks) == 6
