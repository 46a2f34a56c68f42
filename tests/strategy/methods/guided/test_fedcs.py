"""FedCS: who would be late is not asked."""

from __future__ import annotations

import pytest
import torch
from lab import Lab

import simfl
from simfl.strategy.methods.fedavg import FedAvg, OverSelect
from simfl.strategy.methods.guided.fedcs import FedCs

CENTRES = [[float(i), 1.0 - i] for i in range(8)]


def by_device(device, index):
    """1 s for the first device, 8 s for the last."""
    return 1.0 + device


def test_without_a_deadline_and_with_one_beyond_all_devices_it_is_fedavg_bit_for_bit():
    plain = Lab(CENTRES, by_device).play(FedAvg(cohort=3), versions=8)
    for selection in (FedCs(), FedCs(deadline_s=8.0)):
        lab = Lab(CENTRES, by_device).play(FedAvg(cohort=3, selection=selection), versions=8)
        assert torch.equal(lab.params.flat, plain.params.flat)
        assert lab.asked == plain.asked


def test_a_device_that_takes_too_long_is_asked_once():
    strategy = FedAvg(cohort=8, selection=FedCs(deadline_s=4.5))
    lab = Lab(CENTRES, by_device).play(strategy, versions=6)
    times = [[device for _, device, _, _ in lab.asked].count(device) for device in range(8)]
    assert times == [7, 7, 7, 7, 1, 1, 1, 1]


def test_one_whose_task_was_stopped_is_known_to_take_too_long():
    """Its update never came: what is known is when it was given up."""
    strategy = OverSelect(
        cohort=8, over_select=1.0, deadline_s=5.0, min_fraction=0.1, selection=FedCs(deadline_s=4.5)
    )
    lab = Lab(CENTRES, by_device).play(strategy, versions=6)
    times = [[device for _, device, _, _ in lab.asked].count(device) for device in range(8)]
    assert times == [7, 7, 7, 7, 1, 1, 1, 1]
    assert {cause for _, cause in lab.cancelled} == {"late"}


@pytest.mark.parametrize("cohort", [4, 8])
def test_on_the_engine_a_stopped_device_is_asked_once_too(cohort):
    """Four devices that take 2 s, four that take 20 s; a round has 5 s."""
    same = {"kind": "constant"}
    table = {
        "fleet": {"group": [{"compute": {**same, "s": s}, "count": 4} for s in (2.0, 20.0)]},
        "learning": {"dataset": "none", "parameters": 9, "examples": 9, "flops_per_example": 1.0},
        "strategy": {
            "kind": "overselect", "cohort": cohort, "over_select": 1.0, "deadline_s": 5.0,
            "min_fraction": 0.1, "selection": {"kind": "fedcs", "deadline_s": 4.5},
        },
        "stop": {"versions": 30},
    }  # fmt: skip
    times = simfl.run(table, seed=3).tasks.groupby("device").size()
    assert times[:4].min() > 5
    assert times[4:].tolist() == [1, 1, 1, 1]


def test_a_lost_task_tells_nothing_of_its_device():
    selection = FedCs(deadline_s=4.5)
    lab = Lab(CENTRES, by_device, lost_tasks=lambda serial: serial == 7)
    lab.play(FedAvg(cohort=8, selection=selection), versions=3)
    lost = next(device for k, (_, device, _, _) in enumerate(lab.asked) if k == 7)
    assert [device for _, device, _, _ in lab.asked].count(lost) > 1


def test_where_nobody_would_be_in_time_the_quickest_goes():
    strategy = FedAvg(cohort=8, selection=FedCs(deadline_s=0.5))
    lab = Lab(CENTRES, by_device).play(strategy, versions=4)
    assert [device for _, device, _, _ in lab.asked[8:]] == [0, 0, 0, 0]
