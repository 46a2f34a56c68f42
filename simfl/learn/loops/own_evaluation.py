"""Evaluations by a function of the user's, in the place of the objective's loss and all metrics."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from simfl.errors import PluginError, first_line, plugin_errors
from simfl.learn.datasets.base import Dataset
from simfl.learn.datasets.rows import drawing
from simfl.learn.loops.base import called
from simfl.learn.models.flat import FlatModule
from simfl.learn.models.prepare import as_written
from simfl.params import Params


@dataclass(frozen=True, eq=False)
class OwnEvaluation:
    """Stands where `simfl.learn.evaluation.Examination` does.

    function: (model, dataset) -> values by name; the model in evaluation mode and without
    gradients, the whole data set. Random numbers that it draws are the same each time.
    """

    model: nn.Module
    dataset: Dataset
    function: Callable[[nn.Module, Dataset], Mapping[str, Any]]
    torch_device: str = "cpu"

    def __call__(self, params: Params) -> tuple[dict[str, float], np.ndarray]:
        """Values by name; there are none by class."""
        flat = FlatModule(self.model, self.torch_device)
        for name, start in flat.layout.slices.items():
            flat.flat[start].copy_(params[name].reshape(-1))
        model = as_written(flat.module).eval()
        with plugin_errors(f"evaluation {called(self.function)}"):
            with torch.no_grad(), drawing(0):
                found = self.function(model, self.dataset)
            values = _numbers(found)
        return values, np.full(self.dataset.classes or 0, np.nan)


def _numbers(found: Any) -> dict[str, float]:
    if not isinstance(found, Mapping) or not found:
        raise PluginError(f'returned {found!r}, expected values by name, as {{"accuracy": 0.9}}')
    values = {}
    for name, value in found.items():
        try:
            values[str(name)] = float(value)
        except (TypeError, ValueError, RuntimeError) as error:
            reason = first_line(error)
            raise PluginError(
                f"returned {value!r} as {name}, expected one number ({reason})"
            ) from error
    return values
