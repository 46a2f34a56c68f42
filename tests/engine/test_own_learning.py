"""Runs with other objectives, optimizers and metrics than simfl's first ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_diabetes

import simfl

X, Y = load_diabetes(return_X_y=True, scaled=True)
X, Y = (20 * X).astype("float32"), ((Y - Y.mean()) / Y.std()).astype("float32")
DIABETES = (X[:300], Y[:300], X[300:], Y[300:])


def scenario(given: Any, **changes: Any) -> dict[str, Any]:
    learning = {"dataset": given, "model": "softmax", "batch_size": 10, "lr": 0.02}
    table: dict[str, Any] = {
        "fleet": {"group": [{"count": 4, "device": "phone-mid"}]},
        "learning": learning | changes.pop("learning", {}),
        "strategy": {"kind": "fedavg", "cohort": 3, "epochs": 1},
        "evaluate": {"every_versions": 1},
        "stop": {"versions": 4},
    }
    return table | changes


def test_a_regression_learns_and_its_error_is_a_target() -> None:
    regression = {"objective": "mse", "metrics": ["r2"]}
    found = simfl.run(
        scenario(DIABETES, learning=regression, stop={"versions": 40, "target": {"mae": 0.65}})
    )
    seen = found.evaluations
    assert found.summary["ended"] == "target"
    assert seen["mae"].iloc[-1] <= 0.65 < seen["mae"].iloc[0]
    assert seen["r2"].iloc[-1] > 0.3
    assert seen["accuracy"].isna().all()
    assert found.time_to(mae=0.65) == seen["time_s"].iloc[-1]


def test_several_labels_are_learnt_at_once() -> None:
    flags = np.stack([Y > 0, X[:, 2] > 0], 1).astype("float32")
    given = (X[:300], flags[:300], X[300:], flags[300:])
    learning = {"objective": "bce", "metrics": ["f1", "auroc"]}
    found = simfl.run(scenario(given, learning=learning, stop={"versions": 20}))
    first, last = (found.evaluations.iloc[at] for at in (0, -1))
    assert last["loss"] < first["loss"]
    assert last["auroc"] > 0.75


def test_kept_moments_make_another_run_than_fresh_ones() -> None:
    adam = {"objective": "mse", "optimizer": {"kind": "adam", "keep": True}}
    whole = simfl.run(scenario(DIABETES, learning=adam))
    fresh = simfl.run(scenario(DIABETES, learning=adam | {"optimizer": "adam"}))
    assert whole.digest != fresh.digest


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, '"cross-entropy" compares classes: use "mse" for values'),
        ({"learning": {"objective": "mse", "metrics": ["f1"]}}, "needs classes or flags"),
        (
            {"learning": {"objective": "mse"}, "stop": {"target": {"accuracy": 0.9}}},
            "has no right answers to be accurate about",
        ),
        (
            {"learning": {"objective": "mse", "optimizer": "adam", "momentum": 0.9}},
            "learning.momentum is a setting of sgd",
        ),
        (
            {
                "learning": {"objective": "mse", "optimizer": "adam"},
                "strategy": {"kind": "scaffold", "cohort": 2, "epochs": 1},
            },
            "computes with steps of plain SGD",
        ),
        (
            {"learning": {"objective": "mse", "optimizer": {"kind": "adam", "betta1": 0.5}}},
            "did you mean 'beta1'",
        ),
        (
            {"learning": {"objective": "mse", "optimizer": {"kind": "torch.optim:SGD", "x": 1}}},
            "optimizer torch.optim:SGD failed",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(simfl.SimflError, match=said):
        simfl.run(scenario(DIABETES, **changes))
