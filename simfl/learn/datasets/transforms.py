"""What changes inputs before a model sees them: `[learning] transforms`, in this order.

A *fixed* transform gives an example the same values each time, and is applied to training and test
inputs before the run; fixed ones come first. All others are random: they are applied to training
inputs alone, anew in each step, and draw from the task's own stream, so that a run repeats itself
bit for bit. Any callable of one example will do, of torchvision.transforms.v2 say: what it draws
from the generators of torch, numpy or Python follows from that stream, too. One that has an
attribute `fixed` that is true is fixed.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import dropwhile, takewhile
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from simfl.errors import DataError, PluginError, plugin_errors
from simfl.lazy import functional, torch
from simfl.learn.datasets.base import Dataset
from simfl.learn.datasets.rows import Rows, drawing, is_rows
from simfl.registry import Registry
from simfl.units import Count, Fraction, Positive

if TYPE_CHECKING:
    from torch import Tensor

#: Each entry is a frozen dataclass of options with the method of `Transform`, or any callable of
#: one example, called as name(example, **options); a class of such is made as name(**options).
TRANSFORMS = Registry(
    "transform",
    "simfl.transforms",
    {
        "crop": "simfl.learn.datasets.transforms:Crop",
        "flip": "simfl.learn.datasets.transforms:Flip",
        "normalise": "simfl.learn.datasets.transforms:Normalise",
    },
)


class Transform:
    """Leaves inputs as they are; the base of those that look at a whole batch."""

    fixed: ClassVar[bool] = False

    def fitted(self, x: Tensor | Rows) -> Transform:
        """The transform with what it has to know of all training inputs."""
        return self

    def __call__(self, x: Tensor, generator: np.random.Generator) -> Tensor:
        """(b, ...) inputs of (b, ...) inputs, all random numbers from the generator."""
        return x


@dataclass(frozen=True)
class Crop(Transform):
    """Moves each image by up to `padding` pixels either way; what comes in from outside is 0."""

    padding: Count = 4

    def __call__(self, x: Tensor, generator: np.random.Generator) -> Tensor:
        _check_images("crop", x)
        examples, _, height, width = x.shape
        wide = functional.pad(x, (self.padding,) * 4)
        moved = torch.from_numpy(generator.integers(2 * self.padding + 1, size=(2, examples, 1)))
        rows, columns = moved[0] + torch.arange(height), moved[1] + torch.arange(width)
        at = torch.arange(examples)[:, None, None]
        return wide.movedim(1, -1)[at, rows[:, :, None], columns[:, None]].movedim(-1, 1)


@dataclass(frozen=True)
class Flip(Transform):
    """Exchanges left and right in a share of the images."""

    share: Fraction = 0.5

    def __call__(self, x: Tensor, generator: np.random.Generator) -> Tensor:
        _check_images("flip", x)
        turned = torch.from_numpy(generator.random(len(x)) < self.share)
        return torch.where(turned[:, None, None, None], x.flip(-1), x)


@dataclass(frozen=True)
class Normalise(Transform):
    """Takes a mean from each channel (of a table: each column) and divides by a deviation.

    mean, std: one number for each; by default those of the training inputs, which must be in memory
        then.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[Positive, ...] | None = None

    fixed: ClassVar[bool] = True

    def fitted(self, x: Tensor | Rows) -> Transform:
        if self.mean is not None and self.std is not None:
            return self
        if is_rows(x):
            raise DataError(
                "normalise has no mean and std of examples that are read as they are needed: "
                'write {kind = "normalise", mean = [...], std = [...]}'
            )
        inputs: Any = x
        over = [axis for axis in range(inputs.ndim) if axis != 1]
        std = inputs.double().std(over, correction=0)
        std[std == 0] = 1.0
        mean = inputs.double().mean(over)
        return Normalise(self.mean or tuple(mean.tolist()), self.std or tuple(std.tolist()))

    def __call__(self, x: Tensor, generator: np.random.Generator) -> Tensor:
        assert self.mean is not None
        assert self.std is not None
        shape = (1, -1, *(1,) * (x.ndim - 2))
        for given in (self.mean, self.std):
            if len(given) not in (1, x.shape[1]):
                raise DataError(
                    f"normalise has {len(given)} numbers for the {x.shape[1]} channels of inputs "
                    f"of shape {tuple(x.shape[1:])}"
                )
        mean, std = (torch.tensor(given).view(shape) for given in (self.mean, self.std))
        return (x - mean) / std


@dataclass(frozen=True)
class Own(Transform):
    """A callable of one example, given by the user."""

    call: Any
    name: str

    @property
    def fixed(self) -> bool:  # type: ignore[override]
        """Whether the function says that it gives the same at every call."""
        return bool(getattr(self.call, "fixed", False))

    def __call__(self, x: Tensor, generator: np.random.Generator) -> Tensor:
        with plugin_errors(f"transform {self.name}"), drawing(int(generator.integers(2**63))):
            made = torch.stack([torch.as_tensor(self.call(one.clone())) for one in x])
            return made.to(x.dtype)


def transformed(dataset: Dataset, parts: Sequence[Any]) -> Dataset:
    """The data set as these transforms have it. Raises DataError, PluginError.

    parts: Transforms, callables of one example, or classes of these with their options.
    """
    found = [_ready(part) for part in parts]
    fixed = list(takewhile(lambda one: one.fixed, found))
    drawn = list(dropwhile(lambda one: one.fixed, found))
    late = next((one for one in drawn if one.fixed), None)
    if late is not None:
        raise DataError(
            f"learning.transforms: {_name(late)} is for test inputs, too, and stands behind "
            f"{_name(drawn[0])}, which is for training alone; put it first"
        )
    for one in fixed:
        dataset = _with_fixed(dataset, one.fitted(dataset.x))
    if not drawn:
        return dataset
    dataset = replace(dataset, transforms=tuple(drawn))
    _try(dataset)
    return dataset


def _with_fixed(dataset: Dataset, one: Transform) -> Dataset:
    def applied(x: Any) -> Any:
        if is_rows(x):
            return replace(x, fixed=(*x.fixed, one))
        return one(x, np.random.default_rng(0))

    return replace(dataset, x=applied(dataset.x), x_test=applied(dataset.x_test))


def _try(dataset: Dataset) -> None:
    """Raises PluginError where training inputs would be of another kind than test inputs."""
    rows = np.arange(min(2, len(dataset)))
    x = before = dataset.batch(rows)[0]
    for one in dataset.transforms:
        x = one(x, np.random.default_rng(0))
        if x.shape != before.shape:
            raise PluginError(
                f"transform {_name(one)} makes inputs of shape {tuple(x.shape[1:])} of inputs of "
                f"shape {tuple(before.shape[1:])}, expected the same, for test inputs keep theirs; "
                "an attribute `fixed = True` of the callable has it applied to both"
            )


def _ready(part: Any) -> Transform:
    """A transform of batches, whatever was named."""
    if isinstance(part, Transform):
        return part
    function = getattr(part, "function", None)
    if inspect.isclass(function):
        with plugin_errors(f"transform {part.kind}"):
            made = function(**part.options)
            return made if isinstance(made, Transform) else Own(made, function.__name__)
    name = getattr(function or part, "__name__", type(part).__name__)
    if function is not None and not part.options:
        return Own(function, name)
    return Own(part, name)


def _name(one: Any) -> str:
    return one.name if isinstance(one, Own) else type(one).__name__.lower()


def _check_images(name: str, x: Tensor) -> None:
    if x.ndim != 4 or not x.is_floating_point():
        raise DataError(
            f"the transform {name} needs images (channels, height, width), but inputs have the "
            f"shape {tuple(x.shape[1:])} and hold {str(x.dtype).removeprefix('torch.')}"
        )
