"""Tables: one row an example, columns of numbers to learn from, and the column to predict.

    { kind = "table", path = "houses.csv", target = "price", user = "city", test_share = 0.2 }

Columns of numbers and flags become float32, less the mean of the training rows and divided by their
deviation; columns of texts become one flag for each text with `one_hot`. The target is a class
where it holds texts, flags or whole numbers, and else a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simfl.errors import DataError, did_you_mean, first_line, shorten
from simfl.learn.datasets import targets
from simfl.learn.datasets.base import DataDir, Dataset
from simfl.units import Fraction

_PARQUET = (".parquet", ".pq")


@dataclass(frozen=True)
class Table:
    """Rows of a CSV or Parquet file; see `table`, which takes a frame.

    path: beside the scenario, in the folder of data sets, or in the current folder. Compressed
    files are read as pandas reads them.
    """

    path: str
    target: str | tuple[str, ...]
    user: str | None = None
    features: tuple[str, ...] = ()
    test_share: Fraction = 0.2
    one_hot: bool = False
    standardise: bool = True
    values: bool = False

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Dataset:
        frame = read(source.file(self.path))
        return _dataset(self.path, frame, self, rng)


def table(
    frame: Any,
    target: str | Sequence[str],
    user: str | None = None,
    *,
    features: Sequence[str] = (),
    test_share: float = 0.2,
    one_hot: bool = False,
    standardise: bool = True,
    values: bool = False,
    seed: int = 0,
) -> Dataset:
    """A pandas frame as a Dataset. Raises DataError.

    frame: one row an example.
    target: the column to predict; several of them are values.
    user: the column that says whose a row is, for the partition "user".
    features: columns to learn from; by default all others.
    test_share: of the rows, of each user's where there are users; which, is drawn with `seed`.
    one_hot: texts become flags.
    standardise: see the module.
    values: a target of whole numbers holds values and no classes.

    >>> import pandas
    >>> frame = pandas.DataFrame({"rooms": range(10), "price": [float(x) for x in range(10)]})
    >>> len(table(frame, target="price")), table(frame, target="price").classes
    (8, None)
    """
    wanted = (target,) if isinstance(target, str) else tuple(target)
    options = Table("", wanted, user, tuple(features), test_share, one_hot, standardise, values)
    return _dataset("table", frame, options, np.random.default_rng(seed))


def read(path: Any) -> Any:
    """The frame of a CSV or Parquet file. Raises DataError."""
    import pandas as pd

    try:
        return pd.read_parquet(path) if path.suffix in _PARQUET else pd.read_csv(path)
    except Exception as error:  # whatever pandas and pyarrow raise of a damaged file
        raise DataError(
            f"{path}: cannot be read as a table ({first_line(error)}); expected CSV with a line of "
            "names, or Parquet"
        ) from error


def _dataset(name: str, frame: Any, options: Table, rng: np.random.Generator) -> Dataset:
    wanted = (options.target,) if isinstance(options.target, str) else options.target
    columns = _columns(name, frame, options, wanted)
    frame = frame.reset_index(drop=True)
    users = None if options.user is None else _codes(name, frame, options.user)
    tested = _tested(name, users, len(frame), options.test_share, rng)
    x = _numbers(name, frame[columns], options.one_hot)
    if options.standardise:
        mean, std = x[~tested].mean(0), x[~tested].std(0)
        x = (x - mean) / np.where(std == 0, 1.0, std)
    y = frame[list(wanted)].to_numpy() if len(wanted) > 1 else frame[wanted[0]]
    _check_filled(name, frame[list(wanted)])
    y = y.astype("float32") if options.values or len(wanted) > 1 else y
    parts = (x[~tested], y[~tested], x[tested], y[tested])
    found = targets.of(name, *parts)
    rest = (found.classes, None if users is None else users[~tested])
    return Dataset(name, parts[0], found.y, parts[2], found.y_test, *rest)


def _columns(name: str, frame: Any, options: Table, wanted: tuple[str, ...]) -> list[str]:
    """The columns to learn from. Raises DataError where one is not there."""
    there = list(frame.columns)
    asked = (*wanted, *options.features, *(() if options.user is None else (options.user,)))
    for column in asked:
        if column not in there:
            raise DataError(
                f"{name}: there is no column {column!r} {did_you_mean(column, map(str, there))}"
            )
    others = [one for one in there if one not in (*wanted, options.user)]
    columns = list(options.features) or others
    leak = [column for column in columns if column in wanted]
    if leak or not columns:
        what = f"{leak[0]!r} is the target" if leak else "there is no column beside the target"
        raise DataError(f"{name}: {what}, expected other columns to learn from")
    return columns


def _numbers(name: str, frame: Any, one_hot: bool) -> np.ndarray:
    """(n, d) float64. Raises DataError, which names the column that is not of numbers."""
    import pandas as pd

    kinds = pd.api.types
    texts = [one for one in frame if not (kinds.is_numeric_dtype(frame[one].dtype))]
    if texts and not one_hot:
        raise DataError(
            f"{name}: the column {texts[0]!r} holds {frame[texts[0]].dtype} and no numbers: set "
            "one_hot = true, or name the columns to learn from in `features`"
        )
    _check_filled(name, frame)
    made: np.ndarray = pd.get_dummies(frame, columns=texts, dtype=float).to_numpy(np.float64)
    return made


def _check_filled(name: str, frame: Any) -> None:
    empty = frame.isna().sum()
    if empty.any():
        column = empty.idxmax()
        raise DataError(
            f"{name}: the column {column!r} has {int(empty[column])} empty cells, expected none: "
            "fill them, drop these rows, or leave the column out of `features`"
        )


def _codes(name: str, frame: Any, column: str) -> np.ndarray:
    _check_filled(name, frame[[column]])
    codes: np.ndarray = np.unique(frame[column].to_numpy().astype(str), return_inverse=True)[1]
    return codes


def _tested(
    name: str, users: np.ndarray | None, n: int, share: float, rng: np.random.Generator
) -> np.ndarray:
    """(n,) bool, which rows are test examples: a share of each user's, rounded down."""
    groups = [np.arange(n)] if users is None else [np.flatnonzero(users == u) for u in set(users)]
    tested = np.zeros(n, bool)
    for group in sorted(groups, key=lambda rows: int(rows[0]) if len(rows) else -1):
        tested[rng.permutation(group)[: int(share * len(group))]] = True
    if tested.all() or not tested.any():
        raise DataError(
            f"{name}: test_share = {shorten(str(share))} of {n} rows leaves "
            f"{int((~tested).sum())} to train on and {int(tested.sum())} to test, expected some of "
            "both"
        )
    return tested
