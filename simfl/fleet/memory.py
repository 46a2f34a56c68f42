"""Devices whose memory a model does not fit into."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from simfl.errors import ScenarioError
from simfl.fleet.columns import Fleet

Policy = Literal["error", "exclude", "ignore"]

MB = 1e6  #: bytes


def fitting(fleet: Fleet, need_bytes: float, policy: Policy) -> Fleet:
    """The fleet, of which only devices with memory for the model are ever present.

    need_bytes: that training takes at least. Devices whose memory is unknown are taken to have
    enough. Raises ScenarioError if the policy is "error" and a device is too small, or if all are.
    """
    small = [g for g, group in enumerate(fleet.groups) if 0 < group.memory_bytes < need_bytes]
    if not small or policy == "ignore":
        return fleet
    if policy == "error" or len(small) == len(fleet.groups):
        raise ScenarioError(_too_small(fleet, small, need_bytes))
    groups = tuple(
        replace(group, presence="never") if g in small else group
        for g, group in enumerate(fleet.groups)
    )
    return replace(fleet, groups=groups, presence=fleet.presence.without(small))


def _too_small(fleet: Fleet, small: list[int], need_bytes: float) -> str:
    first = fleet.groups[small[0]]
    others = f" (and {len(small) - 1} more groups)" if len(small) > 1 else ""
    what_else = (
        'fleet.memory = "exclude" leaves such devices out, "ignore" trains on them all the same'
        if len(small) < len(fleet.groups)
        else "no device of the fleet has enough"
    )
    return (
        f"fleet.group.{small[0]}: to train the model takes at least {need_bytes / MB:.3g} MB; a "
        f"{first.device_class} has {first.memory_bytes / MB:.3g} MB{others}; {what_else}"
    )
