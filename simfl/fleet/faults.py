"""What goes wrong with tasks by itself, as a function of each task's own draws."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, log
from typing import Literal

import numpy as np

from simfl.fleet.table import Table
from simfl.fleet.view import view
from simfl.units import HOUR_S, Fraction, NonNegative

#: (fraction, hazard_s) of a task that nothing happens to.
SAFE = (inf, inf)


class FaultOptions(Table):
    """Faults of one group of devices; none by default.

    drop_probability: share of tasks that fail at a uniform fraction of their nominal work.
    hazard_per_hour: rate at which a task in flight is lost, whatever it is doing.
    on_offline: what becomes of a task when its device goes away: it is lost, it pauses until the
    device is back, or the device stays to finish it.
    """

    drop_probability: Fraction = 0.0
    hazard_per_hour: NonNegative = 0.0
    on_offline: Literal["lost", "pause", "finish"] = "lost"


class Faults:
    """The faults of every device. options: one for each group."""

    def __init__(self, options: Sequence[FaultOptions], group: np.ndarray) -> None:
        self.options = tuple(options)
        self.group = group
        self._risk = [_risk(one) for one in options]
        self._on_offline = [one.on_offline for one in options]
        self._group = view(group)

    def fate(
        self, device: int, u_drop: float, u_where: float, u_hazard: float
    ) -> tuple[float, float]:
        """(fraction, hazard_s): lost at this fraction of the nominal work, and this long after
        dispatch, whichever comes first; inf where that does not happen."""
        risk = self._risk[self._group[device]]
        if risk is None:
            return SAFE
        drop_probability, lifetime_s = risk
        fraction = u_where if u_drop < drop_probability else inf
        return fraction, -lifetime_s * log(u_hazard)

    def on_offline(self, device: int) -> str:
        """ "lost", "pause" or "finish"."""
        return self._on_offline[self._group[device]]

    def columns(self) -> dict[str, np.ndarray]:
        """The fault options of each device."""
        names = ("drop_probability", "hazard_per_hour")
        return {n: np.array([getattr(o, n) for o in self.options])[self.group] for n in names}


def _risk(options: FaultOptions) -> tuple[float, float] | None:
    """(drop_probability, mean lifetime in seconds), or None where nothing can happen."""
    if not options.drop_probability and not options.hazard_per_hour:
        return None
    hazard = options.hazard_per_hour
    return options.drop_probability, HOUR_S / hazard if hazard else inf
