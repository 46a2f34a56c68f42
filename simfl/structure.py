"""The structure of a model, as local rules see it: its convolutions and its head.

`learn.models.structure` finds it in a module; nothing here computes.
"""

from __future__ import annotations

from dataclasses import dataclass

from simfl.params import Layout


@dataclass(frozen=True)
class Conv:
    """One convolution, and the tensors that have one entry for each of its output channels."""

    weight: str  #: name of its (outputs, inputs / groups, height, width) tensor
    beside: tuple[str, ...]  #: bias, and scale, shift and statistics of the norm that follows
    outputs: int
    inputs: int
    area: int  #: height times width of the kernel
    positions: int  #: height times width of the output
    groups: int = 1
    normed: bool = False
    reads: int | None = None  #: the convolution whose channels, and no others, it reads

    @property
    def names(self) -> tuple[str, ...]:
        """All tensors of its output channels."""
        return (self.weight, *self.beside)

    @property
    def flops(self) -> float:
        """FLOP of one example: a multiplication and an addition per weight, but for the first."""
        each = self.inputs * (2 * self.area - 1) + 1
        return self.positions * each * self.outputs / self.groups


@dataclass(frozen=True)
class Shortcut:
    """A way around the convolutions first to last.

    resized: it changes the shape.
    """

    first: int
    last: int
    resized: bool


@dataclass(frozen=True)
class ModelStructure:
    """A model: all of its tensors, its convolutions in order, and what turns features to logits."""

    layout: Layout
    convs: tuple[Conv, ...]
    head: tuple[str, ...]  #: names of the predictor's tensors; the encoder is the rest
    shortcuts: tuple[Shortcut, ...] = ()

    @property
    def encoder(self) -> tuple[str, ...]:
        """Names of all tensors that are not in the head."""
        return tuple(name for name in self.layout.names if name not in self.head)
