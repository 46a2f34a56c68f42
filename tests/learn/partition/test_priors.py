"""Class priors by device, with sizes that are kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simfl.errors import DataError
from simfl.learn.datasets.base import Dataset
from simfl.learn.partition.priors import Priors
from simfl.streams import Streams


def dataset(n: int, classes: int = 5) -> Dataset:
    x, y = torch.zeros(n, 1), torch.arange(n) % classes
    return Dataset("toy", x, y, x, y, classes)


def dealt(n: int, devices: int, seed: int = 0, **options):
    return Priors(**options)(dataset(n), devices, Streams(seed).generator("partition"))


@given(
    st.integers(1, 20), st.integers(0, 100), st.floats(0.001, 50.0), st.floats(0.0, 2.0),
    st.integers(0, 1000),
)  # fmt: skip
def test_no_example_is_held_twice_and_sizes_add_up(devices, spare, alpha, sigma, seed):
    partition = dealt(devices + spare, devices, seed, alpha=alpha, sigma=sigma)
    each = (devices + spare) // devices
    assert len(set(partition.indices.tolist())) == len(partition.indices) == each * devices
    assert partition.sizes.min() >= 1
    if not sigma:
        assert set(partition.sizes) == {each}


def test_devices_follow_their_priors_and_sizes_their_spread():
    labels = dataset(20_000).labels
    partition = dealt(20_000, 100, alpha=0.1, sigma=0.5, examples=100)
    shares = np.stack([np.bincount(labels[partition[i]], minlength=5) for i in range(100)])
    assert (shares.max(1) / shares.sum(1)).mean() > 0.7
    assert np.log(partition.sizes).std() == pytest.approx(0.5, abs=0.1)
    even = dealt(20_000, 100, alpha=1000.0, examples=100)
    shares = np.stack([np.bincount(labels[even[i]], minlength=5) for i in range(100)])
    assert (shares.max(1) / 100).mean() < 0.32
    assert len(even.indices) == 10_000


def test_more_than_there_is_cannot_be_dealt_out():
    with pytest.raises(DataError, match="too few for 3 devices with 4 each"):
        dealt(11, 3, examples=4)
