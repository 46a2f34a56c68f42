"""Metrics by name are scikit-learn's numbers; own ones see all test examples at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sk
from torch import Tensor, nn
from torchmetrics import MeanSquaredLogError

from simfl.directions import HIGHER, LOWER, lower_is_better
from simfl.errors import InputError, PluginError, ScenarioError
from simfl.learn.datasets.base import Dataset
from simfl.learn.evaluation import Examination
from simfl.learn.models.flat import params_of
from simfl.learn.objective.losses import PLAIN, Mse, NextToken
from simfl.learn.objective.metrics import METRICS, as_metric, metrics_of

X = torch.arange(4800.0).view(1200, 4).mul(0.37).sin()
Y = (X.sum(1) * 3).long() % 3
MODEL = nn.Linear(4, 3)
LOGITS = MODEL(X).detach()
CLASSES = Dataset("three", X, Y, X, Y, 3)


def spread(outputs: Tensor, targets: Tensor) -> float:
    return float(outputs.std())


def measured(*asked: Any) -> dict[str, float]:
    """What an evaluation in two batches says."""
    examine = Examination(MODEL, CLASSES, PLAIN, metrics_of(PLAIN, asked))
    return examine(params_of(MODEL))[0]


def test_classification_agrees_with_scikit_learn() -> None:
    found = measured("f1", "auroc", "precision", "recall", {"kind": "top-k", "k": 2})
    said, shares = LOGITS.argmax(1), LOGITS.softmax(1)
    expected = {
        "accuracy": sk.accuracy_score(Y, said),
        "f1": sk.f1_score(Y, said, average="macro"),
        "precision": sk.precision_score(Y, said, average="macro", zero_division=0),
        "recall": sk.recall_score(Y, said, average="macro"),
        "auroc": sk.roc_auc_score(Y, shares, multi_class="ovr"),
        "top_2": sk.top_k_accuracy_score(Y, shares, k=2),
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-5)


def test_perplexity_is_the_exponential_of_the_mean_loss() -> None:
    found = measured("perplexity")
    assert found["perplexity"] == pytest.approx(np.exp(found["loss"]), rel=1e-5)


def test_an_own_function_sees_all_examples_at_once() -> None:
    assert measured(spread)["spread"] == pytest.approx(float(LOGITS.std()), rel=1e-6)


def test_a_dotted_path_with_options_is_a_metric() -> None:
    table = {"kind": f"{__name__}:spread", "direction": "lower", "name": "width"}
    metric = as_metric(table)
    assert (metric.name, metric.direction) == ("width", "lower")


def test_an_instance_of_torchmetrics_is_never_altered() -> None:
    theirs = MeanSquaredLogError()
    metric = as_metric(theirs)
    assert (metric.name, metric.direction) == ("MeanSquaredLogError", "lower")
    metric.start(CLASSES).update(torch.ones(2), torch.ones(2))
    assert theirs.total == 0


def test_an_objective_brings_its_own_metrics_and_none_comes_twice() -> None:
    assert [m.name for m in metrics_of(Mse(), ["mae", "r2", "accuracy"])] == ["mae", "r2"]
    assert [m.name for m in metrics_of(NextToken(ignore=0))] == ["perplexity"]


def test_every_metric_by_name_says_which_way_is_better() -> None:
    for kind in METRICS.names():
        metric = as_metric(kind)
        assert lower_is_better(metric.name) == (metric.direction == "lower"), kind
        assert metric.name in LOWER | HIGHER or metric.name.startswith("top_")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("f2", "'f2' is not a metric"),
        (3, "3 is no metric"),
        ({"kind": f"{__name__}:spread", "name": "loss"}, "called 'loss'"),
        ({"kind": f"{__name__}:spread", "direction": "up"}, 'expected "higher" or "lower"'),
    ],
)
def test_what_is_no_metric_is_refused(given: Any, said: str) -> None:
    with pytest.raises(ScenarioError, match=said):
        metrics_of(PLAIN, [given])


def test_a_metric_that_is_no_number_is_named() -> None:
    def each(outputs: Tensor, targets: Tensor) -> Tensor:
        return outputs

    with pytest.raises(PluginError, match=r"metric each: gave \(1200, 3\), expected one number"):
        measured(each)


def test_there_are_no_more_choices_than_classes() -> None:
    with pytest.raises(InputError, match="k = 9 needs at least as many classes"):
        measured({"kind": "top-k", "k": 9})
