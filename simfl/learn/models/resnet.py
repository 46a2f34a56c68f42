"""ResNets for small images (He et al., CVPR 2016, section 4.2): 20 and 32 layers, or any other.

GroupNorm (Wu, He, ECCV 2018) in place of BatchNorm: no running statistics that would be stale
or foreign to most devices when models are averaged (Hsieh et al., ICML 2020). BatchNorm is
there for comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from simfl.errors import ScenarioError
from simfl.learn.datasets.base import Dataset
from simfl.learn.models.base import image_shape
from simfl.units import Count


@dataclass(frozen=True)
class Resnet:
    """6 blocks + 1 convolutions of 3x3 and one linear layer, at three resolutions.

    width: channels at the first of them, doubled at each of the others. groups: of GroupNorm.
    """

    blocks: Count = 1
    width: Count = 16
    norm: Literal["group", "batch"] = "group"
    groups: Count = 8

    def __post_init__(self) -> None:
        if self.norm == "group" and self.width % self.groups:
            raise ScenarioError(f"width = {self.width} does not divide into {self.groups} groups")

    def __call__(self, dataset: Dataset) -> nn.Module:
        channels, _, _ = image_shape(dataset)
        width = self.width
        layers: list[nn.Module] = [_conv(channels, width, 1), self._norm(width), nn.ReLU()]
        inputs = width
        for stage in range(3):
            outputs = width << stage
            for block in range(self.blocks):
                stride = 2 if stage and not block else 1
                layers.append(
                    Block(inputs, outputs, stride, self._norm(outputs), self._norm(outputs))
                )
                inputs = outputs
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, dataset.classes))
        return nn.Sequential(*layers, *head)

    def _norm(self, channels: int) -> nn.Module:
        return (
            nn.BatchNorm2d(channels)
            if self.norm == "batch"
            else nn.GroupNorm(self.groups, channels)
        )


@dataclass(frozen=True)
class Resnet20(Resnet):
    """19 convolutions of 3x3 and one linear layer. groups: of GroupNorm."""

    blocks: Count = 3


@dataclass(frozen=True)
class Resnet32(Resnet):
    """31 convolutions of 3x3 and one linear layer. groups: of GroupNorm."""

    blocks: Count = 5


def _conv(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


class Block(nn.Module):
    """Two convolutions and a shortcut without parameters (option A of the paper)."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, norm1: nn.Module, norm2: nn.Module
    ) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, outputs, stride)
        self.norm1 = norm1
        self.conv2 = _conv(outputs, outputs, 1)
        self.norm2 = norm2
        self.stride = stride
        self.padding = outputs - inputs

    @property
    def resizes(self) -> bool:
        """Whether the shortcut changes the shape."""
        return self.stride > 1 or self.padding > 0

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        skip = x[:, :, :: self.stride, :: self.stride]
        return F.relu(inner + F.pad(skip, (0, 0, 0, 0, 0, self.padding)))
