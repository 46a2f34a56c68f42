"""Images in folders, one folder for each class.

    pictures/train/cat/1.png      or      pictures/cat/1.png
    pictures/test/cat/2.png               pictures/dog/2.png

They are float32 from 0 to 1 (the transform "normalise" centres them), and are kept in memory where
they fit into 256 MiB; else they are read as they are needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simfl.errors import DataError, first_line
from simfl.lazy import torch
from simfl.learn.datasets.base import DataDir, Dataset
from simfl.learn.datasets.rows import Rows, Source
from simfl.units import Count, Fraction

if TYPE_CHECKING:
    from torch import Tensor

_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_KEPT_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Images:
    """A folder of images.

    size: of a side, to which they are scaled.
    gray: one channel.
    test_share: of each class, drawn, unless there are folders `train` and `test`.
    """

    path: str
    size: Count | None = None
    gray: bool = False
    test_share: Fraction = 0.2

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Dataset:
        root = source.file(self.path)
        if (root / "train").is_dir() and (root / "test").is_dir():
            train, test = _listed(root / "train"), _listed(root / "test")
        else:
            train, test = _divided(root, _listed(root), self.test_share, rng)
        names = sorted({label for _, label in train})
        strange = sorted({label for _, label in test} - set(names))
        if strange:
            raise DataError(f"{root}: the class {strange[0]!r} has test images and no others")
        (x, y), (x_test, y_test) = (self._half(root, part, names) for part in (train, test))
        return Dataset(root.name, x, y, x_test, y_test, len(names))

    def _half(self, root: Path, part: list[tuple[Path, str]], names: list[str]) -> tuple[Any, Any]:
        code = {name: i for i, name in enumerate(names)}
        y = [code[label] for _, label in part]
        pictures = Pictures(tuple(path for path, _ in part), self.size, self.gray)
        x = Rows(Source(root.name, pictures, partial(_stacked)))
        whole = len(part) * x[:1].nbytes <= _KEPT_BYTES
        return (torch.cat(list(x.split(256))) if whole else x), y


@dataclass(frozen=True)
class Pictures:
    """Image files as a map-style data set of (channels, height, width) values from 0 to 1."""

    paths: tuple[Path, ...]
    size: int | None
    gray: bool

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, i: int) -> Tensor:
        from PIL import Image

        path = self.paths[i]
        try:
            with Image.open(path) as image:
                shown = image.convert("L" if self.gray else "RGB")
                if self.size is not None:
                    shown = shown.resize((self.size, self.size), Image.Resampling.BILINEAR)
                pixels = np.array(shown, np.float32) / 255
        except Exception as error:  # whatever Pillow raises of a damaged file
            raise DataError(f"{path}: not an image ({first_line(error)})") from error
        return torch.from_numpy(np.atleast_3d(pixels).transpose(2, 0, 1).copy())


def _stacked(images: list[Tensor]) -> tuple[Tensor, Tensor]:
    shapes = {tuple(image.shape[1:]) for image in images}
    if len(shapes) > 1:
        raise DataError(
            f"images have the sizes {', '.join(map(str, sorted(shapes)[:3]))}, expected one: give "
            "`size`, to which all are scaled"
        )
    return torch.stack(images), torch.zeros(len(images), dtype=torch.int64)


def _listed(root: Path) -> list[tuple[Path, str]]:
    """Images and their class, in alphabetical order."""
    found = [
        (path, folder.name)
        for folder in sorted(root.iterdir() if root.is_dir() else ())
        if folder.is_dir()
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in _SUFFIXES
    ]
    if not found:
        raise DataError(f"{root}: no images, expected {root / 'CLASS' / 'NAME.png'}")
    return found


def _divided(
    root: Path, images: list[tuple[Path, str]], share: float, rng: np.random.Generator
) -> tuple[list[tuple[Path, str]], list[tuple[Path, str]]]:
    """Training images and a share of each class to test."""
    labels = np.array([label for _, label in images])
    tested = np.zeros(len(images), bool)
    for label in np.unique(labels):
        mine = np.flatnonzero(labels == label)
        tested[rng.permutation(mine)[: int(share * len(mine))]] = True
    if not tested.any() or tested.all():
        raise DataError(
            f"{root}: test_share = {share} of its {len(images)} images leaves {int(tested.sum())} "
            "to test, expected some, and some to train on"
        )
    train = [one for one, held in zip(images, tested, strict=True) if not held]
    return train, [one for one, held in zip(images, tested, strict=True) if held]
