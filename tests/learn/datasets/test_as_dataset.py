"""Whatever a notebook has at hand becomes a Dataset, or one sentence says what to write."""

from __future__ import annotations

import random

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset, random_split

from simfl.errors import DataError
from simfl.learn.datasets.as_dataset import as_dataset
from simfl.learn.datasets.base import Dataset
from simfl.learn.datasets.rows import Rows

X = np.arange(24.0).reshape(8, 3)
Y = np.arange(8) % 2
TENSORS = TensorDataset(torch.from_numpy(X).float(), torch.from_numpy(Y))


class Pairs(torch.utils.data.Dataset):
    """A map-style data set that counts what is read."""

    def __init__(self, n=8):
        self.n, self.read = n, []

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        self.read.append(i)
        return X[i].astype("float32"), int(Y[i])


class Listed(Pairs):
    targets = Y.tolist()


class Random(Pairs):
    def __getitem__(self, i):
        noise = torch.rand(1).item() + random.random() + np.random.rand()  # noqa: NPY002
        return torch.full((3,), noise), 0


class Texts(Pairs):
    def __getitem__(self, i):
        return torch.arange(4) + i, torch.arange(4) + i + 1


class Stream(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter(())


def sample():
    return Dataset("mine", X, Y, X, Y, 2)


WORK = {
    "a Dataset": sample(),
    "numpy": (X, Y, X, Y),
    "tensors": tuple(map(torch.from_numpy, (X, Y, X, Y))),
    "a list of four arrays": [X, Y, X, Y],
    "lists": (X.tolist(), Y.tolist(), X.tolist(), Y.tolist()),
    "frames": (pd.DataFrame(X), pd.Series(Y), pd.DataFrame(X), pd.Series(Y)),
    "texts": (X, np.array(["a", "b"])[Y], X, pd.Series(np.array(["a", "b"])[Y])),
    "flags": (X, Y.astype(bool), X, Y.astype(bool)),
    "two pairs": ((X, Y), (X, Y)),
    "TensorDatasets": (TENSORS, TENSORS),
    "splits": {"train": TENSORS, "test": TENSORS},
    "map-style": (Pairs(), Pairs()),
    "map-style with targets": (Listed(), Listed()),
    "loaders": (DataLoader(Pairs(), 4), DataLoader(Pairs(), 4)),
}


@pytest.mark.parametrize("kind", WORK)
def test_each_way_in_gives_the_same_examples(kind):
    made = as_dataset(WORK[kind])
    x, y = made.batch(np.array([5, 2]))
    assert (made.classes, made.sequence, made.users, len(made)) == (2, False, None, 8)
    assert torch.equal(x, torch.from_numpy(X[[5, 2]]).float())
    assert (y.dtype, y.tolist()) == (torch.int64, [1, 0])
    assert torch.equal(made.x_test[:2], torch.from_numpy(X[:2]).float())
    assert made.y_test.tolist() == Y.tolist()


def test_subsets_find_their_targets_without_reading_all_items():
    whole = Listed()
    train, test = random_split(whole, [6, 2])
    made = as_dataset((train, test))
    assert made.y.tolist() == Y[train.indices].tolist()
    assert made.y_test.tolist() == Y[test.indices].tolist()


def test_listed_targets_that_items_contradict_are_not_believed():
    class Shifted(Listed):
        def __getitem__(self, i):
            return super().__getitem__(i)[0], 1 - int(Y[i])

    assert as_dataset((Shifted(), Shifted())).y.tolist() == (1 - Y).tolist()


def test_items_are_read_when_they_are_asked_for():
    items = Listed()
    made = as_dataset((items, items))
    items.read.clear()
    made.batch(np.array([6, 1]))
    assert items.read == [6, 1]
    assert isinstance(made.x, Rows)
    assert made.x.shape == (8, 3)
    assert "read as they are needed" in str(made.batchwise)


def test_random_items_follow_the_generator_and_leave_the_global_ones_alone():
    made = as_dataset((Random(), Random()))
    torch.manual_seed(1)
    random.seed(1)
    before = torch.get_rng_state(), random.getstate()
    one, two, other = (
        made.batch(np.arange(4), np.random.default_rng(seed))[0] for seed in (3, 3, 4)
    )
    assert torch.equal(one, two)
    assert not torch.equal(one, other)
    assert len(one[:, 0].unique()) == 4
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert torch.equal(made.x[:4], made.x[:4])


def test_a_collate_function_decides_what_a_batch_is():
    def collate(items):
        return torch.stack([torch.as_tensor(x) for x, _ in items]) * 2, [y for _, y in items]

    made = as_dataset((DataLoader(Pairs(), collate_fn=collate), TENSORS))
    assert torch.equal(made.batch(np.array([3]))[0], torch.from_numpy(X[[3]]).float() * 2)


def test_targets_in_the_shape_of_their_tokens_are_sequences():
    made = as_dataset((Texts(), Texts()))
    assert (made.sequence, made.classes) == (True, 12)
    assert made.batch(np.array([1]))[1].tolist() == [[2, 3, 4, 5]]
    tokens = np.arange(12).reshape(4, 3)
    assert as_dataset((tokens, tokens + 1, tokens, tokens)).classes == 13


@pytest.mark.parametrize(
    ("y", "outputs"),
    [(X[:, 0], 1), (X, 3), (np.eye(2)[Y], 2), (np.eye(2, dtype=int)[Y], 2), (X[:, :1], 1)],
)
def test_targets_that_are_no_classes_are_values(y, outputs):
    made = as_dataset((X, y, X, y))
    assert made.classes is None
    assert made.outputs == outputs
    assert made.y.dtype == torch.float32
    with pytest.raises(DataError, match="cannot be partitioned by class"):
        _ = made.labels


def test_a_list_is_one_data_set_per_device():
    made = as_dataset([(X[:5], Y[:5], X, Y), (X[5:], Y[5:], X, Y)])
    assert made.users.tolist() == [0] * 5 + [1] * 3
    assert len(made.x_test) == 16
    shared = as_dataset(([Pairs(3), Pairs(5), TENSORS][:2], TENSORS))
    assert shared.users.tolist() == [0] * 3 + [1] * 5
    assert shared.batch(np.array([4]))[0].tolist() == [X[1].tolist()]
    assert len(as_dataset([sample(), sample(), sample()])) == 24


REFUSED = {
    "TensorDataset": (TENSORS, "a TensorDataset alone has no test examples: write dataset=(train"),
    "map-style": (Pairs(), "torch.utils.data.random_split(data, [0.8, 0.2])"),
    "list without tests": ([TENSORS, TENSORS], "write ([first, second, ...], test)"),
    "list of pairs": (
        [(X, Y), (X, Y)],
        "dataset[0]: a list is one data set per device, and this",
    ),
    "empty list": ([], "the list of data sets is empty"),
    "mixed list": (([Pairs(), TENSORS], TENSORS), "TensorDataset holds one in memory"),
    "shapes": (([(X, Y), (X[:, :2], Y)], TENSORS), "x has the shapes (8, 3), (8, 2) in"),
    "frame": (
        pd.DataFrame({"a": [1], "b": [2]}),
        'table(frame, target="COLUMN") (columns: a, b)',
    ),
    "path": ("houses.csv", '{"kind": "table", "path": "houses.csv", "target": "COLUMN"}'),
    "two arrays": ((X, Y), "2 arrays, expected four: write dataset=(x, y, x_test, y_test)"),
    "one array": (X, "a ndarray alone, expected four"),
    "order": ((X, X[:3], Y, Y[:3]), "exchange the two in the middle"),
    "stream": (Stream(), "give a data set with __len__ and __getitem__"),
    "class": (Pairs, "Pairs is a class, expected what it makes: write Pairs(...)"),
    "nothing": (None, "a NoneType is no data set: expected a simfl.Dataset, (x, y, x_test, y_t"),
    "sparse classes": ((X, Y * 999, X, Y), 'if they are values, write y.astype("float32")'),
    "strange class": ((X, ["a"] * 8, X, ["b"] * 8), "class 'b', which no training example has"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_does_not_work_says_what_to_write(kind):
    given, said = REFUSED[kind]
    with pytest.raises(DataError) as caught:
        as_dataset(given)
    assert said in str(caught.value)


def test_a_failing_item_names_the_users_class_and_line():
    class Broken(Pairs):
        def __getitem__(self, i):
            if i == 5:
                raise FileNotFoundError("picture 5")
            return super().__getitem__(i)

    class Keyed(Pairs):
        def __getitem__(self, i):
            return {"pixels": torch.zeros(2), "label": 1}

    with pytest.raises(DataError, match=r"Broken could not give .* at test_as_dataset.py:\d+"):
        as_dataset((Broken(), Broken()))
    with pytest.raises(DataError, match=r"dict with the keys 'pixels', 'label', expected pairs"):
        as_dataset((Keyed(), Keyed()))
