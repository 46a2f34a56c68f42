"""Data sets of any type, shape and layout under every trainer: a result or a sentence.

    python tests/learn/trainers/wild_data.py CASES SEED

A process of its own, since what goes wrong in machine code ends the process. Says of each kind of
end how many cases had it; exits with 1 and the case if one had neither result nor sentence.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

import simfl
from simfl.errors import SimflError
from simfl.learn.datasets.base import Dataset

DTYPES = (
    *("bool", "uint8", "int8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "float32", "float64", "longdouble", "complex64", ">f4", ">i8", "O", "U2"),
)
SHAPES: tuple[tuple[int, ...], ...] = ((3,), (16,), (1,), (2, 3), (1, 8, 8), (1, 8, 8), (), (0,))
LABELS: tuple[tuple[int, ...], ...] = ((), (), (), (), (), (), (1,), (1,), (2,), (3, 3))
TRAINERS = ("auto", "one-by-one", "batched", "compiled")


def looked_up(dataset: Dataset) -> nn.Module:
    """For tokens: the mean of their vectors."""
    return nn.Sequential(nn.Embedding(16, 4), Mean(), nn.Linear(4, dataset.classes))


class Mean(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1, -2).mean(1)


def normed(dataset: Dataset) -> nn.Module:
    """Whose training mixes examples, over features of any shape."""
    inputs = int(np.prod(dataset.x.shape[1:]))
    layers = nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.Linear(8, dataset.classes)
    return nn.Sequential(nn.Flatten(), *layers)


def broad(dataset: Dataset) -> nn.Module:
    inputs = int(np.prod(dataset.x.shape[1:]))
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, 16))


DENSE = ("softmax", {"kind": "mlp", "hidden": [4]}, broad, normed)
MODELS = (*DENSE, *DENSE, "cnn", looked_up, "char-lstm")


def draw(rng: np.random.Generator) -> dict[str, Any]:
    """A case: what it is made of, mostly right."""
    x, y = (str(rng.choice(DTYPES)) for _ in range(2))
    return {
        "x": "float32" if rng.random() < 0.4 else x,
        "y": str(rng.choice(DTYPES[:9])) if rng.random() < 0.8 else y,
        "shape": SHAPES[rng.integers(len(SHAPES))],
        "labels": LABELS[rng.integers(len(LABELS))],
        "layout": str(rng.choice(["C", "F", "reversed", "tensor", "transposed", "list"])),
        "sequence": bool(rng.random() < 0.1),
        "model": MODELS[rng.integers(len(MODELS))],
        "trainer": str(rng.choice(TRAINERS)),
        "batch_size": int(rng.integers(1, 6)),
        "drop_last": bool(rng.random() < 0.3),
        "examples": int(rng.integers(8, 20)),
    }


def array(case: dict[str, Any], dtype: str, shape: tuple[int, ...], top: int) -> Any:
    """Whole numbers from 0 to top - 1 in this type, shape and layout."""
    values = (np.arange(np.prod(shape, dtype=int)) * 7 % top).reshape(shape).astype(dtype)
    layout = case["layout"]
    if layout == "F":
        return np.asfortranarray(values)
    if layout == "list":
        return values.tolist()
    if layout == "reversed" and values.ndim:
        return values[::-1]
    if layout in ("tensor", "transposed") and values.dtype.kind in "biufc":
        whole = values.astype(values.dtype.newbyteorder("="))
        if whole.dtype.itemsize <= 8:
            made = torch.from_numpy(whole)
            return made.mT.contiguous().mT if layout == "transposed" and made.ndim > 1 else made
    return values


def dataset_of(case: dict[str, Any]) -> Callable[..., Dataset]:
    n = case["examples"]

    def made(source: Any, rng: Any) -> Dataset:
        x, x_test = (array(case, case["x"], (k, *case["shape"]), 16) for k in (n, 6))
        y, y_test = (array(case, case["y"], (k, *case["labels"]), 3) for k in (n, 6))
        return Dataset("wild", x, y, x_test, y_test, 16, sequence=case["sequence"])

    return made


def end_of(case: dict[str, Any]) -> str:
    """ "result" or "sentence"; whatever else is raised passes."""
    names = ("model", "trainer", "batch_size", "drop_last")
    table = {
        "fleet": {"group": [{"compute": {"kind": "constant", "s": 1.0}, "count": 3}]},
        "learning": {"dataset": dataset_of(case), **{name: case[name] for name in names}},
        "strategy": {"kind": "fedavg", "cohort": 3},
        "stop": {"versions": 1},
    }
    try:
        result = simfl.run(table)
    except SimflError as error:
        said = str(error)
        if "\n" in said or "a bug" in said:
            raise AssertionError(f"no sentence: {said}") from error
        return "sentence"
    assert np.isfinite(result.evaluations.loss).all()
    return "result"


def main(cases: int, seed: int) -> int:
    rng, ends = np.random.default_rng(seed), Counter[str]()
    for _ in range(cases):
        case = draw(rng)
        print(case, flush=True)  # the last one is the culprit, should the process die
        try:
            ends[f"{end_of(case)} {case['trainer']}"] += 1
        except Exception as error:
            print(f"neither result nor sentence: {type(error).__name__}: {error}")
            return 1
    print(dict(ends))
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
