from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from simfl.learn.evaluation import evaluate, evaluate_devices, means, score
from simfl.learn.models.flat import params_of
from simfl.learn.partition.base import Partition

X = torch.tensor([[2.0, 0.0], [0.0, 2.0], [3.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
Y = torch.tensor([0, 1, 1, 1, 0])  # the third is what an identity model gets wrong


def identity() -> nn.Linear:
    model = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.eye(2))
    return model


MODEL = identity()
PARAMS = params_of(MODEL)


def test_loss_and_accuracy_are_those_found_by_hand() -> None:
    found = evaluate(MODEL, PARAMS, X, Y)
    assert found["accuracy"] == pytest.approx(4 / 5)
    losses = np.log1p(np.exp([-2.0, -2.0, 3.0, -1.0, -1.0]))
    assert found["loss"] == pytest.approx(losses.mean(), rel=1e-6)


def test_the_batch_size_does_not_matter() -> None:
    whole, pieces = evaluate(MODEL, PARAMS, X, Y), evaluate(MODEL, PARAMS, X, Y, batch=2)
    assert pieces == pytest.approx(whole)


def test_the_parameters_count_and_not_those_inside_the_module() -> None:
    flipped = evaluate(MODEL, PARAMS * -1.0, X, Y)
    assert flipped["accuracy"] == pytest.approx(1 / 5)
    assert torch.equal(MODEL.weight.detach(), torch.eye(2))


def test_accuracy_by_class_is_nan_for_a_class_without_examples() -> None:
    _, right = score(MODEL, PARAMS, X, Y)
    found = means(right, Y.numpy(), 3)
    np.testing.assert_allclose(found, [1.0, 2 / 3, np.nan])


def test_devices_are_judged_on_what_they_hold() -> None:
    held = Partition(np.array([2, 0, 1, 4], np.int32), np.array([0, 2, 2, 4]))
    found = evaluate_devices(MODEL, PARAMS, X, Y, held)
    np.testing.assert_allclose(found["accuracy"], [0.5, np.nan, 1.0])


def test_running_statistics_are_used_and_not_touched() -> None:
    model = nn.Sequential(nn.BatchNorm1d(2), nn.Linear(2, 2)).train()
    params = params_of(model)
    kept = params.flat.clone()
    one = score(model, params, X, Y)[0]
    alone = np.concatenate([score(model, params, X[i : i + 1], Y[i : i + 1])[0] for i in range(5)])
    np.testing.assert_allclose(one, alone, rtol=1e-6)
    assert torch.equal(params.flat, kept)
    assert torch.equal(params_of(model).flat, kept)
    assert model.training


def test_a_sequence_is_right_by_the_share_of_its_positions() -> None:
    model = nn.Embedding(2, 2)
    with torch.no_grad():
        model.weight.copy_(torch.eye(2))
    tokens = torch.tensor([[0, 1, 0, 1]])
    _, right = score(model, params_of(model), tokens, torch.tensor([[0, 1, 1, 1]]))
    np.testing.assert_allclose(right, [0.75])
