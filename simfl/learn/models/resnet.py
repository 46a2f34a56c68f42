"""ResNets for small images (He et al., CVPR 2016, section 4.2): 20 and 32 layers, or any other.

GroupNorm (Wu, He, ECCV 2018) in place of BatchNorm: no running statistics that would be stale
or foreign to most devices when models are averaged (Hsieh et al., ICML 2020). BatchNorm is
there for comparison.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from simfl.errors import ScenarioError
from simfl.lazy import nn
from simfl.learn.datasets.base import Dataset
from simfl.learn.models.base import image_shape
from simfl.units import Count


@dataclass(frozen=True)
class Resnet:
    """6 blocks + 1 convolutions of 3x3 and one linear layer, at three resolutions.

    width: channels at the first of them, doubled at each of the others.
    groups: of GroupNorm.
    """

    blocks: Count = 1
    width: Count = 16
    norm: Literal["group", "batch"] = "group"
    groups: Count = 8

    def __post_init__(self) -> None:
        if self.norm == "group" and self.width % self.groups:
            raise ScenarioError(f"width = {self.width} does not divide into {self.groups} groups")

    def __call__(self, dataset: Dataset) -> nn.Module:
        from simfl.learn.models.modules import Block, conv3x3

        channels, _, _ = image_shape(dataset)
        width = self.width
        layers: list[nn.Module] = [conv3x3(channels, width, 1), self._norm(width), nn.ReLU()]
        inputs = width
        for stage in range(3):
            outputs = width << stage
            for block in range(self.blocks):
                stride = 2 if stage and not block else 1
                layers.append(
                    Block(inputs, outputs, stride, self._norm(outputs), self._norm(outputs))
                )
                inputs = outputs
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, dataset.outputs))
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


@dataclass(frozen=True)
class Resnet18:
    """ResNet-18 (He et al., CVPR 2016, table 1): four stages of two blocks, projected shortcuts.

    stem: "small" for images like CIFAR's, one 3x3 convolution (11 173 962 parameters at 3x32x32 and
        10 classes); "large" the 7x7 convolution and the pooling of the paper.
    norm: GroupNorm of `groups`, or BatchNorm.
    """

    width: Count = 64
    stem: Literal["small", "large"] = "small"
    norm: Literal["group", "batch"] = "group"
    groups: Count = 32

    def __post_init__(self) -> None:
        if self.norm == "group" and self.width % self.groups:
            raise ScenarioError(f"width = {self.width} does not divide into {self.groups} groups")

    def __call__(self, dataset: Dataset) -> nn.Module:
        from simfl.learn.models.modules import Projected

        channels, _, _ = image_shape(dataset)
        layers, inputs = self._stem(channels), self.width
        for stage in range(4):
            outputs = self.width << stage
            for block in range(2):
                stride = 2 if stage and not block else 1
                layers.append(Projected(inputs, outputs, stride, self._norm))
                inputs = outputs
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, dataset.outputs))
        return nn.Sequential(*layers, *head)

    def _stem(self, channels: int) -> list[nn.Module]:
        from simfl.learn.models.modules import conv3x3

        if self.stem == "small":
            return [conv3x3(channels, self.width, 1), self._norm(self.width), nn.ReLU()]
        first = nn.Conv2d(channels, self.width, 7, 2, padding=3, bias=False)
        return [first, self._norm(self.width), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1)]

    def _norm(self, channels: int) -> nn.Module:
        batch = self.norm == "batch"
        return nn.BatchNorm2d(channels) if batch else nn.GroupNorm(self.groups, channels)
