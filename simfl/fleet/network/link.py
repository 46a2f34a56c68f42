"""Latency and bandwidth of each device's own link. Down is server to device, up is back.

`latency_s` is one way, from the request to the first byte: half a round trip. Both directions
vary from transfer to transfer by log-normal factors of median 1, on top of what sets the devices
of a group apart. With a trace the rate also moves while a transfer is under way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf
from typing import Annotated

import numpy as np
from annotated_types import Interval
from pydantic import model_validator

from simfl.fleet.network.varying import VaryingRate
from simfl.fleet.table import Table, view
from simfl.fleet.traces import TraceName
from simfl.streams import normal
from simfl.units import MBPS, NonNegative, Rate, Seconds


class LinkOptions(Table):
    """A network given in place, or what a network class says. Mbit are 10**6 bits.

    down_sigma, up_sigma: natural-log spread between devices, with their `correlation`.
    jitter_sigma, latency_sigma: natural-log spread between transfers of one device.
    overhead_s: of each transfer, besides its latency: the radio wakes, a connection is made.
    loss: share of packets lost; sent again, they take capacity and time.
    trace: a bandwidth trace. Each device replays one of its recordings from a moment of its own;
        where down_mbps or up_mbps is given, that is the level and the trace only the shape.
    """

    down_mbps: Rate | None = None
    up_mbps: Rate | None = None
    latency_s: Seconds = 0.0
    overhead_s: Seconds = 0.0
    down_sigma: NonNegative = 0.0
    up_sigma: NonNegative = 0.0
    correlation: Annotated[float, Interval(ge=-1.0, le=1.0)] = 0.0
    jitter_sigma: NonNegative = 0.0
    latency_sigma: NonNegative = 0.0
    loss: Annotated[float, Interval(ge=0.0, lt=1.0)] = 0.0
    trace: TraceName | None = None

    @model_validator(mode="after")
    def _has_rates(self) -> LinkOptions:
        for name in ("down_mbps", "up_mbps"):
            if getattr(self, name) is None and self.trace is None:
                raise ValueError(f"{name} is missing (or a trace that says how much there is)")
        return self


@dataclass(frozen=True)
class Shape:
    """What the transfers of one group have in common.

    goodput: share of what the link carries.
    """

    latency_s: float = 0.0
    overhead_s: float = 0.0
    jitter_sigma: float = 0.0
    latency_sigma: float = 0.0
    goodput: float = 1.0

    @property
    def steady(self) -> tuple[float, float] | None:
        """(seconds before the first byte, goodput) where all transfers are alike, else None."""
        varies = self.jitter_sigma or self.latency_sigma
        return None if varies else (self.overhead_s + self.latency_s, self.goodput)

    def transfer(self, rate: float, u_rate: float, u_latency: float) -> tuple[float, float]:
        """(seconds before the first byte, bytes_per_s that arrive) on a link of this rate."""
        latency_s = self.latency_s
        if self.jitter_sigma:
            rate *= exp(self.jitter_sigma * normal(u_rate))
        if self.latency_sigma:
            latency_s *= exp(self.latency_sigma * normal(u_latency))
        return self.overhead_s + latency_s, rate * self.goodput


class Link:
    """What each device can carry when it is alone.

    down, up: (N,) bytes/s.
    options: one for each group; None means that transfers take no time.
    varying: for each group whose rates move, how.
    """

    def __init__(
        self,
        options: Sequence[LinkOptions | None],
        group: np.ndarray,
        down: np.ndarray,
        up: np.ndarray,
        varying: Sequence[VaryingRate | None] = (),
    ) -> None:
        self.group = group
        self.down_bytes_per_s = down
        self.up_bytes_per_s = up
        #: True if the rate of any device moves during a transfer.
        self.varying = any(one is not None for one in varying)
        self._varying = list(varying) or [None] * len(options)
        self._shape = [_shape(one) for one in options]
        self._transfer = [shape.transfer for shape in self._shape]
        self._steady = [shape.steady for shape in self._shape]  # no call for what never varies
        #: No transfer of any device differs from its others: there is no draw to look at.
        self.steady = None not in self._steady
        self._group, self._down, self._up = view(group), view(down), view(up)

    def down(self, device: int, u_rate: float, u_latency: float) -> tuple[float, float]:
        """(seconds before the first byte, bytes_per_s) of one download. u: the task's draws."""
        group, rate = self._group[device], self._down[device]
        steady = self._steady[group]
        if steady is None:
            return self._transfer[group](rate, u_rate, u_latency)
        return steady[0], rate * steady[1]

    def up(self, device: int, u_rate: float, u_latency: float) -> tuple[float, float]:
        """(seconds before the first byte, bytes_per_s) of one upload. u: the task's draws."""
        group, rate = self._group[device], self._up[device]
        steady = self._steady[group]
        if steady is None:
            return self._transfer[group](rate, u_rate, u_latency)
        return steady[0], rate * steady[1]

    def of(self, device: int) -> tuple[float, float, float]:
        """(seconds before the first byte, bytes_per_s down, and up) of all transfers, if steady."""
        latency_s, goodput = self._steady[self._group[device]]
        return latency_s, self._down[device] * goodput, self._up[device] * goodput

    def goodput(self, device: int) -> float:
        """Bytes that arrive for each byte that takes capacity."""
        return self._shape[self._group[device]].goodput

    def swing(self, device: int, t: float, *, up: bool) -> tuple[float, float]:
        """(factor, until_s): what the rate is multiplied by at t, and until when."""
        varying = self._varying[self._group[device]]
        return (1.0, inf) if varying is None else varying.at(device, t, up=up)

    def columns(self) -> dict[str, np.ndarray]:
        """Medians of each device's transfers (means over time, where a trace moves them)."""
        return {
            "down_bytes_per_s": self.down_bytes_per_s,
            "up_bytes_per_s": self.up_bytes_per_s,
            "latency_s": np.array([shape.latency_s for shape in self._shape])[self.group],
        }

    @property
    def nbytes(self) -> int:
        """Memory that grows with the number of devices."""
        traced = sum(one.nbytes for one in self._varying if one is not None)
        return self.down_bytes_per_s.nbytes + self.up_bytes_per_s.nbytes + traced


def rates(
    options: LinkOptions | None, z: np.ndarray, varying: VaryingRate | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Median bytes/s down and up of n devices.

    z: (n, 2) standard normal draws.
    """
    if options is None:
        free = np.full(len(z), inf)
        return free, free
    r = options.correlation
    z_up = r * z[:, 0] + (1.0 - r * r) ** 0.5 * z[:, 1]
    down = _level(options.down_mbps, varying, up=False) * spread(options.down_sigma, z[:, 0])
    return down, _level(options.up_mbps, varying, up=True) * spread(options.up_sigma, z_up)


def _level(mbps: float | None, varying: VaryingRate | None, *, up: bool) -> float | np.ndarray:
    """Median bytes/s: what the scenario says, else each device's own of the trace."""
    if mbps is not None:
        return mbps * MBPS
    assert varying is not None  # LinkOptions sees to it
    return varying.level(up=up) * MBPS


def spread(sigma: float, z: np.ndarray) -> np.ndarray:
    """exp(sigma * z), rounded to single precision.

    The last bit of an exponential depends on the processor; a fleet must not.
    """
    return np.exp(sigma * z).astype(np.float32).astype(np.float64)


def _shape(options: LinkOptions | None) -> Shape:
    if options is None:
        return Shape()
    o = options
    return Shape(o.latency_s, o.overhead_s, o.jitter_sigma, o.latency_sigma, 1.0 - o.loss)
