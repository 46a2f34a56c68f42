"""Random numbers of processes: one stream for each process and purpose, kept by checkpoints."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any

import numpy as np

from simfl.streams import Streams


class Draws:
    """The generators of a run's processes."""

    __snapshot__ = ("states",)  #: kept by checkpoints

    def __init__(self, streams: Streams) -> None:
        self._streams = streams
        self._generators: dict[tuple[str, str], np.random.Generator] = {}

    def of(self, process: str, purpose: str) -> np.random.Generator:
        """The process's generator for a purpose, where it stopped."""
        found = self._generators.get((process, purpose))
        if found is None:
            found = self._generators[process, purpose] = self._new(process, purpose)
        return found

    def _new(self, process: str, purpose: str) -> np.random.Generator:
        words = blake2b(f"{process}\0{purpose}".encode(), digest_size=8).digest()
        return self._streams.generator("process", int.from_bytes(words, "little", signed=True))

    @property
    def states(self) -> dict[tuple[str, str], dict[str, Any]]:
        """Where each generator stands."""
        return {key: dict(rng.bit_generator.state) for key, rng in self._generators.items()}

    @states.setter
    def states(self, states: dict[tuple[str, str], dict[str, Any]]) -> None:
        for key, state in states.items():
            self.of(*key).bit_generator.state = state
