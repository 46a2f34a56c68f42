"""The slow hold most of a class, and nothing else about the partition changes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import simfl
from simfl.engine.loading import problem_of
from simfl.errors import DataError, ScenarioError
from simfl.learn.datasets.base import Dataset
from simfl.learn.partition.base import Dirichlet, Partition
from simfl.learn.partition.intertwine import intertwined
from simfl.scenario import parse
from simfl.streams import Streams


def dataset(n: int = 200) -> Dataset:
    rng = np.random.default_rng(0)
    x, y = torch.zeros(n, 2), torch.from_numpy(rng.integers(4, size=n))
    return Dataset("toy", x, y, x[:9], y[:9], 4)


def counts(partition: Partition, data: Dataset, label: int) -> list[int]:
    return [
        int((data.labels[partition[device]] == label).sum()) for device in range(len(partition))
    ]


def test_the_first_of_the_slow_gets_most_of_the_class_and_the_rest_keep_their_order():
    data = dataset()
    before = Dirichlet(0.3)(data, 8, np.random.default_rng(1))
    after = intertwined(before, data, 2, np.array([5, 1]))
    most, second, *_ = sorted(counts(before, data, 2), reverse=True)
    held = counts(after, data, 2)
    assert (held[5], held[1]) == (most, second)
    shares = [before[device].tolist() for device in range(8)]
    given = [after[device].tolist() for device in range(8)]
    assert sorted(given) == sorted(shares)
    rest = [shares.index(given[device]) for device in range(8) if device not in (5, 1)]
    assert rest == sorted(rest)


def test_a_class_that_is_not_there_is_named():
    data = dataset()
    with pytest.raises(DataError, match="label = 4: toy has the classes 0 to 3"):
        intertwined(Dirichlet()(data, 3, np.random.default_rng(1)), data, 4, np.array([0]))


def scene(**wanted: object) -> dict:
    groups = [
        {"name": name, "compute": {"kind": "constant", "s": s}, "count": 4}
        for name, s in (("slow", 9.0), ("quick", 1.0))
    ]
    learning = {
        "dataset": "digits",
        "partition": {"kind": "dirichlet", "alpha": 0.1},
        "intertwined": {"label": 8, **wanted},
        "model": "softmax",
    }
    strategy = {"kind": "fedavg", "cohort": 8}
    table = {"fleet": {"group": groups}, "learning": learning, "strategy": strategy}
    return {**table, "stop": {"versions": 1}}


@pytest.mark.parametrize("wanted", [{"group": "slow"}, {"devices": 4}], ids=str)
def test_under_any_strategy_the_slow_hold_the_class(wanted):
    """Whether they are named, or found by how long they train."""
    scenario = parse(scene(**wanted))
    data = problem_of(scenario, Streams(scenario.seed)).data
    held = counts(data.partition, data.dataset, 8)
    assert min(held[:4]) >= max(held[4:])
    assert simfl.run(scenario).summary["versions"] == 1


def test_a_group_that_is_not_there_is_named():
    with pytest.raises(ScenarioError, match="did you mean 'slow'"):
        simfl.run(scene(group="slwo"))


@pytest.mark.parametrize("wanted", [{}, {"group": "slow", "devices": 2}], ids=str)
def test_one_way_to_say_who_is_slow_is_needed(wanted):
    with pytest.raises(ScenarioError, match="one of `group` and `devices`"):
        simfl.run(scene(**wanted))
