"""The idle devices of every edge: one pool for each, with the face of one pool for all."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from simfl.clock.sampling import Pool, Presence
from simfl.errors import PluginError

#: (edge, k) -> the generator of the k-th block of an edge's draws.
Draws = Callable[[int, int], np.random.Generator]


class EdgePools:
    """Devices under edges. A pool counts its devices from 0; here all have their numbers.

    of_device: (N,) the edge of each.
    """

    def __init__(self, of_device: np.ndarray, edges: int, presence: Presence, draws: Draws) -> None:
        self.freed: Callable[[int], None] | None = None  #: called with a device that is idle again
        self._edge = array("i", of_device.tolist())
        self._place = array("i", [0]) * len(of_device)  #: in its edge's pool
        self.members = [array("i") for _ in range(edges)]
        for device, edge in enumerate(self._edge):
            self._enter(device, edge)
        self.pools = [
            Pool(len(mine), _Under(presence, mine), partial(draws, k))
            for k, mine in enumerate(self.members)
        ]

    def _enter(self, device: int, edge: int) -> None:
        self._place[device] = len(self.members[edge])
        self.members[edge].append(device)

    # As one pool.

    def edge_of(self, device: int) -> int:
        """The edge that a device is under, for as long as it lives."""
        return self._edge[device]

    def is_idle(self, device: int) -> bool:
        return self.pools[self._edge[device]].is_idle(self._place[device])

    def take(self, device: int) -> bool:
        """The device is busy from now on; False if it was so already."""
        return self.pools[self._edge[device]].take(self._place[device])

    def put(self, device: int) -> None:
        """The device is idle again."""
        self.pools[self._edge[device]].put(self._place[device])
        if self.freed is not None:
            self.freed(device)

    def candidates(self, now_s: float) -> np.ndarray:
        """All idle and present devices, ascending."""
        return np.sort(np.concatenate([self.candidates_at(k, now_s) for k in range(len(self))]))

    def sample(self, n: int, now_s: float, among: Sequence[int] | None = None) -> list[int]:
        """Refused: devices are drawn by their edge. Raises PluginError."""
        raise PluginError("sample was asked of the cloud, whose devices are drawn by their edges")

    # By edge.

    def __len__(self) -> int:
        return len(self.pools)

    def join(self, edge: int) -> None:
        """One more device under this edge; it is idle."""
        self._edge.append(edge)
        self._place.append(0)
        self._enter(len(self._edge) - 1, edge)
        self.pools[edge].join()

    def sample_at(
        self, edge: int, n: int, now_s: float, among: Sequence[int] | None = None
    ) -> list[int]:
        """Up to n distinct devices of an edge, uniform among its idle and present ones."""
        mine = self.members[edge]
        places = None if among is None else [self._place[device] for device in among]
        return [mine[place] for place in self.pools[edge].sample(n, now_s, places)]

    def candidates_at(self, edge: int, now_s: float) -> np.ndarray:
        """All idle and present devices of an edge, ascending."""
        places = self.pools[edge].candidates(now_s)
        return np.sort(np.array(self.members[edge], dtype=np.int64)[places])


class _Under:
    """The presence of one edge's devices, which are counted from 0."""

    def __init__(self, presence: Presence, members: array[int]) -> None:
        self._presence, self._members = presence, members
        self.always = presence.always

    def is_on(self, device: int, t: float) -> bool:
        return self._presence.is_on(self._members[device], t)

    def mask(self, t: float) -> np.ndarray:
        mask: np.ndarray = self._presence.mask(t)[np.array(self._members)]
        return mask
