"""Synthetic data with one kind of heterogeneity at a time, and what belongs to its experiments."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import simfl
from simfl.errors import DataError
from simfl.learn.datasets.base import DataDir, Dataset
from simfl.learn.datasets.synthetic import Synthetic, SyntheticTypes
from simfl.learn.models.base import Softmax, build
from simfl.streams import Streams


def made(seed: int = 0, **options) -> Dataset:
    return SyntheticTypes(**options)(DataDir(), Streams(seed).generator("dataset"))


def means(data: Dataset) -> np.ndarray:
    """(users, features) mean input of each user."""
    return np.stack([data.x.numpy()[data.users == k].mean(0) for k in np.unique(data.users)])


def agreement(data: Dataset) -> float:
    """Share of labels that one linear classifier, fitted to all users, gets right."""
    x = torch.cat([data.x, torch.ones(len(data), 1)], 1).double()
    w = torch.zeros(x.shape[1], data.classes, dtype=torch.float64, requires_grad=True)
    newton = torch.optim.LBFGS([w], max_iter=150, line_search_fn="strong_wolfe")

    def loss():
        newton.zero_grad()
        value = torch.nn.functional.cross_entropy(x @ w, data.y)
        value.backward()
        return value

    newton.step(loss)
    return float(((x @ w).argmax(1) == data.y).double().mean())


def test_without_heterogeneity_all_users_are_alike():
    data = made()
    assert np.bincount(data.users).tolist() == [200] * 20
    assert np.abs(means(data)).max() < 0.35  # standard error 0.07
    assert agreement(data) > 0.98


def test_labellers_disagree_and_inputs_stay_alike():
    data = made(labellers=True)
    assert agreement(data) < 0.8
    assert np.abs(means(data)).max() < 0.35


def test_inputs_lie_apart_and_labels_stay_one_law():
    data = made(inputs=True)
    assert means(data).std(0).min() > 0.7
    assert agreement(data) > 0.98


def test_sizes_differ_as_a_log_normal_law_says():
    sizes = np.bincount(made(users=2000, sizes=1.0).users)
    assert np.log(sizes).mean() == pytest.approx(np.log(200), abs=0.1)
    assert np.log(sizes).std() == pytest.approx(1.0, abs=0.1)
    assert sizes.min() >= 1


def test_inputs_vary_less_along_later_features():
    spread = made(users=1, mean_examples=5000).x.numpy().var(0)
    assert spread == pytest.approx(np.arange(1, 31) ** -1.2, rel=0.15)


def test_the_training_examples_are_the_test_examples():
    data = made()
    assert data.x_test is data.x
    assert data.y_test is data.y


def test_data_of_one_seed_are_the_same():
    assert torch.equal(made(inputs=True).x, made(inputs=True).x)
    assert not torch.equal(made().x, made(seed=1).x)


def test_softmax_may_start_at_zero():
    model = build(Softmax(zero=True), made(), 0)
    assert all(not parameter.any() for parameter in model.parameters())
    assert any(parameter.any() for parameter in build(Softmax(), made(), 0).parameters())


def test_synthetic_sizes_may_be_given_one_by_one():
    data = Synthetic(users=3, examples=(20, 100, 1))(DataDir(), Streams(0).generator("dataset"))
    assert np.bincount(data.users).tolist() == [18, 90, 1]
    with pytest.raises(DataError, match="3 users"):
        Synthetic(users=3, examples=(20, 100))(DataDir(), Streams(0).generator("dataset"))


def test_what_weight_decay_minimises_is_evaluated_where_there_is_one():
    table = {
        "fleet": {"group": [{"compute": {"kind": "constant", "s": 1.0}, "count": 4}]},
        "learning": {"dataset": "digits", "model": "softmax", "weight_decay": 0.1},
        "strategy": {"kind": "fedavg", "cohort": 4},
        "stop": {"versions": 2},
    }
    decayed = simfl.run(table)
    last = decayed.evaluations.iloc[-1]
    assert last.regularised_loss == pytest.approx(last.loss + 0.05 * decayed.params.norm() ** 2)
    plain = simfl.run(table, **{"learning.weight_decay": 0.0})
    assert "regularised_loss" not in plain.evaluations
