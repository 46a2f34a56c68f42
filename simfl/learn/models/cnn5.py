"""The CNN that ResFed is measured with (Song et al., IEEE IoT Journal 11(6), 2024)."""

from __future__ import annotations

from dataclasses import dataclass

from simfl.errors import DataError
from simfl.lazy import nn
from simfl.learn.datasets.base import Dataset
from simfl.learn.models.base import image_shape


@dataclass(frozen=True)
class Cnn5:
    """Five convolutions of 3x3, four of them with BatchNorm, and one linear layer.

    1 020 160 parameters at 3x32x32, which is 4.08 MB, and 1 408 running statistics.
    """

    def __call__(self, dataset: Dataset) -> nn.Module:
        channels, height, width = image_shape(dataset)
        if min(height, width) < 8:
            raise DataError(
                f"{dataset.name} has images of {height}x{width}, and 'cnn5' halves their sides "
                "three times: it needs at least 8x8; use the model 'mlp'"
            )
        features = 256 * (height // 8) * (width // 8)
        return nn.Sequential(
            *(nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU()),
            *(*_normed(32, 64), nn.MaxPool2d(2)),
            *_normed(64, 128),
            *(*_normed(128, 256), nn.MaxPool2d(2)),
            *(*_normed(256, 256), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(features, dataset.outputs, bias=False)),
        )


def _normed(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    return conv, nn.BatchNorm2d(outputs), nn.ReLU()
