from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simfl.errors import DataError
from simfl.learn.datasets.base import Dataset
from simfl.learn.partition.base import (
    PARTITIONS,
    Dirichlet,
    Iid,
    Partition,
    Quantity,
    Shards,
    User,
)
from simfl.streams import Streams


def dataset(n: int, classes: int = 4, users: np.ndarray | None = None) -> Dataset:
    x, y = torch.zeros(n, 1), torch.arange(n) % classes
    return Dataset("toy", x, y, x, y, classes, users)


def rng(seed: int = 0) -> np.random.Generator:
    return Streams(seed).generator("partition")


def test_every_shipped_name_is_a_part_that_imports() -> None:
    assert all(callable(PARTITIONS.get(name)()) for name in PARTITIONS.names())


kinds = st.one_of(
    st.just(Iid()),
    st.builds(Dirichlet, st.floats(0.01, 100.0)),
    st.just(Shards(1)),
    st.builds(Quantity, st.floats(0.0, 3.0)),
)


@given(kinds, st.integers(1, 40), st.integers(0, 200), st.integers(0, 2**32))
def test_every_example_has_exactly_one_device_and_every_device_an_example(
    kind: Iid | Dirichlet | Shards | Quantity, devices: int, spare: int, seed: int
) -> None:
    n = devices + spare
    partition = kind(dataset(n), devices, rng(seed))
    assert len(partition) == devices
    assert sorted(partition.indices.tolist()) == list(range(n))
    assert partition.sizes.min() >= 1
    assert np.concatenate([partition[i] for i in range(devices)]).tolist() == (
        partition.indices.tolist()
    )


@given(kinds, st.integers(0, 2**32))
def test_one_seed_gives_one_partition(kind: Iid | Dirichlet | Shards | Quantity, seed: int) -> None:
    one, two = (kind(dataset(60), 7, rng(seed)) for _ in range(2))
    np.testing.assert_array_equal(one.indices, two.indices)
    np.testing.assert_array_equal(one.offsets, two.offsets)


@pytest.mark.parametrize("kind", [Iid(), Dirichlet(), Shards(1), Quantity()])
def test_more_devices_than_examples_are_refused(kind: Iid) -> None:
    with pytest.raises(DataError, match="toy has 5 training examples, too few for 6 devices"):
        kind(dataset(5), 6, rng())


@given(st.integers(1, 30), st.integers(30, 100))
def test_iid_sizes_differ_by_at_most_one(devices: int, n: int) -> None:
    sizes = Iid()(dataset(n), devices, rng()).sizes
    assert sizes.max() - sizes.min() <= 1


def classes_held(partition: Partition, labels: np.ndarray) -> list[int]:
    return [len(np.unique(labels[partition[i]])) for i in range(len(partition))]


def test_a_large_alpha_is_nearly_iid_and_a_small_one_nearly_one_class() -> None:
    data = dataset(4000)
    mixed = Dirichlet(1000.0)(data, 10, rng())
    pure = Dirichlet(0.01)(data, 10, rng())
    counts = np.array([np.bincount(data.labels[mixed[i]], minlength=4) for i in range(10)])
    assert counts.min() > 85
    assert counts.max() < 115
    assert np.mean(classes_held(pure, data.labels)) < 2


@given(st.integers(1, 8), st.integers(0, 1000))
def test_a_least_number_of_examples_is_kept(least: int, seed: int) -> None:
    partition = Dirichlet(0.05, min_examples=least)(dataset(90), 10, rng(seed))
    assert partition.sizes.min() >= least
    assert partition.sizes.sum() == 90


@pytest.mark.parametrize("each", [1, 2, 3])
def test_devices_see_no_more_classes_than_shards_when_shards_do_not_straddle(each: int) -> None:
    data = dataset(240)
    partition = Shards(each)(data, 20, rng())
    assert max(classes_held(partition, data.labels)) <= each
    assert set(partition.sizes.tolist()) == {12}


def test_as_many_devices_as_users_are_the_users_in_order() -> None:
    users = np.array([7, 3, 3, 9])
    partition = User()(dataset(4, users=users), 3, rng())
    assert [partition[i].tolist() for i in range(3)] == [[1, 2], [0], [3]]


@given(st.integers(1, 12))
def test_fewer_devices_than_users_hold_whole_users_in_even_numbers(devices: int) -> None:
    users = np.arange(60) % 12
    partition = User()(dataset(60, users=users), devices, rng())
    held = [np.unique(users[partition[i]]) for i in range(devices)]
    assert sorted(np.concatenate(held).tolist()) == list(range(12))
    assert max(map(len, held)) - min(map(len, held)) <= 1


def test_more_devices_than_users_are_refused() -> None:
    with pytest.raises(DataError, match="2 users, too few for 3 devices"):
        User()(dataset(4, users=np.array([0, 0, 1, 1])), 3, rng())


def test_data_without_users_have_no_user_partition() -> None:
    with pytest.raises(DataError, match="does not say who"):
        User()(dataset(4), 2, rng())


def test_no_skew_means_equal_sizes_and_more_skew_means_less_equal_ones() -> None:
    spread = [Quantity(s)(dataset(1000), 10, rng()).sizes.std() for s in (0.0, 0.5, 2.0)]
    assert spread[0] < 1
    assert spread[0] < spread[1] < spread[2]


@pytest.mark.parametrize("kind", [Dirichlet(), Shards()])
def test_sequences_have_no_class_to_be_partitioned_by(kind: Shards) -> None:
    tokens = torch.zeros(9, 3, dtype=torch.int64)
    data = Dataset("text", tokens, tokens, tokens, tokens, 2, sequence=True)
    with pytest.raises(DataError, match="cannot be partitioned by class"):
        kind(data, 2, rng())
