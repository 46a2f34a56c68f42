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
