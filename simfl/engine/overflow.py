"""Models that wait lie on disk where they take more memory than a run may have for them.

A run holds a model for each version from which a task in flight began, and one for each update
that waits for the strategy's step. Those that do not fit are written to a file in the run folder
and mapped into memory: those that hold them see the same numbers. A file loses its name at once,
so that it ends with its model, however the run ends.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Sequence
from math import inf
from pathlib import Path
from tempfile import NamedTemporaryFile

import torch
from torch import Tensor

from simfl.engine import footprint

#: Bytes of a model from which on it is worth a file, and a mapping, of which Linux gives a process
#: 65,530.
LEAST_BYTES = 2**20


class Overflow:
    """Moves models to disk when those that wait take more than `budget` bytes of memory.

    folder: where the files are; until a run has one, nothing is moved.
    """

    def __init__(self) -> None:
        self.budget, self.folder = inf, Path()
        self.held_bytes = 0  #: in memory, of models that wait
        self.moved_bytes = 0  #: to disk, so far
        self._known: dict[int, weakref.ref[Tensor]] = {}
        self._newest: dict[str, list[weakref.ref[Tensor]]] = {}

    def begin(self, folder: Path, memory_gb: float | None) -> None:
        """The run has a folder.

        memory_gb: that it may fill in all, in GB; by default a share of what the machine has.
        """
        self.folder, self.budget = folder, budget_of(memory_gb)

    def wait(self, kind: str, models: Sequence[Tensor]) -> None:
        """These models wait from now on; those that were the newest of their kind had work to do.

        Raises OSError if the disk is full.
        """
        newest = [flat for ref in self._newest.get(kind, ()) if (flat := ref()) is not None]
        if len(newest) == len(models) and all(map(_is, newest, models)):
            return
        self._newest[kind] = [weakref.ref(flat) for flat in models]
        for flat in newest:
            self._settle(flat)

    def _settle(self, flat: Tensor) -> None:
        """In memory if there is room, else on disk, for all that hold the tensor."""
        nbytes = flat.nbytes
        known = self._known.get(id(flat))
        if nbytes < LEAST_BYTES or (known is not None and known() is flat):
            return
        if self.held_bytes + nbytes > self.budget:
            flat.data = on_disk(flat, self.folder)
            self.moved_bytes += nbytes
            nbytes = 0
        self.held_bytes += nbytes
        self._known[id(flat)] = weakref.ref(flat)
        weakref.finalize(flat, self._forget, id(flat), nbytes).atexit = False

    def _forget(self, key: int, nbytes: int) -> None:
        self._known.pop(key, None)
        self.held_bytes -= nbytes


def _is(one: Tensor, other: Tensor) -> bool:
    return one is other


def on_disk(flat: Tensor, folder: Path) -> Tensor:
    """The same numbers in a file without a name, read when they are looked at."""
    with NamedTemporaryFile(dir=folder) as file:
        flat.contiguous().numpy().tofile(file)
        file.flush()
        return torch.from_file(file.name, shared=True, size=flat.numel(), dtype=flat.dtype)


def budget_of(memory_gb: float | None) -> float:
    """Bytes that models which wait may take, of the GB that a run may fill in all."""
    if os.name != "posix":
        return inf  # elsewhere a file in use keeps its name
    whole = footprint.allowed_bytes() if memory_gb is None else memory_gb * 1e9
    return max(0.0, whole - footprint.loaded_bytes() - footprint.LATER_BYTES)
