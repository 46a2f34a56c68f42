"""What a model raises while a run computes is told with device, batch and its own line."""

from __future__ import annotations

import inspect
import re
import sys

import pytest
import torch
from torch import nn

import simfl
from simfl.errors import PluginError


class Moody(nn.Module):
    """Raises in training or in evaluation, from its so-manieth call on."""

    def __init__(self, classes: int, when: bool, calls: int, error: type = ValueError) -> None:
        super().__init__()
        self.layer = nn.Linear(64, classes)
        self.when, self.left, self.error = when, calls, error

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training == self.when:
            self.left -= 1
            if self.left < 0:
                raise self.error("not today\nnor tomorrow")  # here
        return self.layer(x.flatten(1))


def line_of(mark: str) -> int:
    lines = inspect.getsource(sys.modules[__name__]).splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith(mark))


def in_training(dataset):
    return Moody(dataset.classes, True, 3)


def in_evaluation(dataset):
    return Moody(dataset.classes, False, 2)  # the trial before the run, and one evaluation


def leaving(dataset):
    return Moody(dataset.classes, True, 3, SystemExit)


def scenario(model, **learning):
    return {
        "fleet": {"group": [{"compute": {"kind": "constant", "s": 1.0}, "count": 5}]},
        "learning": {"dataset": "digits", "model": model, "batch_size": 7, **learning},
        "strategy": {"kind": "fedavg", "cohort": 5},
        "stop": {"versions": 1},
    }


def said(model, **learning):
    with pytest.raises(PluginError) as told:
        simfl.run(scenario(model, trainer="one-by-one", **learning))
    assert "\n" not in str(told.value)
    return str(told.value)


def test_training_names_device_batch_and_the_models_own_line():
    where = rf"\S*test_failures.py:{line_of('# here')}"
    assert re.search(
        rf"model \S*in_training \({re.escape(__file__)}:\d+\) failed in training on device \d with "
        rf"a batch of shape \(7, 1, 8, 8\), float32, at {where} \(ValueError: not today\)",
        said(in_training),
    )


def test_evaluation_names_batch_and_the_models_own_line():
    where = rf"\S*test_failures.py:{line_of('# here')}"
    assert re.search(
        r"failed in (a trial )?evaluation with a batch of shape \(\d+, 1, 8, 8\), float32, at "
        + where,
        said(in_evaluation),
    )


def test_a_model_that_leaves_python_fails_like_any_other():
    assert "SystemExit: not today" in said(leaving)


def test_a_local_rule_that_uses_the_model_does_not_take_the_blame():
    """Option I asks for a gradient over all examples: that is where this model breaks."""
    strategy = {"kind": "scaffold", "cohort": 5, "local": {"kind": "controlvariate", "option": "I"}}
    table = {**scenario(small, trainer="one-by-one"), "strategy": strategy}
    with pytest.raises(PluginError, match=r"model \S*small .* failed in the gradient over al"):
        simfl.run(table)


class Small(nn.Linear):
    """Takes no more than a mini-batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training and len(x) > 7:
            raise ValueError("too many")
        return super().forward(x)


def small(dataset):
    return nn.Sequential(nn.Flatten(), Small(64, dataset.classes))
