"""Models that tasks still need, shared by version and counted."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any


class VersionStore:
    """One snapshot per version, kept while a task or an update refers to it.

    A version is known by any key, as its number, or its edge and its number there.
    """

    __snapshot__ = ("_held", "peak")  #: kept by checkpoints

    def __init__(self) -> None:
        self._held: dict[Hashable, list[Any]] = {}
        self.peak = 0  #: most versions alive at once

    def hold(self, version: Hashable, params: Any) -> None:
        """Keeps a version for one more task."""
        held = self._held
        if version in held:
            held[version][1] += 1
            return
        held[version] = [params, 1]
        if len(held) > self.peak:
            self.peak = len(held)

    def release(self, version: Hashable) -> None:
        """One task less needs the version, which is dropped with the last."""
        entry = self._held[version]
        entry[1] -= 1
        if not entry[1]:
            del self._held[version]

    def __len__(self) -> int:
        return len(self._held)

    def __getitem__(self, version: Hashable) -> Any:
        return self._held[version][0]


class EdgeVersions(VersionStore):
    """The models of edges, by (edge, version). The cloud's own go to no device and are not kept."""

    def hold(self, version: Any, params: Any) -> None:
        """Nothing: a task is sent its edge's model."""

    def release(self, version: Any) -> None:
        """Nothing, for nothing is held."""

    def hold_at(self, edge: int, version: int, params: Any) -> None:
        """Keeps an edge's version for one more task."""
        super().hold((edge, version), params)

    def release_at(self, edge: int, version: int) -> None:
        """One task less needs an edge's version, which is dropped with the last."""
        super().release((edge, version))
