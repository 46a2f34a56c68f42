"""Small models, by name. Each factory looks at the data set for its input and output sizes.

Initial values are PyTorch's own defaults for every layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from simfl.errors import DataError, PluginError
from simfl.lazy import nn, torch
from simfl.learn.datasets.base import Dataset
from simfl.learn.failures import keep_origin
from simfl.registry import Registry
from simfl.units import Count

#: Each entry is a frozen dataclass of options, called with a Dataset. Under "package.module:name"
#: there may also be a plain function, called as name(dataset, **options) -> nn.Module.
MODELS = Registry(
    "model",
    "simfl.models",
    {
        "acar-cnn": "simfl.learn.models.convnets:AcarCnn",
        "causal-transformer": "simfl.learn.models.transformer:CausalTransformer",
        "char-lstm": "simfl.learn.models.base:CharLstm",
        "cnn": "simfl.learn.models.base:Cnn",
        "cnn5": "simfl.learn.models.cnn5:Cnn5",
        "convnet": "simfl.learn.models.convnets:ConvNet",
        "lenet": "simfl.learn.models.base:Lenet",
        "mlp": "simfl.learn.models.base:Mlp",
        "resnet": "simfl.learn.models.resnet:Resnet",
        "resnet18": "simfl.learn.models.resnet:Resnet18",
        "resnet20": "simfl.learn.models.resnet:Resnet20",
        "resnet32": "simfl.learn.models.resnet:Resnet32",
        "softmax": "simfl.learn.models.base:Softmax",
        "transformer": "simfl.learn.models.transformer:Transformer",
        "twolayercnn": "simfl.learn.models.convnets:TwoLayerCnn",
        "vgg11": "simfl.learn.models.convnets:Vgg11",
    },
)


#: What a model of float32 can compute in beside float32: it has the same range.
Precision = Literal["bfloat16"]


def build(
    factory: Callable[[Dataset], nn.Module],
    dataset: Dataset,
    seed: int,
    free: bool = False,
    precision: Precision | None = None,
) -> nn.Module:
    """A model whose initial values depend on the seed alone. Raises PluginError if it is none.

    free, precision: as for `prepared`.

    Layers draw their initial values from torch's global generator and from no other, so that
    one is seeded, and given back as it was.
    """
    from simfl.learn.models.prepare import prepared

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = factory(dataset)
        if not isinstance(model, nn.Module):
            raise PluginError(f"must make a torch Module, not {model!r}")
        keep_origin(model, factory)
        return prepared(model, dataset.x[:2], free, precision)


def check_numbers(dataset: Dataset) -> None:
    """Raises DataError where the inputs are tokens and not numbers to compute with."""
    if not dataset.x.is_floating_point():
        raise DataError(
            f"{dataset.name}: x holds {str(dataset.x.dtype).removeprefix('torch.')} tokens, but "
            "this model computes with numbers: expected float32, as in x.float()"
        )


def image_shape(dataset: Dataset) -> tuple[int, int, int]:
    """(channels, height, width) of the inputs; DataError where they are no images."""
    shape = tuple(dataset.x.shape[1:])
    if len(shape) != 3:
        raise DataError(
            f"{dataset.name} has inputs of shape {shape}, but this model needs images "
            "(channels, height, width); use the model 'mlp' or 'softmax'"
        )
    check_numbers(dataset)
    return shape


def _vector(dataset: Dataset) -> int:
    """Length of an input laid out flat."""
    if dataset.sequence:
        raise DataError(f"{dataset.name} holds sequences; use the model 'char-lstm'")
    check_numbers(dataset)
    return math.prod(dataset.x.shape[1:])


@dataclass(frozen=True)
class Softmax:
    """Multinomial logistic regression: convex, so that optima can be compared.

    zero: start with every weight at 0, not with PyTorch's draws.
    """

    zero: bool = False

    def __call__(self, dataset: Dataset) -> nn.Module:
        layer = nn.Linear(_vector(dataset), dataset.outputs)
        if self.zero:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        return nn.Sequential(nn.Flatten(), layer)


@dataclass(frozen=True)
class Mlp:
    """Fully connected layers with ReLU between them. hidden: widths of the inner layers."""

    hidden: tuple[Count, ...] = (128,)

    def __call__(self, dataset: Dataset) -> nn.Module:
        widths = (_vector(dataset), *self.hidden, dataset.outputs)
        layers: list[nn.Module] = [nn.Flatten()]
        for inputs, outputs in pairwise(widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        return nn.Sequential(*layers[:-1])


@dataclass(frozen=True)
class Lenet:
    """LeNet-5 with ReLU and max-pooling (LeCun et al., 1998): 61 706 parameters at 1x28x28.

    The second convolution is padded only where the image is too small to lose its rim.
    """

    def __call__(self, dataset: Dataset) -> nn.Module:
        channels, height, width = image_shape(dataset)
        rim = 0 if min(height, width) >= 12 else 2
        features = 16 * math.prod((side // 2 + 2 * rim - 4) // 2 for side in (height, width))
        return nn.Sequential(
            *(nn.Conv2d(channels, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(6, 16, 5, padding=rim), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(features, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU()),
            nn.Linear(84, dataset.outputs),
        )


@dataclass(frozen=True)
class Cnn:
    """The convolutional network of McMahan et al., AISTATS 2017: 1 663 370 parameters at 1x28x28.

    Two 5x5 convolutions with 32 and 64 channels, each padded to keep its size and max-pooled by
    two, then a layer of 512.
    """

    def __call__(self, dataset: Dataset) -> nn.Module:
        channels, height, width = image_shape(dataset)
        features = 64 * (height // 4) * (width // 4)
        return nn.Sequential(
            *(nn.Conv2d(channels, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
            *(nn.Linear(features, 512), nn.ReLU(), nn.Linear(512, dataset.outputs)),
        )


@dataclass(frozen=True)
class CharLstm:
    """Next-character LSTM of McMahan et al., 2017. (n, T) tokens to (n, T, classes) logits."""

    embedding: Count = 8
    hidden: Count = 256
    layers: Count = 2

    def __call__(self, dataset: Dataset) -> nn.Module:
        from simfl.learn.models.modules import Lstm

        if not dataset.sequence:
            raise DataError(f"{dataset.name} holds no sequences, but this model reads nothing else")
        return Lstm(dataset.outputs, self.embedding, self.hidden, self.layers)
