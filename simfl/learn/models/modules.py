"""Modules of the shipped models that torch does not have; the files beside hold their options."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


def conv3x3(inputs: int, outputs: int, stride: int) -> nn.Conv2d:
    """A 3x3 convolution without bias that keeps the shape at stride 1."""
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


class Block(nn.Module):
    """Two convolutions and a shortcut without parameters (option A of the paper)."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, norm1: nn.Module, norm2: nn.Module
    ) -> None:
        super().__init__()
        self.conv1 = conv3x3(inputs, outputs, stride)
        self.norm1 = norm1
        self.conv2 = conv3x3(outputs, outputs, 1)
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


class Lstm(nn.Module):
    """Embedding, LSTM and a linear layer at each position."""

    def __init__(self, classes: int, embedding: int, hidden: int, layers: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(classes, embedding)
        self.lstm = nn.LSTM(embedding, hidden, layers, batch_first=True)
        self.out = nn.Linear(hidden, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.lstm(self.embed(tokens))
        logits: Tensor = self.out(states)
        return logits
