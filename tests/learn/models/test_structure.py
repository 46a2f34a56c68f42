"""What a model is made of, as it is read from a forward pass."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from simfl.learn.datasets.base import Dataset
from simfl.learn.models.base import CharLstm, Lenet, Mlp
from simfl.learn.models.convnets import ConvNet, TwoLayerCnn, Vgg11
from simfl.learn.models.resnet import Resnet, Resnet20, Resnet32
from simfl.learn.models.structure import structure_of
from simfl.structure import Shortcut


def images(channels: int, side: int) -> Dataset:
    x, y = torch.zeros(2, channels, side, side), torch.tensor([0, 9])
    return Dataset("images", x, y, x, y, 10)


def trained(layout, names) -> int:
    shapes = {n: s for n, s in layout.shapes if layout.slices[n].stop <= layout.trainable}
    return sum(math.prod(shape) for name, shape in shapes.items() if name in names)


def of(factory, channels: int = 3, side: int = 32):
    data = images(channels, side)
    return structure_of(factory(data), data.x[:1])


@pytest.mark.parametrize(
    ("factory", "image", "encoder", "head", "convs"),
    [
        (Resnet20(), (3, 32), 269_072, 650, 19),
        (Resnet20(norm="batch"), (3, 32), 269_072, 650, 19),
        (Resnet32(), (3, 32), 463_504, 650, 31),
        (Vgg11(), (3, 32), 9_220_480, 530_442, 8),
        (TwoLayerCnn(), (1, 28), 2_572, 41_854, 2),
        (TwoLayerCnn(), (3, 32), 2_872, 59_134, 2),
        (ConvNet(), (1, 8), 14_048, 8_906, 3),
        (Lenet(), (1, 28), 2_572, 59_134, 2),
        (Mlp((16,)), (1, 8), 1_040, 170, 0),
    ],
    ids=lambda value: type(value).__name__ if callable(value) else str(value),
)
def test_encoder_and_head_have_the_published_sizes(factory, image, encoder, head, convs):
    """Yu et al., SC 2022, on the models of their study; the rest counted by hand."""
    found = of(factory, *image)
    assert trained(found.layout, found.encoder) == encoder
    assert trained(found.layout, found.head) == head
    assert len(found.convs) == convs


def test_a_sequence_of_tokens_has_a_head_too():
    text = torch.zeros(2, 6, dtype=torch.int64)
    data = Dataset("text", text, text, text, text, 65, sequence=True)
    found = structure_of(CharLstm(hidden=4)(data), data.x[:1])
    assert found.head == ("out.weight", "out.bias")


def test_a_norm_belongs_to_the_convolution_before_it():
    conv = of(Resnet(norm="batch")).convs[0]
    assert conv.weight == "0.weight"
    assert conv.beside == ("1.weight", "1.bias", "1.running_mean", "1.running_var")
    assert conv.normed


def test_a_norm_of_other_channels_belongs_to_nobody():
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Unflatten(1, (2, 8)), nn.BatchNorm1d(2), nn.Flatten(),
        nn.Linear(16, 2),
    )  # fmt: skip
    assert structure_of(model, torch.zeros(1, 1, 4, 4)).convs[0].beside == ("0.bias",)


def test_blocks_have_shortcuts_and_their_second_convolution_reads_the_first():
    found = of(Resnet(blocks=1, width=8))
    assert found.shortcuts == (
        Shortcut(1, 2, False), Shortcut(3, 4, True), Shortcut(5, 6, True)
    )  # fmt: skip
    assert [conv.reads for conv in found.convs] == [None, None, 1, None, 3, None, 5]


def test_in_a_plain_sequence_everybody_reads_the_one_before():
    assert [conv.reads for conv in of(ConvNet(), 1, 8).convs] == [None, 0, 1]


def test_the_flops_of_a_convolution_are_those_of_its_formula():
    """Positions times outputs times a multiplication and an addition per weight, but one."""
    first = of(Resnet20()).convs[0]
    assert first.flops == 32 * 32 * (3 * (2 * 9 - 1) + 1) * 16 == 851_968
