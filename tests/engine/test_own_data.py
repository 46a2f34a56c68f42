"""Runs on data sets that are not simfl's: the same numbers, whichever way the examples came in."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import simfl
from simfl.learn.datasets.given import data_digest

X = np.random.default_rng(1).normal(size=(40, 5)).astype("float32")
Y = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0)


class Pairs(torch.utils.data.Dataset):
    def __init__(self, last=0.0):
        self.last = last

    def __len__(self):
        return len(X)

    def __getitem__(self, i):
        return X[i] + self.last * (i == len(X) - 1), int(Y[i])


def play(given, **changes):
    data = simfl.as_dataset(given)
    learning = {
        "dataset": lambda source, rng: data,
        **{"model": "softmax", "trainer": "one-by-one", "batch_size": 4, "lr": 0.1},
        **changes.pop("learning", {}),
    }
    table = {
        "fleet": {"group": [{"count": 4, "device": "phone-mid"}]},
        "learning": learning,
        "strategy": {"kind": "fedavg", "cohort": 2, "epochs": 2},
        "evaluate": {"every_versions": 1},
        "stop": {"versions": 3},
    }
    return simfl.run(table, **changes)


@pytest.fixture(scope="module")
def in_memory():
    return play((X, Y, X, Y))


def test_examples_read_as_they_are_needed_give_the_same_run(in_memory):
    assert play((Pairs(), Pairs())).summary["digest"] == in_memory.summary["digest"]


def test_auto_trains_them_one_by_one_and_says_why():
    told = play((Pairs(), Pairs()), learning={"trainer": "auto"}).summary["trainer"]
    assert told == "one-by-one: its examples are read as they are needed"


@pytest.mark.parametrize("trainer", ["batched", "compiled"])
def test_a_trainer_that_cannot_is_refused(trainer):
    with pytest.raises(simfl.InputError, match="its examples are read as they are needed; use"):
        play((Pairs(), Pairs()), learning={"trainer": trainer})


def test_the_digest_of_unread_examples_knows_their_class_number_and_a_sample():
    def of(**options):
        return data_digest(simfl.as_dataset((Pairs(**options), Pairs())))

    assert of() == of()
    assert of() != of(last=1.0)
    assert of() != data_digest(simfl.as_dataset((X, Y, X, Y)))


def test_one_data_set_per_device_is_dealt_out_as_it_came():
    sets = [(X[:10], Y[:10]), (X[10:15], Y[10:15]), (X[15:30], Y[15:30]), (X[30:], Y[30:])]
    done = play((sets, (X, Y)), learning={"partition": "user"})
    sizes = done.tasks.groupby("device").examples.first()
    assert all(sizes[device] == len(sets[device][1]) for device in sizes.index)
    with pytest.raises(simfl.DataError, match="a list of 3 data sets for 4 devices"):
        play((sets[:3], (X, Y)), learning={"partition": "user"})
    with pytest.raises(simfl.DataError, match=r'set learning.partition = "user", which leaves'):
        play((sets, (X, Y)))
