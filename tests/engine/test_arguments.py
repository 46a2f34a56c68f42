"""Arguments of simfl.run and simfl.study that can mean nothing are refused in one sentence."""

from __future__ import annotations

from typing import Any

import pytest

import simfl

SCENE = {
    "name": "arguments",
    "fleet": {"group": [{"device": "phone-mid", "count": 3}]},
    "learning": {"dataset": "none", "parameters": 10, "examples": 5, "flops_per_example": 1e6},
    "strategy": {"kind": "fedavg", "cohort": 2},
    "stop": {"versions": 1},
}


@pytest.mark.parametrize("workers", [0, -1, 1.5, True, "2", None])
def test_workers_are_a_whole_number_of_at_least_one(workers: Any) -> None:
    with pytest.raises(simfl.InputError, match=r"^workers = .*, expected a whole number of at"):
        simfl.run(SCENE, workers=workers)


@pytest.mark.parametrize("scenario", [None, 3, [SCENE]])
def test_what_cannot_be_a_scenario_is_named_by_its_type(scenario: Any) -> None:
    with pytest.raises(simfl.InputError, match=r"scenario: a \w+ is none; expected a file"):
        simfl.run(scenario)


@pytest.mark.parametrize(
    "argument", [{"callbacks": print}, {"processes": 3}, {"processes": "thermal"}]
)
def test_one_where_several_are_expected_is_shown_in_a_list(argument: dict[str, Any]) -> None:
    ((name, value),) = argument.items()
    with pytest.raises(simfl.InputError, match=rf"^{name} = .*, expected a list of values, as \["):
        simfl.run(SCENE, **{name: value})


@pytest.mark.parametrize(
    ("strategies", "seeds", "said"),
    [("fedavg", None, r"^strategy = 'fedavg', expected a list"), (None, 3, r"^seed = 3, exp")],
)
def test_a_study_wants_several(strategies: Any, seeds: Any, said: str, tmp_path) -> None:
    with pytest.raises(simfl.InputError, match=said):
        simfl.study(SCENE, strategies, seeds=seeds, out=tmp_path)


def test_a_fleet_is_that_of_a_scenario() -> None:
    assert len(simfl.fleet_of(simfl.load("quickstart"))) > 0
    with pytest.raises(simfl.InputError, match=r"fleet_of takes a Scenario, as simfl\.load gives"):
        simfl.fleet_of("quickstart")  # type: ignore[arg-type]
