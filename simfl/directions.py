"""Which way a metric is better: what targets, tuning and Pareto fronts go by."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Literal

Direction = Literal["higher", "lower"]

#: Metrics that are the better the lower, by the name of their column.
LOWER = frozenset(
    {"loss", "regularised_loss", "loss_later", "mae", "mape", "mse", "perplexity", "rmse"}
)

#: Metrics that are the better the higher.
HIGHER = frozenset(
    {
        *("accuracy", "accuracy_later", "auroc", "f1", "global", "pers_global", "pers_local"),
        *("precision", "r2", "recall"),
    }
)

#: What evaluations have, or may have, without being asked for a metric.
BUILT_IN = frozenset(
    {
        *("loss", "accuracy", "regularised_loss", "loss_later", "accuracy_later"),
        *("pers_global", "pers_local", "global"),
        *("time_s", "version", "tasks_ended", "down_bytes", "up_bytes"),
    }
)

_BY_CLASS = re.compile(r"accuracy_class_\d+|top_\d+")


def lower_is_better(metric: str, lower: Collection[str] = ()) -> bool:
    """Whether less is better. lower: metrics of the run of which this is so, beside those known.

    >>> lower_is_better("mae"), lower_is_better("f1"), lower_is_better("cost", lower=["cost"])
    (True, False, True)
    """
    if metric in lower or metric in LOWER:
        return True
    return metric not in HIGHER and "loss" in metric


def is_built_in(metric: str) -> bool:
    """Whether an evaluation may have a metric of this name without being asked for it."""
    return metric in BUILT_IN or bool(_BY_CLASS.fullmatch(metric))
