"""Plain convolutional networks: VGG-11, the two-layer network of federated benchmarks, and small
ones of any width. Convolutions have biases and there are no norms.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from simfl.errors import DataError
from simfl.lazy import nn
from simfl.learn.datasets.base import Dataset
from simfl.learn.models.base import image_shape
from simfl.units import Count, Fraction, Index


@dataclass(frozen=True)
class ConvNet:
    """Convolutions of 3x3 with ReLU, then fully connected layers.

    channels: of the convolutions, which keep the size; after each of the first `pools` it is halved
        by max-pooling.
    hidden: widths of the fully connected layers before the last.
    """

    channels: tuple[Count, ...] = (16, 32, 32)
    hidden: tuple[Count, ...] = (64,)
    pools: Index = 2

    def __call__(self, dataset: Dataset) -> nn.Module:
        inputs, *sides = image_shape(dataset)
        layers: list[nn.Module] = []
        for at, outputs in enumerate(self.channels):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
            if at < self.pools:
                layers.append(nn.MaxPool2d(2))
                sides = [side // 2 for side in sides]
            inputs = outputs
        features = _features(dataset, inputs, sides)
        return nn.Sequential(*layers, nn.Flatten(), *_dense(features, self.hidden, dataset.outputs))


@dataclass(frozen=True)
class TwoLayerCnn:
    """LeNet-5's convolutions without padding (Li et al., "Federated learning on non-IID data
    silos", ICDE 2022): 44 426 parameters at 1x28x28. relu: after the convolutions.

    Images of less than 16x16 are padded, since nothing would be left of them.
    """

    relu: bool = True

    def __call__(self, dataset: Dataset) -> nn.Module:
        channels, *sides = image_shape(dataset)
        act = [nn.ReLU()] if self.relu else []
        rim = 0 if min(sides) >= 16 else 2
        first, second = (nn.Conv2d(a, b, 5, padding=rim) for a, b in ((channels, 6), (6, 16)))
        lost = 4 - 2 * rim
        features = _features(dataset, 16, [((side - lost) // 2 - lost) // 2 for side in sides])
        return nn.Sequential(
            *(first, *act, nn.MaxPool2d(2), second, *act, nn.MaxPool2d(2), nn.Flatten()),
            *_dense(features, (120, 84), dataset.outputs),
        )


@dataclass(frozen=True)
class Vgg11:
    """VGG-11 for images of 32x32 (Simonyan, Zisserman, ICLR 2015), with a head of 512-512-512.

    9 220 480 parameters in its eight convolutions, 530 442 in its head. Pooling rounds up, which
    matters for other sizes only.
    """

    dropout: Fraction = 0.5

    def __call__(self, dataset: Dataset) -> nn.Module:
        inputs, *sides = image_shape(dataset)
        layers: list[nn.Module] = []
        for outputs in (64, 0, 128, 0, 256, 256, 0, 512, 512, 0, 512, 512, 0):
            if outputs:
                layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
                inputs = outputs
            else:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
        features = _features(dataset, inputs, [-(-side // 32) for side in sides])
        drop = nn.Dropout(self.dropout)
        first, relu, second, _, last = _dense(features, (512, 512), dataset.outputs)
        return nn.Sequential(
            *layers, nn.Flatten(), drop, first, relu, nn.Dropout(self.dropout), second, nn.ReLU(),
            last,
        )  # fmt: skip


@dataclass(frozen=True)
class AcarCnn:
    """The CIFAR network of Acar et al. (FedDyn), ICLR 2021: 797 962 parameters at 3x32x32.

    Two unpadded 5x5 convolutions of 64 channels, each max-pooled by two, and layers of 384 and
    192. Images of less than 16x16 are padded, since nothing would be left of them.
    """

    def __call__(self, dataset: Dataset) -> nn.Module:
        channels, *sides = image_shape(dataset)
        rim = 0 if min(sides) >= 16 else 2
        lost = 4 - 2 * rim
        features = _features(dataset, 64, [((side - lost) // 2 - lost) // 2 for side in sides])
        first, second = (nn.Conv2d(inputs, 64, 5, padding=rim) for inputs in (channels, 64))
        return nn.Sequential(
            *(first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), *_dense(features, (384, 192), dataset.outputs)),
        )


def _features(dataset: Dataset, channels: int, sides: list[int]) -> int:
    """What the convolutions leave; DataError if that is nothing."""
    if min(sides) < 1:
        height, width = dataset.x.shape[-2:]
        raise DataError(
            f"{dataset.name} has images of {height}x{width}, too small for this model's "
            "convolutions and pooling; use the model 'convnet', 'lenet' or 'mlp'"
        )
    return channels * math.prod(sides)


def _dense(inputs: int, hidden: tuple[int, ...], classes: int) -> list[nn.Module]:
    layers: list[nn.Module] = []
    for outputs in hidden:
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        inputs = outputs
    return [*layers, nn.Linear(inputs, classes)]
