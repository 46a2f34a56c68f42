"""The CNN of ResFed: its size is the number that the paper's megabits are counted in."""

from __future__ import annotations

import pytest
import torch

from simfl.errors import DataError
from simfl.learn.datasets.base import Dataset
from simfl.learn.models.base import build
from simfl.learn.models.cnn5 import Cnn5
from simfl.learn.models.flat import params_of


def images(channels: int, side: int) -> Dataset:
    x, y = torch.zeros(2, channels, side, side), torch.tensor([0, 9])
    return Dataset("blank", x, y, x, y, 10)


def test_it_has_the_published_size() -> None:
    """4.08 MB; mean and variance of 704 channels travel beside them."""
    layout = params_of(build(Cnn5(), images(3, 32), 0)).layout
    assert layout.trainable == 1_020_160
    assert layout.size - layout.trainable == 2 * (64 + 128 + 256 + 256)


@pytest.mark.parametrize(("channels", "side"), [(1, 8), (1, 28), (3, 32)])
def test_it_takes_images_of_any_size_from_eight(channels: int, side: int) -> None:
    data = images(channels, side)
    assert build(Cnn5(), data, 0)(data.x).shape == (2, 10)


def test_smaller_images_are_refused() -> None:
    with pytest.raises(DataError, match="at least 8x8"):
        Cnn5()(images(1, 7))
