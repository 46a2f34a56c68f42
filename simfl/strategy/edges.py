"""What a strategy of two tiers meets: the cloud, and edges that are servers to their devices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from simfl.messages import Update
from simfl.strategy.base import Server


class Edge(Server, Protocol):
    """One edge: to the strategy that runs there a server like any other, and more to the cloud's.

    `devices` counts the devices under it, which keep their numbers; `version` and the staleness of
    its updates are in its own versions. `arrived` and `lost` are what has come since its strategy's
    last step.
    """

    number: int
    name: str
    arrived: Sequence[Update]
    free_s: float  #: now, or when what this step has charged is done

    @property
    def mass(self) -> int:
        """Examples that the devices under it hold."""

    def begin_step(self) -> list[Update]:
        """What has arrived since the last step."""

    def end_step(self) -> float:
        """Closes the books of a step; returns the seconds that it charged."""

    def hold(self) -> None:
        """Tasks that are dispatched from now on wait for a model."""

    def begin_passage(self, since_s: float, *, up: bool) -> float:
        """A model leaves the edge for the cloud (up), or the cloud for the edge; when it is there.

        since_s: when it leaves.
        """

    def end_passage(self) -> None:
        """The model is there: an edge has the cloud's from now on, and what waited leaves."""

    def back_s(self) -> float:
        """When the first device under the edge is present: now, later, or never (inf)."""

    def nothing_sent(self, strategy: str) -> Exception:
        """What to raise where a step sent nothing although devices are present."""


class Cloud(Server, Protocol):
    """The server of a run with edges. Its devices are asked by the edges alone."""

    edges: Sequence[Edge]
    over: str  #: the limit that the run has met, if any: nothing leaves, nothing enters

    def sort(self, updates: Iterable[Update]) -> set[int]:
        """Hands what has come and what was lost to its edges; returns which of them it concerns."""

    def merge(self, params: Any, shares: Sequence[float]) -> float:
        """The next version is this model, to which each edge's gave a share; when it is ready."""
