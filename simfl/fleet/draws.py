"""What chance decides about each device of a group, once and for all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simfl.fleet.laws import FlopRate
from simfl.fleet.network.link import rates, spread
from simfl.fleet.network.varying import VaryingRate
from simfl.fleet.presence.base import Part
from simfl.fleet.presence.trace import RecordedOptions
from simfl.fleet.resolve import Plan
from simfl.streams import Streams
from simfl.units import MBPS


@dataclass(frozen=True, eq=False)
class GroupDraws:
    """A group's n devices.

    z: (n, 3) standard normal.
    rows: (n,) of the capacity trace.
    """

    plan: Plan
    z: np.ndarray
    rows: np.ndarray
    varying_rate: VaryingRate | None
    presence: Part
    charge: np.ndarray  #: (n,) in (0, 1): how full each battery is between its bounds

    def slowness(self) -> np.ndarray:
        """(n,) seconds over the median device's, before it was slowed down."""
        return self.plan.options.slowdown * self._own_slowness()

    def _own_slowness(self) -> np.ndarray:
        recorded = self._recorded("train_gflops")
        if recorded is None:
            r = self.plan.options.correlation
            z = (1.0 - r * r) ** 0.5 * self.z[:, 2] - r * self.z[:, 0]
            return spread(self.plan.law.spread_sigma, z)
        assert isinstance(self.plan.law, FlopRate)  # a recorded rate makes it one
        return np.asarray(self.plan.law.gflops / recorded)

    def rates(self) -> tuple[np.ndarray, np.ndarray]:
        """(n,) median bytes/s down, and up."""
        drawn = rates(self.plan.link, self.z[:, :2], self.varying_rate)
        recorded = self._recorded("down_mbps"), self._recorded("up_mbps")
        down, up = (
            own if trace is None else trace * MBPS
            for own, trace in zip(drawn, recorded, strict=True)
        )
        return down, up

    def _recorded(self, column: str) -> np.ndarray | None:
        trace = self.plan.capacity
        return trace.columns[column][self.rows] if trace and column in trace.columns else None


def draw_group(plan: Plan, streams: Streams) -> GroupDraws:
    """The devices of a group. Every draw depends on the device's number alone."""
    first, n = plan.members.start, plan.options.count
    uniform = streams.generator("capacity", first).random(n)
    return GroupDraws(
        plan,
        z=streams.generator("fleet", first).standard_normal((n, 3)),
        rows=(uniform * len(plan.capacity or ())).astype(np.int64),
        varying_rate=_varying_rate(plan, streams),
        presence=_presence(plan, streams),
        charge=streams.generator("battery", first).random(n),
    )


def _varying_rate(plan: Plan, streams: Streams) -> VaryingRate | None:
    if plan.bandwidth is None or plan.link is None:
        return None
    rng = streams.generator("roaming", plan.members.start)
    return VaryingRate(plan.bandwidth, plan.members, rng, (plan.link.down_mbps, plan.link.up_mbps))


def _presence(plan: Plan, streams: Streams) -> Part:
    options = plan.options.presence
    if isinstance(options, RecordedOptions):
        assert plan.intervals is not None  # looked up with the plan
        return options.part(streams, plan.members, plan.intervals)
    return options.part(streams, plan.members)
