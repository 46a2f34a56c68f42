"""Images: (n, channels, height, width) float32, standardised per channel.

Mean and standard deviation are those of the training pixels, so that one learning rate suits
all of these data sets and test images are treated exactly as training images are.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np

from simfl.errors import DataError
from simfl.lazy import torch
from simfl.learn.datasets.base import DataDir, Dataset, Remote
from simfl.learn.datasets.formats import read_cifar, read_idx, read_npz

_MNIST = "https://storage.googleapis.com/cvdf-datasets/mnist/"
_FASHION = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
_IDX = (
    ("train-images-idx3-ubyte", 3),
    ("train-labels-idx1-ubyte", 1),
    ("t10k-images-idx3-ubyte", 3),
    ("t10k-labels-idx1-ubyte", 1),
)
_MNIST_MD5 = (
    "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "d53e105ee54ea40749a09fcbcd1e9432",
    "9fb629c4189551a2d022fa330f9573f3",
    "ec29112dd5afa0611ce80d1b7f02629c",
)
_FASHION_MD5 = (
    "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
    "25c81989df183df01b3e8a0aad5dffbe",
    "bef4ecab320f06d8554ea6380940ec79",
    "bb300cfdad3c16e7a12a480ee83cd310",
)
_CIFAR100 = (
    "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    "03b5dce01913d631647c71ecec9e9cb8",
)
_EMNIST = (
    "https://biometrics.nist.gov/cs_links/EMNIST/gzip.zip",
    "58c8d27c78d21e728a6bc7b3cc06412e",
)
_EMNIST_CLASSES = {
    **{"balanced": 47, "bymerge": 47, "byclass": 62},
    **{"letters": 26, "digits": 10, "mnist": 10},
}


def _images(
    name: str,
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    classes: int,
    users: np.ndarray | None = None,
) -> Dataset:
    """A data set of (n, c, h, w) pixels and (n,) labels, standardised."""
    (x, y), (x_test, y_test) = train, test
    mean = x.mean((0, 2, 3), dtype=np.float64, keepdims=True).astype(np.float32)
    std = x.std((0, 2, 3), dtype=np.float64, keepdims=True).astype(np.float32)
    std[std == 0] = 1.0

    def scaled(pixels: np.ndarray) -> torch.Tensor:
        out = pixels.astype(np.float32)
        out -= mean
        out /= std
        return torch.from_numpy(out)

    labels, test_labels = (torch.from_numpy(v.astype(np.int64)) for v in (y, y_test))
    return Dataset(name, scaled(x), labels, scaled(x_test), test_labels, classes, users)


@dataclass(frozen=True)
class Digits:
    """1797 real handwritten digits, 8x8 (UCI Optical Recognition; E. Alpaydin, C. Kaynak, 1998).

    They come with scikit-learn, so nothing is read or downloaded. Every fifth example of each
    class, in the published order, is a test example: 1442 to train on and 355 to test.
    """

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Dataset:
        pixels, labels = _digits()
        held = np.zeros(len(labels), bool)
        for label in range(10):
            held[np.flatnonzero(labels == label)[4::5]] = True
        x = pixels.reshape(-1, 1, 8, 8)
        return _images("digits", (x[~held], labels[~held]), (x[held], labels[held]), 10)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    """(1797, 64) pixels and (1797,) labels from scikit-learn's file.

    `sklearn.datasets.load_digits` reads the same numbers, after a second of imports.
    """
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise DataError("digits: scikit-learn, which holds them, is not installed")
    table = np.loadtxt(
        Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz", "f8", delimiter=","
    )
    return table[:, :-1], table[:, -1].astype(int)


def _idx(name: str, source: DataDir, base: str, md5s: tuple[str, ...]) -> Dataset:
    """Four IDX files in the folder `name`, gzipped or not."""
    parts = []
    for (stem, ndim), md5 in zip(_IDX, md5s, strict=True):
        path = source.need(name, [f"{stem}.gz", stem], Remote(f"{base}{stem}.gz", md5))
        parts.append(read_idx(path, ndim))
    x, y, x_test, y_test = parts
    return _images(name, (x[:, None], y), (x_test[:, None], y_test), 10)


@dataclass(frozen=True)
class Mnist:
    """60 000 and 10 000 handwritten digits, 28x28 (LeCun, Bottou, Bengio, Haffner, 1998)."""

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Dataset:
        return _idx("mnist", source, _MNIST, _MNIST_MD5)


@dataclass(frozen=True)
class FashionMnist:
    """60 000 and 10 000 pictures of clothes, 28x28 (Xiao, Rasul, Vollgraf, arXiv:1708.07747)."""

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Dataset:
        return _idx("fashion-mnist", source, _FASHION, _FASHION_MD5)


@dataclass(frozen=True)
class Cifar10:
    """Colour photographs of ten things, 3x32x32 (A. Krizhevsky, 2009), in the binary version.

    Reads those of the five training batches that are there, at least one, and the test batch;
    each may be `.bin` or `.bin.xz`, in `cifar-10/cifar-10-batches-bin/` or in `cifar-10/`.
    """

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Dataset:
        names = [f"data_batch_{i}" for i in range(1, 6)]
        found = [source.find("cifar-10", _spellings(name)) for name in names]
        paths = [p for p in found if p] or [source.need("cifar-10", _spellings(names[0]))]
        batches = [read_cifar(path) for path in paths]
        x_test, y_test = read_cifar(source.need("cifar-10", _spellings("test_batch")))
        x, y = (np.concatenate(arrays) for arrays in zip(*batches, strict=True))
        return _images("cifar10", (x, y[:, 0]), (x_test, y_test[:, 0]), 10)


def _spellings(batch: str, folder: str = "cifar-10-batches-bin/") -> list[str]:
    return [f"{d}{batch}.bin{e}" for d in (folder, "") for e in ("", ".xz")]


@dataclass(frozen=True)
class Cifar100:
    """Colour photographs of a hundred things, 3x32x32 (A. Krizhevsky, 2009): 50 000 and 10 000.

    coarse: the twenty superclasses. Reads `train.bin` and `test.bin` of the binary version, or
    `.bin.xz`, in `cifar-100/cifar-100-binary/` or in `cifar-100/`.
    """

    coarse: bool = False

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Dataset:
        halves = []
        for part in ("train", "test"):
            remote = Remote(*_CIFAR100, member=f"cifar-100-binary/{part}.bin")
            spellings = _spellings(part, "cifar-100-binary/")
            x, y = read_cifar(source.need("cifar-100", spellings, remote), labels=2)
            halves.append((x, y[:, 0 if self.coarse else 1]))
        return _images("cifar100", halves[0], halves[1], 20 if self.coarse else 100)


@dataclass(frozen=True)
class Emnist:
    """Handwritten characters, 28x28 (Cohen, Afshar, Tapson, van Schaik, arXiv:1702.05373).

    split: "balanced" and "bymerge" have 47 classes, "byclass" 62, "letters" 26, "digits" and
    "mnist" 10. Reads `emnist/emnist-SPLIT-train-images-idx3-ubyte` and its three companions,
    gzipped or not, and turns the images, which lie on their side there.
    """

    split: Literal["balanced", "byclass", "bymerge", "letters", "digits", "mnist"] = "balanced"

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Dataset:
        halves = []
        for part in ("train", "test"):
            stem = f"emnist-{self.split}-{part}"
            x = self._read(source, f"{stem}-images-idx3-ubyte", 3)
            y = self._read(source, f"{stem}-labels-idx1-ubyte", 1)
            first = 1 if self.split == "letters" else 0
            halves.append((x.transpose(0, 2, 1)[:, None], y - first))
        return _images("emnist", halves[0], halves[1], _EMNIST_CLASSES[self.split])

    def _read(self, source: DataDir, stem: str, ndim: int) -> np.ndarray:
        remote = Remote(*_EMNIST, member=f"gzip/{stem}.gz")
        return read_idx(source.need("emnist", [f"{stem}.gz", stem], remote), ndim)


@dataclass(frozen=True)
class Femnist:
    """Handwritten characters by writer, 28x28, 62 classes (Caldas et al., arXiv:1812.01097).

    Reads `femnist-writers/femnist_writers.npz`: x_*, y_* and writer_* for train and test, with
    white (255) paper. Pixels are inverted, so that ink is high as it is in MNIST.
    """

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Dataset:
        path = source.need("femnist-writers", ["femnist_writers.npz"])
        x, y, users, x_test, y_test = read_npz(
            path, ["x_train", "y_train", "writer_train", "x_test", "y_test"]
        )
        if x.ndim != 3 or x.dtype != np.uint8 or x_test.shape[1:] != x.shape[1:]:
            raise DataError(f"{path}: x_train is {x.dtype} {x.shape}, expected uint8 (n, 28, 28)")
        train, test = (255 - x[:, None], y), (255 - x_test[:, None], y_test)
        return _images("femnist", train, test, 62, users.astype(np.int64))
