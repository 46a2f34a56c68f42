"""One seed, many independent random streams, each addressed by what it is for.

A draw depends on (seed, purpose, key) alone and never on what was drawn before, so the k-th
task of device i meets the same jitter, fate and mini-batches under every strategy, and adding
a draw somewhere moves nothing elsewhere. The hash is BLAKE2b (RFC 7693) in keyed mode: the
same on every platform, and cheap enough to be asked once per task.
"""

from __future__ import annotations

import hashlib
import struct
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence

_EIGHT = struct.Struct("<8I")
_ONE = struct.Struct("<I")
_PAIR = struct.Struct("<qq")
_UNIT = 2.0**-32

#: Standard normal quantile of a uniform draw in (0, 1).
normal = NormalDist().inv_cdf


class _Words(ISeedSequence):
    """A digest as the key of a bit generator, which else asks the system for entropy first."""

    def __init__(self, digest: bytes) -> None:
        self._digest = digest

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        """The first words of the digest, in little-endian order."""
        kind = np.dtype(dtype)
        return np.frombuffer(self._digest, kind.newbyteorder("<"), n_words).astype(kind)


class Streams:
    """Every random number of a run, from one integer seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._key = (seed % 2**64).to_bytes(8, "little")
        self._roots: dict[str, hashlib.blake2b] = {}

    def uniforms(self, purpose: str, device: int, index: int) -> tuple[float, ...]:
        """Eight independent draws from (0, 1), of 32 bits each, for one (device, index)."""
        state = (self._roots.get(purpose) or self._root(purpose)).copy()
        state.update(_PAIR.pack(device, index))
        a, b, c, d, e, f, g, h = _EIGHT.unpack_from(state.digest())
        # Written out: a comprehension takes 0.2 of 0.9 microseconds more.
        return (
            (a + 0.5) * _UNIT, (b + 0.5) * _UNIT, (c + 0.5) * _UNIT, (d + 0.5) * _UNIT,
            (e + 0.5) * _UNIT, (f + 0.5) * _UNIT, (g + 0.5) * _UNIT, (h + 0.5) * _UNIT,
        )  # fmt: skip

    def uniform(self, purpose: str, device: int, index: int, which: int) -> float:
        """One of `uniforms`, where the others are not looked at: in two thirds of the time."""
        state = (self._roots.get(purpose) or self._root(purpose)).copy()
        state.update(_PAIR.pack(device, index))
        word: int = _ONE.unpack_from(state.digest(), 4 * which)[0]
        return (word + 0.5) * _UNIT

    def generator(self, purpose: str, *key: int) -> np.random.Generator:
        """A numpy generator of its own for this purpose and key."""
        words = self._digest(purpose, struct.pack(f"<{len(key)}q", *key))
        return np.random.Generator(np.random.Philox(_Words(words)))  # type: ignore[arg-type]

    def integer(self, purpose: str, *key: int) -> int:
        """A 63-bit integer: a seed for the generator of another library (torch, say)."""
        digest = self._digest(purpose, struct.pack(f"<{len(key)}q", *key))
        return int.from_bytes(digest[:8], "little") >> 1

    def _digest(self, purpose: str, message: bytes) -> bytes:
        state = self._root(purpose).copy()
        state.update(message)
        return state.digest()

    def _root(self, purpose: str) -> hashlib.blake2b:
        root = self._roots.get(purpose)
        if root is None:
            person = purpose.encode()[:16]
            root = self._roots[purpose] = hashlib.blake2b(key=self._key, person=person)
        return root
