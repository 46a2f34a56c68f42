"""A data set that was given as a Python object."""

from __future__ import annotations

from typing import Any

import numpy as np

from simfl.fingerprint import array_digest, digest
from simfl.learn.datasets.as_dataset import as_dataset
from simfl.learn.datasets.base import DataDir, Dataset
from simfl.learn.given import called, digest_of, is_factory, kind_of, make
from simfl.registry import OBJECT


class GivenData:
    """Makes the data set of a run from a Dataset, or a function that gives what `as_dataset` takes.

    A function is called with the folder of data sets and a generator if it asks for them.
    """

    def __init__(self, thing: Any, **options: Any) -> None:
        self.thing, self.options = thing, options
        self._digest = data_digest(thing) if isinstance(thing, Dataset) else digest_of(thing)

    @property
    def kind(self) -> str:
        """How messages call it."""
        return self.thing.name if isinstance(self.thing, Dataset) else called(self.thing)

    @property
    def function(self) -> Any:
        """What it is written in."""
        return type(self.thing) if isinstance(self.thing, Dataset) else self.thing

    def __call__(self, source: DataDir, rng: np.random.Generator) -> Any:
        if isinstance(self.thing, Dataset):
            return self.thing
        offered = {"source": source, "rng": rng}
        return as_dataset(make("dataset", self.thing, self.options, offered))

    def described(self) -> dict[str, Any]:
        """What a scenario's file says of it."""
        kind = kind_of(self.thing)
        if not kind.startswith(OBJECT):
            return {"kind": kind, **self.options}
        if isinstance(self.thing, Dataset):
            examples = {"examples": len(self.thing), "test_examples": len(self.thing.y_test)}
            kind = f"{OBJECT}{self.thing.name}"
            return {"kind": kind, **examples, "digest": self._digest}
        return {"kind": kind, **self.options, "digest": self._digest}


def as_part(thing: Any, **options: Any) -> Any:
    """What makes the data set, from whatever was given for one."""
    if isinstance(thing, Dataset):
        return GivenData(thing)
    if is_factory(thing):
        return GivenData(thing, **options)
    return thing if callable(thing) else GivenData(as_dataset(thing))


def data_digest(dataset: Dataset) -> str:
    """Digest of a Dataset: its tensors, natural owners and number of classes.

    Of examples that are read as they are needed it knows the class of what holds them, their
    number, and a few of them, evenly spread: a change elsewhere among them is not seen.
    """
    parts = (dataset.x, dataset.y, dataset.x_test, dataset.y_test)
    later = [str(part) for part in parts if hasattr(part, "sample")]
    arrays = [part.sample() if hasattr(part, "sample") else part.numpy() for part in parts]
    users = [] if dataset.users is None else [np.asarray(dataset.users)]
    facts = (str(dataset.classes), str(dataset.sequence), *later)
    return digest(array_digest(*arrays, *users), *facts)
