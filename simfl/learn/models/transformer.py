"""Small transformers over tokens (Vaswani et al., NeurIPS 2017): a classifier, a language model."""

from __future__ import annotations

from dataclasses import dataclass

from simfl.errors import DataError, ScenarioError
from simfl.lazy import nn
from simfl.learn.datasets.base import Dataset
from simfl.units import Count


@dataclass(frozen=True)
class Transformer:
    """Classifies (n, T) tokens: the mean over positions goes through a linear layer.

    tokens: how many there are; by default those of the data. Positions see one another both ways.
    """

    width: Count = 64
    heads: Count = 4
    layers: Count = 2
    tokens: Count | None = None

    def __post_init__(self) -> None:
        _check_heads(self.width, self.heads)

    def __call__(self, dataset: Dataset) -> nn.Module:
        from simfl.learn.models.modules import TransformerNet

        length = _length(dataset)
        if dataset.sequence:
            raise DataError(
                f"{dataset.name} has a target at each position; use 'causal-transformer'"
            )
        tokens = self.tokens or 1 + max(int(dataset.x.max()), int(dataset.x_test.max()))
        shape = (length, self.width, self.heads, self.layers)
        return TransformerNet(tokens, dataset.outputs, *shape, causal=False)


@dataclass(frozen=True)
class CausalTransformer:
    """Predicts the next of (n, T) tokens at each position, from those up to it.

    tied: the embedding of the tokens is the last layer, too (Press, Wolf, EACL 2017).
    """

    width: Count = 64
    heads: Count = 4
    layers: Count = 2
    tied: bool = False

    def __post_init__(self) -> None:
        _check_heads(self.width, self.heads)

    def __call__(self, dataset: Dataset) -> nn.Module:
        from simfl.learn.models.modules import TransformerNet

        length = _length(dataset)
        if not dataset.sequence:
            raise DataError(f"{dataset.name} holds no sequences; use the model 'transformer'")
        shape = (length, self.width, self.heads, self.layers)
        many = dataset.outputs
        return TransformerNet(many, many, *shape, causal=True, tied=self.tied)


def _check_heads(width: int, heads: int) -> None:
    if width % heads:
        raise ScenarioError(f"width = {width} does not divide into {heads} heads")


def _length(dataset: Dataset) -> int:
    """T of (n, T) tokens; DataError where the inputs are none."""
    if dataset.x.is_floating_point() or len(dataset.x.shape) != 2:
        shape = tuple(dataset.x.shape[1:])
        raise DataError(
            f"{dataset.name}: x holds examples of shape {shape} and type {dataset.x.dtype}, but "
            "this model reads tokens: expected (n, T) int64"
        )
    return int(dataset.x.shape[1])
