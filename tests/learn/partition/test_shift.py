"""Examples give way to others of their class, a share of every device's with the versions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import simfl
from simfl.errors import DataError
from simfl.learn.datasets.base import Dataset
from simfl.learn.partition.base import Iid
from simfl.learn.partition.shift import Shifting, negative, shifting
from simfl.learn.trainers.jobs import LocalData


def dataset(name: str = "before", value: float = 0.0, width: int = 1, n: int = 40) -> Dataset:
    y = torch.arange(n) % 4
    x = torch.full((n, width), value) + y[:, None]
    return Dataset(name, x, y, x[:4], y[:4], 4)


def data(first: int = 10, last: int = 20) -> Shifting:
    before = dataset()
    local = LocalData(before, Iid()(before, 4, np.random.default_rng(1)))
    return shifting(local, dataset("later", 100.0, n=24), first, last, np.random.default_rng(2))


@given(st.integers(0, 40), st.integers(0, 3))
def test_a_linear_share_of_each_device_s_examples_has_been_replaced(version, device):
    x, y = data().of(device, version)
    share = min(1.0, max(0.0, (version - 10) / 10))
    assert int((x >= 100.0).sum()) == round(share * len(y))


@given(st.integers(0, 40), st.integers(0, 40))
def test_what_is_replaced_stays_so_and_labels_never_change(one, other):
    early, late = data().of(2, min(one, other)), data().of(2, max(one, other))
    assert early[1].equal(late[1])
    assert bool(((early[0] < 100.0) | (early[0] == late[0])).all())
    assert (late[0][:, 0] % 100.0).tolist() == late[1].tolist()


def test_negatives_exchange_light_and_dark():
    before = dataset()
    after = negative(before)
    assert (before.x + after.x).unique().tolist() == [3.0]
    assert (before.x_test + after.x_test).unique().tolist() == [3.0]


def test_data_of_another_shape_is_refused():
    before = dataset()
    local = LocalData(before, Iid()(before, 4, np.random.default_rng(1)))
    with pytest.raises(DataError, match="before cannot shift to wide"):
        shifting(local, dataset("wide", width=2), 0, 9, np.random.default_rng(2))


def run(**shift: int) -> simfl.Result:
    group = {"compute": {"kind": "constant", "s": 1.0}, "count": 6}
    learning = {"dataset": "digits", "model": "softmax", "trainer": "one-by-one"}
    table = {
        "fleet": {"group": [group]},
        "learning": {**learning, **({"shift": shift} if shift else {})},
        "strategy": {"kind": "fedavg", "cohort": 6},
        "evaluate": {"every_versions": 1},
        "stop": {"versions": 6},
    }
    return simfl.run(table)


def test_a_run_follows_its_data():
    """Until the shift begins nothing differs; then the later data is learnt."""
    still, moving = run(), run(first=2, last=3)
    assert moving.evaluations.loss[:4].tolist() == still.evaluations.loss[:4].tolist()
    later = moving.evaluations.accuracy_later
    assert later.iloc[-1] > later.iloc[3] + 0.2
    assert moving.digest == run(first=2, last=3).digest
