"""What a data set may be made of, and what is said of the rest."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import torch

from simfl.errors import DataError
from simfl.learn.datasets.base import Dataset

X = np.arange(12.0).reshape(6, 2)
Y = [0, 1, 0, 1, 1, 0]


def dataset(x=X, y=Y, **known):
    return Dataset("mine", x, y, known.pop("x_test", x), known.pop("y_test", y), 2, **known)


NUMBERS = {
    "numpy float64": X,
    "numpy float32": X.astype("float32"),
    "float16": X.astype("float16"),
    "long double": X.astype(np.longdouble),
    "pixels": X.astype("uint8"),
    "big-endian": X.astype(">f8"),
    "fortran": np.asfortranarray(X),
    "a list": X.tolist(),
    "a frame": pd.DataFrame(X),
    "float64 tensor": torch.from_numpy(X),
    "bfloat16 tensor": torch.from_numpy(X).to(torch.bfloat16),
    "with a gradient": torch.from_numpy(X).float().requires_grad_(),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_features_become_float32_of_the_same_values(kind):
    made = dataset(NUMBERS[kind]).x
    assert made.dtype == torch.float32
    assert not made.requires_grad
    assert torch.equal(made, torch.from_numpy(X.astype("float32")))


def test_an_array_seen_backwards_or_read_only_is_taken():
    fixed = X.copy()
    fixed.flags.writeable = False
    assert torch.equal(dataset(X[::-1]).x, torch.from_numpy(X.astype("float32")).flip(0))
    assert torch.equal(dataset(fixed).x, dataset(X).x)


@pytest.mark.parametrize("kind", [np.int16, np.uint16, np.int32, np.uint64, np.int64])
def test_whole_numbers_wider_than_a_byte_stay_tokens(kind):
    assert dataset(X.astype(kind)).x.dtype == torch.int64
    assert dataset(np.arange(6).astype(kind)).x.shape == (6,)


def test_a_tensor_that_is_right_is_taken_as_it_is():
    x, y = torch.ones(6, 2), torch.tensor(Y)
    assert dataset(x, y).x is x


KINDS = ["bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [np.array, lambda y: torch.from_numpy(np.array(y))])
def test_labels_of_any_whole_type_become_int64(kind, make):
    made = dataset(y=make(np.array(Y).astype(kind))).y
    assert made.dtype == torch.int64
    assert made.tolist() == Y


def test_a_column_of_labels_is_a_row_of_them():
    assert dataset(y=np.array(Y)[:, None]).y.tolist() == Y


def test_sequences_have_tokens_whatever_their_width():
    tokens = np.array([[0, 1], [1, 0], [1, 1]], np.uint8)
    made = dataset(tokens, tokens, sequence=True)
    assert made.x.dtype == made.y.dtype == torch.int64


def ragged():
    return [[1.0], [2.0, 3.0]]


@pytest.mark.parametrize(
    ("known", "said"),
    [
        (
            {"y": np.array(Y, "float32")},
            "y has shape (6,) and holds float32, expected (n,) int64 c",
        ),
        ({"y": np.array(Y, "float32")}, "as in y.long()"),
        ({"y_test": np.eye(2)[Y]}, "y_test has shape (6, 2) and holds float64, expected (n,) int6"),
        ({"y_test": np.eye(2)[Y]}, "as in y_test.argmax(1)"),
        ({"y": np.eye(2, dtype=int)[Y]}, "as in y.argmax(1)"),
        ({"y": np.array(["cat"] * 6)}, "y is a ndarray of <U3 that is no array of numbers"),
        ({"y": None}, "y is a NoneType that is no array of numbers"),
        ({"x": X + 1j}, "x has shape (6, 2) and holds complex128, expected real numbers"),
        ({"x": X.astype(object)}, "x is a ndarray of object that is no array of numbers"),
        ({"x": ragged()}, "x is a list that is no array of numbers"),
        ({"x": np.zeros(6)}, "x has shape (6,) and holds float64, expected (n, ...) with at least"),
        ({"x": np.zeros(6)}, "as in x[:, None]"),
        ({"x": np.zeros((6, 0))}, "with at least one number per example"),
        ({"x": np.zeros(())}, "x has shape () and holds float64"),
        ({"x": torch.ones(6, 2).to_sparse()}, "holds sparse_coo float32, expected a dense tensor"),
        ({"x": torch.empty(6, 2, device="meta")}, "expected a dense tensor with values"),
        ({"x": np.where(X == 5, np.nan, X)}, "x has 1 example(s) with numbers that are not finite"),
        ({"x": np.where(X == 5, np.nan, X)}, "the first of them at row 2"),
        ({"x_test": X * 1e300}, "x_test has 6 example(s) with numbers that are not finite"),
        ({"x": np.zeros((0, 2)), "y": []}, "x has shape (0, 2)"),
        ({"y": [2**64 - 1] * 6}, "y is a list that is no array of numbers"),
        ({"y": [-1] * 6}, "training labels run from -1 to -1, expected 0 to 1"),
        ({"y_test": [2] * 6}, "test labels run from 2 to 2, expected 0 to 1"),
        ({"y": Y[:5]}, "6 training inputs but 5 labels"),
        ({"x_test": np.zeros((6, 3))}, "(2,) and type torch.float32 in x, but (3,)"),
        ({"x_test": X.astype(int)}, "torch.float32 in x, but (2,) and torch.int64 in x_test"),
        ({"sequence": True}, "x has shape (6, 2) and holds float64, expected (n, T) int64 tokens"),
        ({"users": [0, 1]}, "users has shape (2,), expected (6,): one owner for each"),
    ],
)
def test_what_is_not_safe_is_refused_in_a_sentence(known, said):
    with pytest.raises(DataError, match=f"^mine: .*{re.escape(said)}") as told:
        dataset(**known)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("classes", [0, 2.0, True, "two"])
def test_the_number_of_classes_is_a_whole_number(classes):
    with pytest.raises(DataError, match=r"mine: classes = .*, expected a whole number from 1"):
        Dataset("mine", X, Y, X, Y, classes)
