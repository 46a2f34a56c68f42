"""ResNet-20 for small images (He et al., CVPR 2016, section 4.2), with GroupNorm.

GroupNorm (Wu, He, ECCV 2018) in place of BatchNorm: no running statistics that would be stale
or foreign to most devices when models are averaged (Hsieh et al., ICML 2020).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from simfl.learn.data import Dataset
from simfl.learn.models import image_shape


@dataclass(frozen=True)
class Resnet20:
    """19 convolutions of 3x3 and one linear layer. groups: of GroupNorm."""

    groups: Literal[1, 2, 4, 8, 16] = 8

    def __call__(self, dataset: Dataset) -> nn.Module:
        channels, _, _ = image_shape(dataset)
        layers: list[nn.Module] = [_conv(channels, 16, 1), nn.GroupNorm(self.groups, 16), nn.ReLU()]
        for inputs, outputs, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
            layers.append(_Block(inputs, outputs, stride, self.groups))
            layers += [_Block(outputs, outputs, 1, self.groups) for _ in range(2)]
        head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, dataset.classes))
        return nn.Sequential(*layers, *head)


def _conv(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


class _Block(nn.Module):
    """Two convolutions and a shortcut without parameters (option A of the paper)."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int) -> None:
        super().__init__()
        self.conv1 = _conv(inputs, outputs, stride)
        self.norm1 = nn.GroupNorm(groups, outputs)
        self.conv2 = _conv(outputs, outputs, 1)
        self.norm2 = nn.GroupNorm(groups, outputs)
        self.stride = stride
        self.padding = outputs - inputs

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        skip = x[:, :, :: self.stride, :: self.stride]
        return F.relu(inner + F.pad(skip, (0, 0, 0, 0, 0, self.padding)))
