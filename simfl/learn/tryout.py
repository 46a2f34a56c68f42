"""A model is tried on the data before the run: what it cannot do is known then."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from simfl.errors import PluginError, ScenarioError, first_line
from simfl.learn.datasets.base import Dataset
from simfl.learn.failures import computing, name_of
from simfl.learn.objective.base import Objective, title
from simfl.learn.objective.losses import PLAIN
from simfl.messages import whole_batches

_NEARBY = 200  # batch sizes that are tried before none is proposed


def check_model(model: nn.Module, dataset: Dataset, objective: Objective = PLAIN) -> None:
    """Raises PluginError unless the model can be trained and evaluated on these data."""
    parameters = list(model.parameters())
    if not any(value.requires_grad and value.numel() for value in parameters):
        frozen = f"its {len(parameters)} tensors are all frozen" if parameters else "it has none"
        raise PluginError(f"has no parameters to train ({frozen}), so there is nothing to learn")
    if any(value.is_complex() for value in parameters):
        raise PluginError("has complex parameters, expected real ones: models travel as float32")
    check_outputs(model, dataset)
    rows = torch.arange(2) % len(dataset)
    _step(model, dataset, objective, rows, "a trial step of training")


@torch.no_grad()
def check_outputs(model: nn.Module, dataset: Dataset) -> None:
    """Raises PluginError unless the model has a value for each class of the data."""
    before = model.training
    with computing(model, "a trial evaluation", named=False) as at:
        at.x = dataset.x[:1]
        outputs = model.eval()(at.x)
    model.train(before)
    if not isinstance(outputs, torch.Tensor):
        raise PluginError(f"its output is a {type(outputs).__name__}, expected one tensor")
    found = tuple(outputs.shape)
    if dataset.classes is None:
        return  # the objective compares shapes
    if len(found) < 2 or found[-1] < dataset.classes or not outputs.is_floating_point():
        kind = "" if outputs.is_floating_point() else f" of {outputs.dtype}"
        raise PluginError(
            f"its outputs have the shape {found}{kind} for one example, expected a last dimension "
            f"of {dataset.outputs}, one number for each class of {dataset.name}"
        )


def check_batches(
    model: nn.Module,
    dataset: Dataset,
    sizes: np.ndarray,
    batch_size: int,
    *,
    objective: Objective = PLAIN,
    drop_last: bool = False,
    steps: int | None = None,
) -> None:
    """Raises ScenarioError if a device meets a batch of one that the model cannot be trained on.

    sizes: (devices,) examples that each trains on.
    steps: of a task, where their number is fixed; tasks that end before their first pass does never
        come to its last batch.
    """
    alone = [
        device
        for device in np.flatnonzero(_lonely(sizes, batch_size, drop_last))
        if steps is None or steps * batch_size > sizes[device] - 1
    ]
    if not alone:
        return
    try:
        _step(model, dataset, objective, torch.arange(1), "training")
    except PluginError as error:
        reason = first_line(error.__cause__ or error)
        device, n = int(alone[0]), int(sizes[alone[0]])
        others = f" and {len(alone) - 1} other device(s)" if len(alone) > 1 else ""
        raise ScenarioError(
            f"learning.batch_size = {batch_size} gives device {device}, which holds {n} "
            f"example(s),{others} a batch of one, and the model {name_of(model)} cannot be trained "
            f"on one example ({reason}): {' or '.join(_ways_out(sizes, batch_size, drop_last))}"
        ) from error


def _ways_out(sizes: np.ndarray, batch_size: int, drop_last: bool) -> Iterator[str]:
    """What would do, the smallest change first."""
    if sizes.min() < 2:
        yield "choose a partition that gives every device two examples or more,"
    elif batch_size > 1 and not drop_last:
        yield "set learning.drop_last = true,"
    sound = (b for b in _around(batch_size) if not _lonely(sizes, b, drop_last).any())
    nearest = next(sound, None)
    if nearest is not None:
        yield f"another batch_size such as {nearest},"
    yield "use a model that does not mix examples, such as one with GroupNorm for BatchNorm"


def _around(batch_size: int) -> Iterator[int]:
    for distance in range(1, _NEARBY):
        yield from (b for b in (batch_size - distance, batch_size + distance) if b > 1)


def _lonely(sizes: np.ndarray, batch_size: int, drop_last: bool) -> np.ndarray:
    """(devices,) bool, whether a pass over so many examples has a batch of one."""
    used = np.array([whole_batches(int(n), batch_size, drop_last) for n in sizes])
    found: np.ndarray = (used % batch_size == 1) | (batch_size == 1)
    return found


def _step(
    model: nn.Module, dataset: Dataset, objective: Objective, rows: torch.Tensor, doing: str
) -> None:
    """One forward and backward pass of a copy, which leaves nothing behind."""
    with torch.random.fork_rng(devices=[]), computing(model, doing, named=False) as at:
        torch.default_generator.manual_seed(0)
        at.x = dataset.x[rows]
        losses = objective.loss(copy.deepcopy(model).train()(at.x), dataset.y[rows])
        if losses.shape != (len(rows),):
            raise ValueError(
                f"the losses of {title(objective)} have the shape {tuple(losses.shape)}, expected "
                f"({len(rows)},), one for each example"
            )
        losses.mean().backward()
