"""What is known of a model before it is trained."""

from __future__ import annotations

import copy
import re

import numpy as np
import pytest
import torch
from torch import nn

import simfl
from simfl.errors import PluginError, ScenarioError
from simfl.learn.datasets.base import Dataset
from simfl.learn.tryout import check_batches, check_model

TABLE = Dataset("table", np.eye(4), [0, 1, 0, 1], np.eye(4), [0, 1, 0, 1], 2)


class Pair(nn.Module):
    """A model with two outputs, of which nobody takes a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.layer(x), x


class Whole(nn.Linear):
    """Whole numbers have no gradient."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).long()


class Sum(nn.Linear):
    """One output for all examples together."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x).sum(0, keepdim=True)


def frozen():
    return nn.Linear(4, 2).requires_grad_(False)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Flatten(), "has no parameters to train (it has none)"),
        (frozen(), "has no parameters to train (its 2 tensors are all frozen)"),
        (nn.Linear(4, 2, dtype=torch.complex64), "has complex parameters, expected real ones"),
        (nn.Linear(4, 1), "its outputs have the shape (1, 1) for one example, expected a last dim"),
        (Pair(), "its output is a tuple, expected one tensor"),
        (Whole(4, 2), "its outputs have the shape (1, 2) of torch.int64"),
        (
            nn.Linear(5, 2),
            "failed in a trial evaluation with a batch of shape (1, 4), float32,",
        ),
        (Sum(4, 2), "failed in a trial step of training with a batch of shape (2, 4), float32,"),
    ],
)
def test_a_model_that_cannot_learn_is_refused(model, said):
    with pytest.raises(PluginError, match=re.escape(said)):
        check_model(model, TABLE)


def test_a_trial_leaves_no_trace():
    """Neither in the model, its mode and its statistics, nor in torch's generator."""
    model = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2), nn.Dropout(0.5))
    before, state = copy.deepcopy(model.state_dict()), torch.random.get_rng_state()
    check_model(model, TABLE)
    assert model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(value.grad is None for value in model.parameters())


NORMED = nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2))


def refused(sizes, batch_size, model=NORMED, **options):
    try:
        check_batches(model, TABLE, np.array(sizes), batch_size, **options)
    except ScenarioError as error:
        return str(error)
    return ""


def test_a_batch_of_one_is_found_from_sizes_alone():
    said = refused([25, 26, 51], 25)
    assert (
        "batch_size = 25 gives device 1, which holds 26 example(s), and 1 other device(s)" in said
    )
    assert "Expected more than 1 value per channel" in said
    assert "learning.drop_last = true, or another batch_size such as 26, or use a model" in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("sizes", "batch_size", "options"),
    [
        ([25, 50, 24], 25, {}),  # nobody has a batch of one
        ([26, 51], 25, {"drop_last": True}),
        ([26], 25, {"steps": 1}),  # nobody gets as far as the second batch
        ([26, 1], 25, {"model": nn.Linear(4, 2)}),  # nobody minds
    ],
)
def test_nothing_is_refused_without_need(sizes, batch_size, options):
    assert refused(sizes, batch_size, **options) == ""


@pytest.mark.parametrize(
    ("sizes", "batch_size", "options", "way_out"),
    [
        ([26], 25, {"steps": 2}, "drop_last"),
        ([1, 8], 25, {"drop_last": True}, "a partition that gives every device two examples"),
        ([8, 9], 1, {}, "another batch_size such as [23],"),
        ([8, 9], 1, {"drop_last": True}, "another batch_size such as 2,"),
    ],
)
def test_the_way_out_is_one_that_helps(sizes, batch_size, options, way_out):
    assert re.search(way_out, refused(sizes, batch_size, **options))


def test_each_way_out_that_is_named_is_one():
    """Whatever the sizes: the batch size that is proposed is not refused, nor is drop_last."""
    rng = np.random.default_rng(3)
    for _ in range(40):
        sizes, batch_size = rng.integers(2, 60, 6), int(rng.integers(1, 30))
        said = refused(sizes, batch_size)
        proposed = re.search(r"another batch_size such as (\d+)", said)
        if proposed:
            assert refused(sizes, int(proposed[1])) == ""
        if "drop_last" in said:
            assert refused(sizes, batch_size, drop_last=True) == ""


def normed(dataset):
    """Whose training needs two examples at least."""
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10), nn.BatchNorm1d(10))


def scenario(**learning):
    """Five devices hold 285 or 286 digits; a batch of 5 leaves one over from 286."""
    return {
        "fleet": {"group": [{"compute": {"kind": "constant", "s": 1.0}, "count": 5}]},
        "learning": {"dataset": "digits", "model": normed, **learning},
        "strategy": {"kind": "fedavg", "cohort": 5},
        "stop": {"versions": 1},
    }


def test_a_run_is_refused_before_it_begins_and_says_what_would_do():
    sizes = simfl.run(scenario(batch_size=300)).tasks.examples
    batch_size = int(sizes.iloc[0]) - 1
    with pytest.raises(ScenarioError, match=r"test_tryout.py:\d+\) cannot be trained on one ex"):
        simfl.run(scenario(batch_size=batch_size))
    result = simfl.run(scenario(batch_size=batch_size, drop_last=True))
    assert result.summary["versions"] == 1
    assert result.tasks.epochs.tolist() == [1.0] * 5
