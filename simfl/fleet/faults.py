"""What goes wrong with tasks by itself, as a function of each task's own draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, log
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge
from pydantic import model_validator

from simfl.fleet.laws import Law, LawOptions
from simfl.fleet.table import Table, view
from simfl.units import HOUR_S, Count, Fraction, NonNegative, Seconds


class Fate(NamedTuple):
    """What chance has in store for one task; inf is what does not happen."""

    share: float  #: it drops out when this share of its nominal work is done
    hang_s: float  #: it hangs for so long where it should train, and is lost then
    lifetime_s: float  #: it is lost so long after its dispatch, whatever it is doing


SAFE = Fate(inf, inf, inf)


class SuspendOptions(Table):
    """With this probability a task hangs after its download for `hang`, and delivers nothing.

    A hang `per = "step"` lasts in proportion to the steps that the task should have made.
    """

    probability: Fraction
    hang: LawOptions

    @model_validator(mode="after")
    def _of_tasks(self) -> SuspendOptions:
        if self.hang.spread_sigma:
            raise ValueError("hang is a law for each task: it has no spread_sigma")
        return self


class RetryOptions(Table):
    """A device that drops out begins that phase anew, `times` times at most for each task.

    It waits wait_s before the first retry and `factor` times as long before each further one.
    Every attempt drops out with the same probability, somewhere in what is left of the work.
    """

    times: Count = 3
    wait_s: Seconds = 5.0
    factor: Annotated[float, Ge(1.0)] = 2.0


class FaultOptions(Table):
    """Faults of one group of devices; none by default.

    drop_probability: share of tasks that fail at a uniform fraction of their nominal work.
    drop_phase: the phase in which they do; "any" spreads failures over all by their length.
    retry: makes good for drop-outs; what the failed attempts cost stays with the task.
    suspend: share of tasks that hang, apart from those that drop out.
    hazard_per_hour: rate at which a task in flight is lost, whatever it is doing.
    on_offline: what becomes of a task when its device goes away: it is lost, it pauses until the
    device is back, or the device stays to finish it.
    """

    drop_probability: Fraction = 0.0
    drop_phase: Literal["any", "download", "train", "upload"] = "any"
    retry: RetryOptions | None = None
    suspend: SuspendOptions | None = None
    hazard_per_hour: NonNegative = 0.0
    on_offline: Literal["lost", "pause", "finish"] = "lost"

    @model_validator(mode="after")
    def _one_fate(self) -> FaultOptions:
        if self.suspend and self.drop_probability + self.suspend.probability > 1.0:
            raise ValueError("drop_probability and suspend.probability add up to more than 1")
        return self


@dataclass(frozen=True)
class Risk:
    """The odds of one group.

    failing: of dropping out or hanging.
    """

    dropping: float
    failing: float
    hang: Law | None
    lifetime_s: float

    def fate(self, u_which: float, u_how: float, u_hazard: float, steps: int) -> Fate:
        """The fate of a task with these draws and so many steps to make."""
        share = hang_s = inf
        if u_which < self.dropping:
            share = u_how
        elif self.hang is not None and u_which < self.failing:
            hang_s = self.hang.seconds(0.0, steps, u_how)
        return Fate(share, hang_s, -self.lifetime_s * log(u_hazard))


class Faults:
    """The faults of every device. options: one for each group."""

    def __init__(self, options: Sequence[FaultOptions], group: np.ndarray) -> None:
        self.options = tuple(options)
        self.group = group
        self._risk = [_risk(one) for one in options]
        #: Nothing can happen to any task: there is no fate to ask for.
        self.safe = not any(self._risk)
        self._on_offline = [one.on_offline for one in options]
        self._drop_phase = [_LEGS[one.drop_phase] for one in options]
        self._group = view(group)

    def drop_phase(self, device: int) -> int | None:
        """The phase in which tasks drop out: 0 download, 1 train, 2 upload; None: any."""
        return self._drop_phase[self._group[device]]

    def fate(
        self, device: int, u_which: float, u_how: float, u_hazard: float, steps: int = 1
    ) -> Fate:
        """What becomes of the task with these draws and steps; the first of it counts."""
        risk = self._risk[self._group[device]]
        return SAFE if risk is None else risk.fate(u_which, u_how, u_hazard, steps)

    def again(self, device: int, attempt: int) -> tuple[float, float] | None:
        """(seconds to wait, probability to drop out again) of the attempt-th retry, from 1 on.

        None: there is none.
        """
        options = self.options[self._group[device]]
        retry = options.retry
        if retry is None or attempt > retry.times:
            return None
        return retry.wait_s * retry.factor ** (attempt - 1), options.drop_probability

    def on_offline(self, device: int) -> str:
        """ "lost", "pause" or "finish"."""
        return self._on_offline[self._group[device]]

    def columns(self) -> dict[str, np.ndarray]:
        """The odds of each device."""
        risks = [risk or _NONE for risk in self._risk]
        odds = {
            "drop_probability": [risk.dropping for risk in risks],
            "suspend_probability": [risk.failing - risk.dropping for risk in risks],
            "hazard_per_hour": [HOUR_S / risk.lifetime_s for risk in risks],
            "retries": [one.retry.times if one.retry else 0 for one in self.options],
        }
        return {name: np.array(values)[self.group] for name, values in odds.items()}


_LEGS = {"any": None, "download": 0, "train": 1, "upload": 2}
_NONE = Risk(0.0, 0.0, None, inf)


def _risk(options: FaultOptions) -> Risk | None:
    """None where nothing can happen."""
    suspend = options.suspend
    hazard, dropping = options.hazard_per_hour, options.drop_probability
    failing = dropping + (suspend.probability if suspend else 0.0)
    if not failing and not hazard:
        return None
    lifetime_s = HOUR_S / hazard if hazard else inf
    return Risk(dropping, failing, suspend.hang if suspend else None, lifetime_s)
