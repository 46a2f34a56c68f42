"""Metrics of models that differ from device to device."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from simfl.errors import ScenarioError
from simfl.learn.datasets.base import Dataset
from simfl.learn.models.flat import params_of
from simfl.learn.partition.base import Partition
from simfl.learn.personalised import Personal, class_shares, weighted
from simfl.learn.trainers.jobs import Job, LocalData, TrainingOptions
from simfl.learn.trainers.local_training import Local
from simfl.learn.trainers.one_by_one import OneByOne
from simfl.strategy.base import LocalRule
from simfl.strategy.methods.spatl.private import FitHead, PrivateHead
from simfl.streams import Streams

X = torch.tensor([[3.0, 0.0], [2.0, 0.0], [0.0, 3.0], [0.0, 2.0]])
Y = torch.tensor([0, 0, 1, 1])
DATA = LocalData(
    Dataset("two", X, Y, X, Y, 2), Partition(np.arange(4, dtype=np.int32), np.array([0, 3, 4]))
)


def local(rule: LocalRule, **options) -> Local:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    return Local(model, DATA, TrainingOptions(**options), rule, Streams(1))


def test_class_shares_are_those_of_the_training_examples():
    assert class_shares(DATA).tolist() == [[2 / 3, 1 / 3], [0.0, 1.0]]


def test_accuracy_is_weighted_by_the_classes_of_a_device():
    by_class = np.array([[1.0, 0.4], [1.0, 0.4]])
    assert weighted(by_class, class_shares(DATA)) == pytest.approx([0.8, 0.4])


def test_a_class_without_a_test_example_has_no_weight():
    assert weighted(np.array([[0.5, np.nan]]), np.array([[0.1, 0.9]])).tolist() == [0.5]


def test_one_model_for_all_is_also_seen_as_the_devices_meet_it():
    """A model that always says 0 is right on 2/3 of the first device's data, 0 of the second's."""
    here = local(LocalRule())
    flat = torch.zeros_like(here.initial.flat)
    flat[-2] = 1.0
    found, classes = Personal(here)(here.initial.like(flat), lambda device: {})
    assert found["global"] == found["accuracy"] == 0.5
    assert found["pers_local"] == pytest.approx((2 / 3 + 0.0) / 2)
    assert found["by_device"]["pers_local"].tolist() == pytest.approx([2 / 3, 0.0])
    assert found["by_device"]["pers_global"].tolist() == [0.5, 0.5]
    assert classes.tolist() == [1.0, 0.0]


def test_every_device_is_scored_with_what_it_keeps():
    here = local(PrivateHead(transfer_epochs=0.0))
    head = {0: torch.tensor([0.0] * 8 + [1.0, 0.0]), 1: torch.tensor([0.0] * 8 + [0.0, 1.0])}
    shared = here.initial.select(here.rule.split(here.structure).names)
    found, classes = Personal(here)(shared, lambda device: {"head": head[device]})
    assert found["pers_global"] == 0.5
    assert found["pers_local"] == pytest.approx((2 / 3 + 1.0) / 2)
    assert found["by_device"]["pers_local"].tolist() == pytest.approx([2 / 3, 1.0])
    assert found["by_device"]["device"].tolist() == [0, 1]
    assert classes.tolist() == [0.5, 0.5]
    assert "global" not in found


def test_a_device_that_never_took_part_fits_a_head_first():
    """And nothing is kept of that: the next evaluation finds it as new as before."""
    without, with_ = (local(PrivateHead(transfer_epochs=e), lr=0.5) for e in (0.0, 30.0))
    shared = without.initial.select(without.rule.split(without.structure).names)
    before, _ = Personal(without)(shared, lambda device: {})
    personal = Personal(with_)
    after, _ = personal(shared, lambda device: {})
    assert after["pers_local"] > before["pers_local"] + 0.2
    again, _ = personal(shared, lambda device: {})
    assert again["loss"] == after["loss"]


@pytest.mark.parametrize("options", [{}, {"momentum": 0.9, "weight_decay": 0.1}])
def test_fitting_a_head_leaves_the_encoder_alone(options):
    here = local(FitHead(), **options)
    shared = here.initial.select(here.rule.split(here.structure).names)
    trainer = OneByOne(here)
    report = trainer.train([Job(shared, 0, 0, epochs=3)])[0].report
    assert not report.delta.flat.any()
    assert not torch.equal(report.memory["head"], params_of(here.model).flat[-10:])


def test_only_the_encoder_travels_and_the_head_stays():
    here = local(PrivateHead())
    shared = here.initial.select(here.rule.split(here.structure).names)
    assert shared.layout.names == ("0.weight", "0.bias")
    trainer = OneByOne(here)
    report = trainer.train([Job(shared, 0, 0, epochs=3)])[0].report
    assert report.delta.layout == shared.layout
    assert len(report.memory["head"]) == 10


def test_a_model_that_is_all_head_has_nothing_to_share():
    with pytest.raises(ScenarioError, match="nothing would be shared"):
        Local(nn.Linear(2, 2), DATA, TrainingOptions(), PrivateHead(), Streams(1))


def test_held_back_examples_are_not_trained_on_and_nothing_is_lost():
    partition = Partition(np.arange(20, dtype=np.int32), np.array([0, 15, 20]))
    kept, held = partition.hold_back(0.2, np.random.default_rng(0))
    assert held.sizes.tolist() == [3, 1]
    for device in range(2):
        both = np.concatenate([kept[device], held[device]])
        assert sorted(both.tolist()) == partition[device].tolist()


def test_a_device_that_can_hold_nothing_back_tries_models_on_all_that_it_has():
    kept, held = DATA.partition.hold_back(0.4, np.random.default_rng(0))
    data = LocalData(DATA.dataset, kept, held)
    assert data.tried.tolist() == [1, 1]
    assert data.held_back(1)[1].tolist() == [1]
