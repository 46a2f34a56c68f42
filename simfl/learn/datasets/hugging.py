"""Data sets of Hugging Face's library `datasets`, the extra `simfl[huggingface]`.

    simfl.run(scenario, dataset=datasets.load_from_disk("reviews"))
    { kind = "huggingface", path = "reviews", x = "pixels", y = "label" }

Examples are read as they are needed. y is the column of classes if there is one, or that called
`label` or `y`, and x the only other column, unless they are named. Images become float32
(channels, height, width) from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from simfl.errors import DataError, did_you_mean, first_line
from simfl.learn.datasets.base import DataDir, Dataset


@dataclass(frozen=True)
class HuggingFace:
    """What `save_to_disk` wrote, with the splits `train` and `test`.

    user: a column of owners.
    """

    path: str
    x: str | None = None
    y: str | None = None
    user: str | None = None
    train: str = "train"
    test: str = "test"

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Dataset:
        from simfl.learn.datasets.as_dataset import as_dataset

        found = loaded(source, self.path)
        parts = [self._split(found, name) for name in (self.train, self.test)]
        users = parts[0][self.user] if self.user is not None else None
        columns = [Columns.of(self.path, part, self.x, self.y, self.user) for part in parts]
        return as_dataset(tuple(columns), self.path, users=users)

    def _split(self, found: Any, name: str) -> Any:
        if not isinstance(found, dict) or name not in found:
            there = list(found) if isinstance(found, dict) else []
            raise DataError(
                f"{self.path}: there is no split {name!r} {did_you_mean(name, there)}; "
                "data.train_test_split(0.2) makes a train and a test split"
            )
        return found[name]


def loaded(source: DataDir, path: str) -> Any:
    """What lies there. Raises DataError."""
    try:
        library = import_module("datasets")
    except ImportError as error:
        raise DataError(
            f"{path}: the library `datasets` is not installed; it comes with simfl[huggingface]"
        ) from error
    where = source.file(path)
    try:
        return library.load_from_disk(str(where))
    except Exception as error:  # whatever the library raises of another folder
        raise DataError(f"{where}: not a folder of save_to_disk ({first_line(error)})") from error


def is_hugging(thing: Any) -> bool:
    """Whether this is a table of the library, which is not loaded for it."""
    kinds = [f"{base.__module__}.{base.__qualname__}" for base in type(thing).__mro__]
    return "datasets.arrow_dataset.Dataset" in kinds


@dataclass(frozen=True)
class Columns:
    """Two columns as a map-style data set of pairs."""

    rows: Any
    x: str
    y: str

    @classmethod
    def of(
        cls, name: str, rows: Any, x: str | None = None, y: str | None = None, *others: str | None
    ) -> Columns:
        """The columns named, or those that can be no others. Raises DataError."""
        features = rows.features
        for column in (x, y):
            if column is not None and column not in features:
                hint = did_you_mean(column, features)
                raise DataError(f"{name}: there is no column {column!r} {hint}")
        labels = [key for key, kind in features.items() if type(kind).__name__ == "ClassLabel"]
        y = y or next(iter(labels or [key for key in ("label", "y") if key in features]), None)
        rest = [key for key in features if key not in (y, *others)]
        x = x or (rest[0] if len(rest) == 1 else None)
        if x is None or y is None:
            raise DataError(
                f"{name}: which of its columns {', '.join(features)} are x and y? Keep two, of "
                'which one is called "label": data.select_columns(["X", "Y"]).rename_column("Y", '
                '"label")'
            )
        if getattr(features[x], "dtype", "") == "string":
            raise DataError(
                f"{name}: the column {x!r} holds texts, expected numbers or tokens: make them with "
                "data.map(tokenizer), and select that column"
            )
        return cls(rows.with_format(None), x, y)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> tuple[np.ndarray, Any]:
        row = self.rows[i]
        return _values(row[self.x]), row[self.y]

    @property
    def targets(self) -> np.ndarray:
        """All of y, without reading x."""
        return np.asarray(self.rows[self.y][:])


def _values(given: Any) -> np.ndarray:
    if hasattr(given, "getbands"):  # an image of Pillow
        pixels = np.atleast_3d(np.array(given, np.float32)) / 255
        return pixels.transpose(2, 0, 1).copy()
    made = np.asarray(given)
    return made.astype(np.float32) if made.dtype.kind == "f" else made
