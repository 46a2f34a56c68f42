"""Max-min fair rates by progressive filling: Bertsekas and Gallager, Data Networks, 6.5.2."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

#: Rates this close to a capacity fill it.
FULL = 1.0 - 1e-12


def fill(caps: Mapping[Any, float], pipes: Iterable[tuple[float, set[Any]]]) -> dict[Any, float]:
    """The rate of every flow. caps: of each flow alone; pipes: (capacity, flows in it).

    All rates rise together; a flow stops at its own cap, or when a pipe that it is in is full.
    """
    rates, growing, level = dict.fromkeys(caps, 0.0), set(caps), 0.0
    while growing:
        room = [caps[flow] - level for flow in growing]
        for capacity, flows in pipes:
            if flows & growing:
                used = sum(rates[flow] for flow in flows)
                room.append((capacity - used) / len(flows & growing))
        level += max(0.0, min(room))
        rates.update((flow, min(level, caps[flow])) for flow in growing)
        growing -= {flow for flow in growing if level >= caps[flow] * FULL}
        for capacity, flows in pipes:
            if sum(rates[flow] for flow in flows) >= capacity * FULL:
                growing -= flows
    return rates
