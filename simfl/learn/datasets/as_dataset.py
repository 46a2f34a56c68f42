"""Whatever holds examples, as a Dataset: what `simfl.run(..., dataset=...)` takes.

    Dataset                          as it is
    (x, y, x_test, y_test)           arrays of any kind
    (train, test)                    each (x, y), a torch data set with `__len__` and `__getitem__`,
                                     or a DataLoader, whose collate_fn is used
    {"train": ..., "test": ...}      the same, as Hugging Face names its splits
    [first, second, ...]             one data set per device, for the partition "user": each a
                                     Dataset or four arrays; or ([...], test) where each is one half

TensorDatasets become tensors; other torch data sets are read as they are needed. Targets that are
whole numbers or texts are classes, all others are values. Everything else raises DataError in one
sentence that says what to write.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simfl.errors import DataError, shorten
from simfl.learn.datasets import mapped, targets
from simfl.learn.datasets.base import Dataset, written_for
from simfl.learn.datasets.hugging import is_hugging
from simfl.learn.datasets.rows import Rows

if TYPE_CHECKING:
    from torch import Tensor

    Half = tuple[Any, Any]  # inputs and targets, in memory or as Rows

_TAKEN = (
    "expected a simfl.Dataset, (x, y, x_test, y_test), a pair (train, test) of torch data sets, or "
    "a list with one data set per device"
)


def as_dataset(given: Any, name: str = "dataset", users: Any = None) -> Dataset:
    """The Dataset that this is, or makes. Raises DataError.

    name: what messages call it.
    users: (n,) the owner of each training example.

    >>> data = as_dataset((np.eye(3), ["cat", "dog", "cat"], np.eye(3), ["dog", "cat", "cat"]))
    >>> data.classes, data.y.tolist()
    (2, [0, 1, 0])
    """
    if isinstance(given, Dataset):
        return given if users is None else replace(given, users=users)
    if isinstance(given, list) and not _is_quartet(given):
        return _by_device(name, given, None)
    if isinstance(given, tuple) and len(given) == 2 and _is_list_of_sets(given[0]):
        return _by_device(name, given[0], _half(name, given[1]))
    train, test = _halves(name, given)
    return _joined(name, train, test, users)


def _joined(name: str, train: Half, test: Half, users: Any = None) -> Dataset:
    """A Dataset of its two halves. Raises DataError."""
    (x, y), (x_test, y_test) = train, test
    found = targets.of(name, x, y, x_test, y_test)
    rest = (found.classes, users, found.sequence)
    return Dataset(name, x, found.y, x_test, found.y_test, *rest)


def _halves(name: str, given: Any) -> tuple[Half, Half]:
    """Training and test examples."""
    if isinstance(given, Mapping) and {"train", "test"} <= set(given):
        return _half(name, given["train"]), _half(name, given["test"])
    if _is_quartet(given):
        x, y, x_test, y_test = given
        _check_order(name, given)
        return (x, y), (x_test, y_test)
    if isinstance(given, tuple) and len(given) == 2 and not any(map(_is_array, given)):
        return _half(name, given[0]), _half(name, given[1])
    raise DataError(f"{name}: {_advice(given)}")


def _half(name: str, given: Any) -> Half:
    """The inputs and targets of one part of the data."""
    if isinstance(given, Dataset):
        return given.x, given.y
    if isinstance(given, tuple | list) and len(given) == 2 and not mapped.is_mapped(given[0]):
        return given[0], given[1]
    found = mapped.half(name, given)
    if found is None:
        raise DataError(f"{name}: {_advice(given)}")
    return found


def _by_device(name: str, sets: Sequence[Any], test: Half | None) -> Dataset:
    """One data set per device: device i is user i.

    test: of them all, if they have none.
    """
    if not sets:
        raise DataError(f"{name}: the list of data sets is empty, expected one for each device")
    if test is not None:
        parts = [_half(f"{name}[{i}]", one) for i, one in enumerate(sets)]
    else:
        whole = [_whole(f"{name}[{i}]", one) for i, one in enumerate(sets)]
        parts = [train for train, _ in whole]
        test = _stacked(name, [half for _, half in whole])
    users = np.repeat(np.arange(len(parts)), [len(y) for _, y in parts])
    return replace(_joined(name, _stacked(name, parts), test, users), by_device=True)


def _whole(name: str, given: Any) -> tuple[Half, Half]:
    """Both halves of one device's data set; says of a half alone that tests are missing."""
    if isinstance(given, Dataset):
        return (given.x, given.y), (given.x_test, given.y_test)
    if isinstance(given, tuple | list) and (_is_quartet(given) or len(given) == 2):
        if _is_quartet(given) or not any(map(_is_array, given)):
            return _halves(name, given if isinstance(given, tuple) else tuple(given))
        given = "(x, y)"
    kind = given if isinstance(given, str) else type(given).__name__
    raise DataError(
        f"{name}: a list is one data set per device, and this {kind} has no test examples: write "
        "([first, second, ...], test), or of one training and one test set a tuple (train, test)"
    )


def _stacked(name: str, halves: list[Half]) -> Half:
    """The examples of several halves, one after the other."""
    inputs, outputs = zip(*halves, strict=True)
    if not all(isinstance(part, Rows) for part in inputs):
        return _cat(name, "x", inputs), _cat(name, "y", outputs)
    x = mapped.chained(name, inputs)
    if all(isinstance(part, Rows) for part in outputs):
        return x, replace(x, targets=True)
    return x, _cat(name, "y", outputs)


def _cat(name: str, field: str, parts: Sequence[Any]) -> Any:
    try:
        return np.concatenate([_array(name, field, part) for part in parts])
    except ValueError as error:
        shapes = ", ".join(str(np.shape(part)) for part in parts[:4])
        raise DataError(
            f"{name}: {field} has the shapes {shapes} in the data sets of the list, expected "
            "examples of one shape"
        ) from error


def _array(name: str, field: str, part: Any) -> np.ndarray:
    if isinstance(part, Rows):
        raise DataError(
            f"{name}: some data sets of the list are in memory and others are read as they are "
            "needed, expected one kind; torch.utils.data.TensorDataset holds one in memory"
        )
    tensor: Tensor | None = part if hasattr(part, "detach") else None
    return np.asarray(part) if tensor is None else tensor.detach().cpu().numpy()


def _check_order(name: str, given: Sequence[Any]) -> None:
    """Finds out four arrays in the order in which scikit-learn's train_test_split gives them."""
    a, b, c, d = (len(part) if hasattr(part, "__len__") else -1 for part in given)
    if a != b and a == c and b == d:
        raise DataError(
            f"{name}: four arrays with {a}, {b}, {c} and {d} examples, expected (x, y, x_test, "
            "y_test); train_test_split gives (x, x_test, y, y_test), so exchange the two in the "
            "middle"
        )


def _is_array(thing: Any) -> bool:
    """Whether this is an array by itself, and no data set or tuple of arrays."""
    mine = isinstance(thing, Dataset | Rows) or mapped.is_mapped(thing)
    return hasattr(thing, "shape") and not mine


def _is_quartet(given: Any) -> bool:
    """Whether these are x, y, x_test and y_test."""
    if not isinstance(given, tuple | list) or len(given) != 4:
        return False
    return all(_is_array(part) or _is_numbers(part) for part in given)


def _is_numbers(thing: Any) -> bool:
    """Whether this is a list of numbers, texts, or lists of these."""
    while isinstance(thing, list | tuple) and len(thing):
        thing = thing[0]
    return isinstance(thing, str | int | float | bool | np.generic)


def _is_list_of_sets(thing: Any) -> bool:
    return isinstance(thing, list) and not _is_numbers(thing) and not _is_quartet(thing)


def _advice(given: Any) -> str:
    """What to write in the place of this."""
    kind = type(given).__name__
    if isinstance(given, type):
        return f"{given.__name__} is a class, expected what it makes: write {given.__name__}(...)"
    if isinstance(given, str | Path):
        return written_for(given)
    if hasattr(given, "columns") and hasattr(given, "iloc"):
        columns = shorten(", ".join(map(str, given.columns)), 200)
        return (
            f"a {kind} does not say which column to predict: write dataset=simfl.table(frame, "
            f'target="COLUMN") (columns: {columns})'
        )
    if is_hugging(given):
        return (
            f"a {kind} alone has no test examples: write dataset=data.train_test_split(0.2), or "
            'dataset={"train": train, "test": test}'
        )
    if mapped.is_mapped(given):
        return (
            f"a {kind} alone has no test examples: write dataset=(train, test), as after train, "
            "test = torch.utils.data.random_split(data, [0.8, 0.2])"
        )
    if _is_array(given) or (isinstance(given, tuple) and any(map(_is_array, given))):
        many = f"{len(given)} arrays" if isinstance(given, tuple) else f"a {kind} alone"
        return f"{many}, expected four: write dataset=(x, y, x_test, y_test)"
    if "IterableDataset" in {base.__name__ for base in type(given).__mro__}:
        return (
            f"a {kind} can only be read in its own order, and devices hold parts of it: give a "
            "data set with __len__ and __getitem__"
        )
    return f"a {kind} is no data set: {_TAKEN}"
