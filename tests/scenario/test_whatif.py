"""What if a share of the devices were different."""

from __future__ import annotations

from typing import Any

import pytest

import simfl
from simfl.errors import InputError
from simfl.scenario import load, parse
from simfl.studies.combinations import runs_of

SLOW = {"share": 0.3, "slowdown": 3.0, "network": "3g", "faults": {"drop_probability": 0.1}}


def phones(*changes: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "fleet": {
            "group": [
                {"device": "phone-mid", "network": "lte", "count": 20,
                 "faults": {"hazard_per_hour": 0.5}},
                {"name": "boards", "device": "raspberry-pi-4", "count": 3},
            ],
            "change": list(changes),
        },
        "learning": {"dataset": "none", "parameters": 1000, "examples": 100,
                     "flops_per_example": 1e6},
        "strategy": {"kind": "fedavg", "cohort": 4},
        "stop": {"versions": 4},
        **more,
    }  # fmt: skip


def test_a_change_splits_every_group_by_its_share() -> None:
    groups = parse(phones(SLOW)).fleet.group
    assert [(group.name, group.count) for group in groups] == [
        (None, 14), ("phone-mid, changed", 6), ("boards", 2), ("boards, changed", 1),
    ]  # fmt: skip
    changed = groups[1]
    assert (changed.device, changed.network, changed.slowdown) == ("phone-mid", "3g", 3.0)
    assert (changed.faults.drop_probability, changed.faults.hazard_per_hour) == (0.1, 0.5)


def test_a_change_may_mean_one_group_and_the_next_one_sees_it() -> None:
    groups = parse(
        phones({"of": "phone-mid", "share": 0.5, "name": "slow", "slowdown": 2.0},
               {"of": "slow", "network": "wifi"})
    ).fleet.group  # fmt: skip
    assert [(group.name, group.count, group.network) for group in groups] == [
        (None, 10, "lte"), ("slow", 10, "wifi"), ("boards", 3, None),
    ]  # fmt: skip


def test_a_resolved_scenario_has_the_groups_and_no_change() -> None:
    whole = parse(phones(SLOW))
    assert "change" not in whole.resolved()["fleet"]
    assert parse(whole.resolved()).hash == whole.hash


def test_slowed_devices_take_so_many_times_longer() -> None:
    """Everybody slowed down: the same draws, and training is longer by exactly the factor."""
    usual = simfl.run(phones())
    slow = simfl.run(phones({"slowdown": 3.0}))
    ended = usual.tasks["outcome"] == "applied"
    first = ended & (usual.tasks["version"] == 0)
    assert first.sum() > 1
    ratio = slow.tasks["train_s"][first] / usual.tasks["train_s"][first]
    assert ratio.tolist() == pytest.approx([3.0] * int(first.sum()))
    assert slow.devices["train_gflops"].tolist() == pytest.approx(
        (usual.devices["train_gflops"] / 3.0).tolist()
    )


@pytest.mark.parametrize("phase", ["download", "train", "upload"])
def test_tasks_drop_out_in_the_phase_that_is_asked_for(phase) -> None:
    faults = {"drop_probability": 0.5, "drop_phase": phase}
    lost = simfl.run(phones({"faults": faults})).tasks.query("cause == 'drop-out'")
    assert len(lost) > 2
    assert set(lost["phase"]) == {phase}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"share": 0.0, "slowdown": 2.0}, r"fleet\.change\.0\.share = 0.0, expected"),
        ({"share": 0.3, "slowdwn": 2.0}, r"slowdwn is not an option of a change \(did you mean 's"),
        ({"share": 0.3}, "changes nothing"),
        ({"of": "board", "slowdown": 2.0}, "did you mean 'boards'"),
        ({"share": 0.001, "slowdown": 2.0}, "less than one device"),
        ({"slowdown": -1.0}, "slowdown = -1.0, expected"),
    ],
)
def test_a_change_that_cannot_be_made_says_why(change, said) -> None:
    with pytest.raises(InputError, match=said):
        parse(phones(change))


def test_what_ifs_are_compared_under_short_names() -> None:
    changes = [{"label": "as they are", "value": []}, {"label": "slow", "value": [SLOW]}]
    cells = runs_of(parse(phones(sweep={"fleet.change": changes, "seed": [0]})), None, None, {})
    assert [cell.keys["change"] for cell in cells] == ["as they are", "slow"]
    assert [len(cell.scenario.fleet.group) for cell in cells] == [2, 4]


def test_the_shipped_what_if_is_five_lines() -> None:
    groups = load("whatif").fleet.group
    assert sum(group.count for group in groups) == load("quickstart").fleet.devices
    assert any(group.slowdown == 3.0 for group in groups)
