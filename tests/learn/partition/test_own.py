"""Partition functions of somebody's own may say who holds what in any form."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simfl.errors import DataError
from simfl.learn.datasets.base import Dataset
from simfl.learn.partition.base import Partition
from simfl.learn.partition.own import as_partition

DATA = Dataset("mine", torch.ones(6, 2), [0] * 6, torch.ones(1, 2), [0], 1)

FORMS = {
    "owners": np.array([1, 0, 1, 0, 0, 0]),
    "a list of owners": [1, 0, 1, 0, 0, 0],
    "lists": [[1, 3, 4, 5], [0, 2]],
    "arrays": [np.array([1, 3, 4, 5]), np.array([0, 2])],
    "tensors": [torch.tensor([1, 3, 4, 5]), torch.tensor([0, 2])],
    "by device": {1: [0, 2], 0: [1, 3, 4, 5]},
    "a Partition": Partition(np.array([1, 3, 4, 5, 0, 2], np.int32), np.array([0, 4, 6])),
}


@pytest.mark.parametrize("form", FORMS)
def test_each_form_says_the_same(form):
    made = as_partition(FORMS[form], DATA, 2)
    assert made.indices.tolist() == [1, 3, 4, 5, 0, 2]
    assert made.offsets.tolist() == [0, 4, 6]
    assert made.indices.dtype == np.int32


def test_pieces_of_one_length_are_pieces():
    assert as_partition([[0, 1, 2], [3, 4, 5]], DATA, 2).sizes.tolist() == [3, 3]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([[0], [1], [2]], "deals out to 3 devices, but the fleet has 2"),
        ([[0, 6], [1]], "has the examples 0 to 6, but mine has only 0 to 5"),
        ([[0, 1], []], "leaves 1 of 2 devices without an example, device 1 among them"),
        ([0, 1, 0], "gave 3 devices for the 6 training examples of mine"),
        ([0, 1, 2, 0, 0, 0], "deals out to the devices 0 to 2, but the fleet has 0 to 1"),
        (None, "gave a NoneType, expected a Partition, one array"),
        ([[0.5], [1.0]], "gave a list, expected a Partition"),
        ({0: [1]}, "has the keys [0], expected the devices 0 to 1"),
    ],
)
def test_what_does_not_fit_is_said(given, said):
    with pytest.raises(DataError) as caught:
        as_partition(given, DATA, 2)
    assert said in str(caught.value)
