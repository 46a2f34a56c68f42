"""Latency and bandwidth of each device's own link. Down is server to device, up is back.

`latency_s` is one way, from the request to the first byte: half a round trip. Both directions
vary from transfer to transfer by log-normal factors of median 1, on top of what sets the devices
of a group apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, inf
from typing import Annotated

import numpy as np
from annotated_types import Interval

from simfl.fleet.table import Table
from simfl.fleet.view import view
from simfl.streams import normal
from simfl.units import MBPS, NonNegative, Rate, Seconds


class LinkOptions(Table):
    """A network given in place, or what a network class says. Mbit are 10**6 bits.

    down_sigma, up_sigma: natural-log spread between devices, with their `correlation`.
    jitter_sigma, latency_sigma: natural-log spread between transfers of one device.
    """

    down_mbps: Rate
    up_mbps: Rate
    latency_s: Seconds = 0.0
    down_sigma: NonNegative = 0.0
    up_sigma: NonNegative = 0.0
    correlation: Annotated[float, Interval(ge=-1.0, le=1.0)] = 0.0
    jitter_sigma: NonNegative = 0.0
    latency_sigma: NonNegative = 0.0


class Link:
    """What each device can carry when it is alone. down, up: (N,) bytes/s.

    options: one for each group; None means that transfers take no time.
    """

    def __init__(
        self,
        options: Sequence[LinkOptions | None],
        group: np.ndarray,
        down: np.ndarray,
        up: np.ndarray,
    ) -> None:
        self.group = group
        self.down_bytes_per_s = down
        self.up_bytes_per_s = up
        self._shape = [_shape(one) for one in options]
        self._group, self._down, self._up = view(group), view(down), view(up)

    def down(self, device: int, u_rate: float, u_latency: float) -> tuple[float, float]:
        """(latency_s, bytes_per_s) of one download. u: the task's draws for either."""
        shape = self._shape[self._group[device]]
        return _transfer(shape, self._down[device], u_rate, u_latency)

    def up(self, device: int, u_rate: float, u_latency: float) -> tuple[float, float]:
        """(latency_s, bytes_per_s) of one upload. u: the task's draws for either."""
        shape = self._shape[self._group[device]]
        return _transfer(shape, self._up[device], u_rate, u_latency)

    def columns(self) -> dict[str, np.ndarray]:
        """Medians of each device's transfers."""
        latency_s = np.array([latency for latency, _, _ in self._shape])
        return {
            "down_bytes_per_s": self.down_bytes_per_s,
            "up_bytes_per_s": self.up_bytes_per_s,
            "latency_s": latency_s[self.group],
        }

    @property
    def nbytes(self) -> int:
        """Memory that grows with the number of devices."""
        return self.down_bytes_per_s.nbytes + self.up_bytes_per_s.nbytes


def rates(options: LinkOptions | None, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Median bytes/s down and up of n devices. z: (n, 2) standard normal draws."""
    if options is None:
        free = np.full(len(z), inf)
        return free, free
    r = options.correlation
    z_up = r * z[:, 0] + (1.0 - r * r) ** 0.5 * z[:, 1]
    down = options.down_mbps * MBPS * spread(options.down_sigma, z[:, 0])
    return down, options.up_mbps * MBPS * spread(options.up_sigma, z_up)


def spread(sigma: float, z: np.ndarray) -> np.ndarray:
    """exp(sigma * z), rounded to single precision.

    The last bit of an exponential depends on the processor; a fleet must not.
    """
    return np.exp(sigma * z).astype(np.float32).astype(np.float64)


def _shape(options: LinkOptions | None) -> tuple[float, float, float]:
    if options is None:
        return 0.0, 0.0, 0.0
    return options.latency_s, options.jitter_sigma, options.latency_sigma


def _transfer(
    shape: tuple[float, float, float], rate: float, u_rate: float, u_latency: float
) -> tuple[float, float]:
    latency_s, jitter, latency_sigma = shape
    if jitter:
        rate *= exp(jitter * normal(u_rate))
    if latency_sigma:
        latency_s *= exp(latency_sigma * normal(u_latency))
    return latency_s, rate
