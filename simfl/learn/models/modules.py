"""Modules of the shipped models that torch does not have; the files beside hold their options."""

from __future__ import annotations

from collections.abc import Callable

import torch
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


class Projected(nn.Module):
    """Two convolutions and a shortcut, projected where the shape changes (option B)."""

    def __init__(
        self, inputs: int, outputs: int, stride: int, norm: Callable[[int], nn.Module]
    ) -> None:
        super().__init__()
        self.conv1, self.norm1 = conv3x3(inputs, outputs, stride), norm(outputs)
        self.conv2, self.norm2 = conv3x3(outputs, outputs, 1), norm(outputs)
        self.skip: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.skip = nn.Sequential(projection, norm(outputs))

    def forward(self, x: Tensor) -> Tensor:
        inner = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(inner + self.skip(x))


class Attention(nn.Module):
    """Self-attention of several heads over (n, T, width), with a residual and the norm before it.

    causal: a position sees itself and those before it.
    """

    def __init__(self, width: int, heads: int, causal: bool) -> None:
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm = nn.LayerNorm(width)
        self.inside = nn.Linear(width, 3 * width)
        self.outside = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.inside(self.norm(x)).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(-3, -2) for part in parts)
        scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
        if self.causal:
            later = torch.ones_like(scores[0, 0], dtype=torch.bool).triu(1)
            scores = scores.masked_fill(later, float("-inf"))
        seen = (scores.softmax(-1) @ v).transpose(-3, -2).flatten(-2)
        out: Tensor = x + self.outside(seen)
        return out


class TransformerNet(nn.Module):
    """Tokens (n, T) to logits: of each position (n, T, outputs), or of their mean (n, outputs).

    The norm comes before each part (Xiong et al., ICML 2020); positions are learnt.
    """

    def __init__(
        self, tokens: int, outputs: int, length: int, width: int, heads: int, layers: int,
        causal: bool, tied: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.causal = causal
        self.embed = nn.Embedding(tokens, width)
        self.place = nn.Embedding(length, width)
        blocks: list[nn.Module] = []
        for _ in range(layers):
            blocks += [Attention(width, heads, causal), Feedforward(width)]
        self.blocks = nn.Sequential(*blocks, nn.LayerNorm(width))
        self.head = nn.Linear(width, outputs, bias=not tied)
        if tied:
            self.embed.weight = self.head.weight

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[-1], device=tokens.device)
        states = self.blocks(self.embed(tokens) + self.place(places))
        logits: Tensor = self.head(states if self.causal else states.mean(-2))
        return logits


class Feedforward(nn.Module):
    """Two linear layers with GELU between them, with a residual and the norm before them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.down(F.gelu(self.up(self.norm(x))))
        return out


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
