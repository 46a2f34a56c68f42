"""Data sets in memory, and where their files are looked for."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simfl.errors import DataError, ScenarioError, shorten
from simfl.lazy import torch
from simfl.learn.datasets import intake
from simfl.learn.datasets.rows import is_rows
from simfl.registry import Registry

#: Environment variable that names the folder of data sets.
DATA_DIR = "SIMFL_DATA_DIR"


class NotPaths(Registry):
    """Says what to write where a path stands in the place of a name."""

    def target(self, name: str) -> str:
        suffix = Path(name).suffix.lower()
        if ":" not in name and (suffix in _TABLES or "/" in name or os.sep in name):
            raise ScenarioError(f"{written_for(name)}")
        return super().target(name)


def written_for(path: str | Path) -> str:
    """What to write for a data set that lies at a path."""
    text = shorten(str(path))
    where = Path(path)
    kind = "table"
    if where.suffix.lower() == ".txt":
        kind = "text"
    elif not where.suffix:
        kind = "images"
    target = ', "target": "COLUMN"' * (kind == "table")
    return (
        f'{text!r} is a path: write dataset={{"kind": "{kind}", "path": "{text}"{target}}} (kinds '
        "for files: table, images, text, huggingface)"
    )


_TABLES = (".csv", ".tsv", ".parquet", ".pq", ".txt", ".gz")

#: Each entry is a frozen dataclass of options, called with (DataDir, Generator) -> Dataset.
DATASETS = NotPaths(
    "data set",
    "simfl.datasets",
    {
        "cifar10": "simfl.learn.datasets.images:Cifar10",
        "cifar100": "simfl.learn.datasets.images:Cifar100",
        "digits": "simfl.learn.datasets.images:Digits",
        "emnist": "simfl.learn.datasets.images:Emnist",
        "fashion-mnist": "simfl.learn.datasets.images:FashionMnist",
        "femnist": "simfl.learn.datasets.images:Femnist",
        "huggingface": "simfl.learn.datasets.hugging:HuggingFace",
        "images": "simfl.learn.datasets.folders:Images",
        "mnist": "simfl.learn.datasets.images:Mnist",
        "shakespeare": "simfl.learn.datasets.text:Shakespeare",
        "synthetic": "simfl.learn.datasets.synthetic:Synthetic",
        "synthetic-types": "simfl.learn.datasets.synthetic:SyntheticTypes",
        "table": "simfl.learn.datasets.frames:Table",
        "text": "simfl.learn.datasets.text:Text",
    },
)


#: (b, ...) inputs and what to draw from -> the (b, ...) inputs that are trained on.
Transform = Callable[["torch.Tensor", np.random.Generator], "torch.Tensor"]


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test examples, converted where that is safe, and checked to fit together.

    x: (n, ...) float32 features, or int64 tokens.
    y: (n,) int64 labels; with `sequence` (n, T) int64 next tokens; where `classes` is None (n,) or
        (n, k) float32 values, or flags of k labels. Any array of numbers will do: see
        `simfl.learn.datasets.intake`. Examples that are too many for memory are `Rows`, and `batch`
        reads them.
    users: (n,) natural owner of each training example, where the data has any.
    transforms: what changes training inputs, batch by batch.
    by_device: user i is device i of the fleet.
    Raises DataError, which says of which field what was found and what is expected.
    """

    name: str
    x: torch.Tensor
    y: torch.Tensor
    x_test: torch.Tensor
    y_test: torch.Tensor
    classes: int | None
    users: np.ndarray | None = None
    sequence: bool = False
    transforms: tuple[Transform, ...] = ()
    by_device: bool = False

    def __post_init__(self) -> None:
        self._take_in()
        for part, x, y in (("training", self.x, self.y), ("test", self.x_test, self.y_test)):
            if len(x) != len(y) or not len(x):
                raise DataError(f"{self.name}: {len(x)} {part} inputs but {len(y)} labels")
            if self.classes is None or is_rows(y):
                continue
            if int(y.min()) < 0 or int(y.max()) >= self.classes:
                raise DataError(
                    f"{self.name}: {part} labels run from {int(y.min())} to {int(y.max())}, "
                    f"expected 0 to {self.classes - 1}"
                )
        self._check_alike("x", self.x, self.x_test)
        if self.classes is None:
            self._check_alike("y", self.y, self.y_test)

    def _take_in(self) -> None:
        """Each field as what the rest of simfl may rely on."""
        made: dict[str, Any] = {"classes": self._class_count()}
        for field in ("x", "x_test"):
            given = getattr(self, field)
            if not is_rows(given):
                made[field] = intake.features(self.name, field, given, tokens=self.sequence)
        for field in ("y", "y_test"):
            given = getattr(self, field)
            if not is_rows(given):
                made[field] = self._targets(field, given)
        if self.users is not None:
            made["users"] = intake.users(self.name, self.users, len(made.get("x", self.x)))
        for field, value in made.items():
            object.__setattr__(self, field, value)

    def _class_count(self) -> int | None:
        classes = self.classes
        if classes is None:
            return None
        if isinstance(classes, bool) or not isinstance(classes, int | np.integer) or classes < 1:
            raise DataError(
                f"{self.name}: classes = {classes!r}, expected a whole number from 1, or None if y "
                "holds values"
            )
        return int(classes)

    def _targets(self, field: str, given: Any) -> torch.Tensor:
        if self.classes is None:
            return intake.values(self.name, field, given)
        return intake.labels(self.name, field, given, sequence=self.sequence)

    def _check_alike(self, field: str, train: torch.Tensor, test: torch.Tensor) -> None:
        """Raises DataError unless examples have the same shape and type in both parts."""
        if is_rows(train) or is_rows(test):
            return  # a collate function may pad each batch to a length of its own
        like, other = tuple(train.shape[1:]), tuple(test.shape[1:])
        if like != other or train.dtype != test.dtype:
            raise DataError(
                f"{self.name}: an example has shape {like} and type {train.dtype} in {field}, but "
                f"{other} and {test.dtype} in {field}_test; expected the same in both"
            )

    def __len__(self) -> int:
        """Number of training examples."""
        return len(self.x)

    def batch(
        self, indices: np.ndarray, generator: np.random.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(b, ...) training inputs, transformed, and their (b, ...) targets.

        indices: (b,) rows of the data set. generator: what transforms and items that are random
        draw from; without one, no transform is applied. Raises DataError.
        """
        lazy = is_rows(self.x)
        seed = int(generator.integers(2**63)) if lazy and generator is not None else 0
        x = self.x.take(indices, seed) if is_rows(self.x) else self.x[_tensor(indices)]
        y = self.y.take(indices, seed) if is_rows(self.y) else self.y[_tensor(indices)]
        if generator is not None:
            for transform in self.transforms:
                x = transform(x, generator)
        return x, y

    @property
    def batchwise(self) -> str | None:
        """Why examples must be asked for with `batch`; None if x and y may be taken as they are."""
        if self.transforms:
            return "the option `transforms` changes inputs from step to step"
        return "its examples are read as they are needed" if is_rows(self.x) else None

    @property
    def outputs(self) -> int:
        """Numbers that a model gives for each example: one for each class, or for each value."""
        return math.prod(self.y.shape[1:]) if self.classes is None else self.classes

    @property
    def labels(self) -> np.ndarray:
        """(n,) one label for each training example; DataError where they have many, or none."""
        if self.sequence or self.classes is None:
            raise DataError(
                f"{self.name} has no single label per example, so it cannot be partitioned by "
                "class; use the partition 'user', 'iid' or 'quantity'"
            )
        return self.y.numpy()


def _tensor(indices: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(indices, np.int64))


@dataclass(frozen=True)
class Remote:
    """A published file and the MD5 that its bytes must have.

    member: the file of an archive.
    """

    url: str
    md5: str
    member: str = ""


@dataclass(frozen=True)
class DataDir:
    """Finds files: in `path`, else in the folder that SIMFL_DATA_DIR names, else by download."""

    path: Path | None = None
    beside: Path | None = None  #: folder of the scenario

    def file(self, name: str) -> Path:
        """A file or folder of the user's; DataError says where it was looked for.

        Beside the scenario, in the folder of data sets, and in the current folder.
        """
        places = [place for place in (self.beside, self.root, Path()) if place is not None]
        found = next((place / name for place in places if (place / name).exists()), None)
        if found is None:
            where = ", ".join(dict.fromkeys(str((place / name).absolute()) for place in places))
            raise DataError(f"{shorten(name)!r} is not there: looked for {where}")
        return found

    @property
    def root(self) -> Path | None:
        """The local folder, if one was given."""
        given = self.path or os.environ.get(DATA_DIR)
        return Path(given) if given else None

    def find(self, folder: str, names: Sequence[str]) -> Path | None:
        """The first of these files that is there."""
        if self.root is None:
            return None
        candidates = [self.root / folder / name for name in names]
        return next((path for path in candidates if path.is_file()), None)

    def need(self, folder: str, names: Sequence[str], remote: Remote | None = None) -> Path:
        """The first of these files, downloaded if need be; DataError says where it should lie."""
        found = self.find(folder, names)
        if found:
            return found
        reason = ""
        if remote:
            try:
                return _download(folder, names[0], remote)
            except Exception as error:  # offline, refused or altered: all the same to the user
                reason = f", and its download failed ({type(error).__name__}: {error})"
        where = (self.root or Path("DATA_DIR")) / folder / names[0]
        raise DataError(
            f"data file not found: expected {where}{reason}; put it there and name the folder that "
            f"holds {folder!r} with data_dir or the environment variable {DATA_DIR}"
        )


def _download(folder: str, name: str, remote: Remote) -> Path:
    """The file in the user's cache, fetched at first use and checked against its MD5."""
    import pooch

    cache = Path(pooch.os_cache("simfl")) / folder
    if remote.member:
        unpack = pooch.Unzip if remote.url.endswith(".zip") else pooch.Untar
        kind = unpack(members=[remote.member])
        found = pooch.retrieve(remote.url, f"md5:{remote.md5}", path=cache, processor=kind)
        return Path(next(path for path in found if path.endswith(Path(remote.member).name)))
    return Path(pooch.retrieve(remote.url, f"md5:{remote.md5}", fname=name, path=cache))
