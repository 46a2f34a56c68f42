"""What a training function returns, and where functions are found by name.

    [learning]
    train = "package.module:function"      # function(model, data, work) -> Trained | None
    evaluate = "package.module:function"   # function(model, dataset) -> {"loss": ..., ...}

`train` takes the place of simfl's own steps on a device; `model`, `data` and `work` are described
in `simfl.learn.loops.task_work`. `evaluate` takes the place of the objective's loss and of all
metrics. Both may be tables, whose other keys the function is called with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

from simfl.errors import PluginError
from simfl.registry import Registry

TRAINING = Registry("training function", "simfl.training", {})
EVALUATIONS = Registry("evaluation", "simfl.evaluations", {})


@dataclass(frozen=True)
class Trained:
    """What a training function reports of one task. What is None is as simfl counts it.

    >>> Trained(steps=3, seconds=12.5).loss is None
    True
    """

    examples: int | None = None  #: weight in averages; by default what the device holds
    steps: int | None = None  #: mini-batches, by default those taken from `data.batches()`
    loss: float | None = None  #: mean training loss, by default that of `work.loss`
    flops: float | None = None  #: of the whole task; by default from the examples passed over
    seconds: float | None = None  #: virtual time of the training phase, whatever FLOPs it took

    def __post_init__(self) -> None:
        for name, least in (("examples", 1), ("steps", 1), ("flops", 0.0), ("seconds", 0.0)):
            value = getattr(self, name)
            if value is not None and not least <= value < inf:
                raise PluginError(f"Trained({name}={value!r}): expected {least} or more")
        for name in ("examples", "steps"):
            value = getattr(self, name)
            if value is not None and value != int(value):
                raise PluginError(f"Trained({name}={value!r}): expected a whole number")


def called(function: Any) -> str:
    """How messages call a training function or an evaluation."""
    return str(getattr(function, "kind", None) or type(function).__name__)


def directions_of(function: Any) -> Mapping[str, str]:
    """Which way each value of an evaluation is better, as far as its author says.

    From the option `directions` of its table, or an attribute of the function.
    """
    given = getattr(function, "options", {}).get("directions")
    own = getattr(getattr(function, "function", function), "directions", {})
    return {str(name): str(way) for name, way in (given or own).items()}
