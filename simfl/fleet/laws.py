"""How long local work takes: a law in seconds given in place, or a rate in FLOP/s.

A law turns one uniform draw into seconds by its inverse distribution function, so a task meets
the same luck under every strategy. `spread_sigma` is the natural-log spread between the devices
of a group; the law itself is that of the group's median device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, log
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import BeforeValidator, Field, model_validator

from simfl.fleet.table import Table, view
from simfl.streams import normal
from simfl.units import GFLOPS, Duration, NonNegative, Positive, Seconds

#: (flops, steps, u) -> seconds of one task of the median device.
Sampler = Callable[[float, int, float], float]


class Law(Table):
    """Seconds of each task whatever its work, or (`per = "step"`) of each mini-batch step."""

    per: Literal["task", "step"] = "task"
    spread_sigma: NonNegative = 0.0

    def draw(self, u: float) -> float:
        """Seconds at the quantile u in (0, 1)."""
        raise NotImplementedError

    def mean(self) -> float:
        """Expectation of `draw`."""
        raise NotImplementedError

    def seconds(self, flops: float, steps: int, u: float) -> float:
        """Seconds of one task of the median device."""
        return self.draw(u) if self.per == "task" else steps * self.draw(u)

    def sampler(self) -> Sampler:
        """`seconds` for those who ask once a task: a table takes long to look at its fields."""
        return self.seconds

    def setup(self, u: float) -> float:
        """Seconds of one task before its first step: none that the law tells apart."""
        return 0.0

    def expected_s(self, flops: Any, steps: Any) -> Any:
        """Expectation of `seconds`, for numbers and arrays of numbers alike."""
        return self.mean() + 0.0 * steps if self.per == "task" else steps * self.mean()


class Constant(Law):
    """Always `s` seconds."""

    kind: Literal["constant"] = "constant"
    s: Seconds

    def draw(self, u: float) -> float:
        return self.s

    def mean(self) -> float:
        return self.s


class Exponential(Law):
    """Exponential seconds with mean `mean_s`."""

    kind: Literal["exponential"] = "exponential"
    mean_s: Duration

    def draw(self, u: float) -> float:
        return -self.mean_s * log(u)

    def sampler(self) -> Sampler:
        mean_s = self.mean_s
        if self.per == "task":
            return lambda flops, steps, u: -mean_s * log(u)
        return lambda flops, steps, u: steps * (-mean_s * log(u))

    def mean(self) -> float:
        return self.mean_s


class LogNormal(Law):
    """Log-normal seconds: median `median_s`, natural-log standard deviation `sigma`."""

    kind: Literal["lognormal"] = "lognormal"
    median_s: Duration
    sigma: NonNegative

    def draw(self, u: float) -> float:
        return self.median_s * exp(self.sigma * normal(u))

    def mean(self) -> float:
        return self.median_s * exp(0.5 * self.sigma**2)


class Uniform(Law):
    """Seconds uniform between `low_s` and `high_s`."""

    kind: Literal["uniform"] = "uniform"
    low_s: Seconds
    high_s: Seconds

    @model_validator(mode="after")
    def _ordered(self) -> Uniform:
        if self.low_s > self.high_s:
            raise ValueError(f"low_s = {self.low_s:g} is above high_s = {self.high_s:g}")
        return self

    def draw(self, u: float) -> float:
        return self.low_s + (self.high_s - self.low_s) * u

    def mean(self) -> float:
        return 0.5 * (self.low_s + self.high_s)


class FlopRate(Table):
    """Seconds by work: (setup_s + step_overhead_s * steps + flops / rate) * jitter.

    setup_s: of each task, before its first step: a process starts, data are read. The jitter is
    exp(jitter_sigma * normal), drawn once for each task.
    """

    kind: Literal["rate"] = "rate"
    gflops: Positive
    spread_sigma: NonNegative = 0.0
    jitter_sigma: NonNegative = 0.0
    setup_s: Seconds = 0.0
    step_overhead_s: Seconds = 0.0

    def seconds(self, flops: float, steps: int, u: float) -> float:
        """Seconds of one task of the median device."""
        return self._work_s(flops, steps) * self._jitter(u)

    def sampler(self) -> Sampler:
        """`seconds`, which looks at its fields once."""
        if self.jitter_sigma:
            return self.seconds
        setup_s, overhead_s, rate = self.setup_s, self.step_overhead_s, self.gflops * GFLOPS
        return lambda flops, steps, u: setup_s + overhead_s * steps + flops / rate

    def setup(self, u: float) -> float:
        """Seconds of one task before its first step."""
        return self.setup_s * self._jitter(u)

    def expected_s(self, flops: Any, steps: Any) -> Any:
        """Expectation of `seconds`, for numbers and arrays of numbers alike."""
        return self._work_s(flops, steps) * exp(0.5 * self.jitter_sigma**2)

    def _work_s(self, flops: Any, steps: Any) -> Any:
        return self.setup_s + self.step_overhead_s * steps + flops / (self.gflops * GFLOPS)

    def _jitter(self, u: float) -> float:
        return exp(self.jitter_sigma * normal(u)) if self.jitter_sigma else 1.0


def _named(table: Any) -> Any:
    """`{ gflops = 5.0 }` needs no kind."""
    if isinstance(table, dict) and "gflops" in table:
        return {"kind": "rate", **table}
    return table


#: A law in seconds.
LawOptions = Annotated[Constant | Exponential | LogNormal | Uniform, Field(discriminator="kind")]

#: What `compute` may be.
ComputeOptions = Annotated[
    Constant | Exponential | LogNormal | Uniform | FlopRate,
    Field(discriminator="kind"),
    BeforeValidator(_named),
]


class Compute:
    """How fast the devices train.

    slowness: (N,), 1 for the median device of a group.
    """

    def __init__(
        self, laws: Sequence[ComputeOptions], group: np.ndarray, slowness: np.ndarray
    ) -> None:
        self.laws = tuple(laws)
        self.group = group
        self.slowness = slowness
        self._seconds = [law.sampler() for law in laws]
        self._setup = [law.setup for law in laws]
        self._group = view(group)
        self._slowness = view(slowness)

    def train_s(self, device: int, flops: float, steps: int, u: float) -> float:
        """Seconds that one task trains.

        u: the task's draw for training jitter.
        """
        return self._slowness[device] * self._seconds[self._group[device]](flops, steps, u)

    def setup_s(self, device: int, u: float) -> float:
        """Seconds of `train_s` that pass before the first mini-batch."""
        return self._slowness[device] * self._setup[self._group[device]](u)

    def expected_s(self, flops: ArrayLike, steps: ArrayLike) -> np.ndarray:
        """(N,) mean seconds of a task. flops, steps: one number, or (N,) numbers."""
        flops = np.broadcast_to(np.asarray(flops, dtype=float), self.group.shape)
        steps = np.broadcast_to(np.asarray(steps, dtype=float), self.group.shape)
        means = np.empty(self.group.shape)
        for g, law in enumerate(self.laws):
            mine = slice(*np.searchsorted(self.group, [g, g + 1]))  # groups are contiguous
            means[mine] = law.expected_s(flops[mine], steps[mine])
        return means * self.slowness

    def columns(self) -> dict[str, np.ndarray]:
        """train_gflops: effective rate, nan where a law in seconds stands instead."""
        rates = [law.gflops if isinstance(law, FlopRate) else np.nan for law in self.laws]
        return {"train_gflops": np.array(rates)[self.group] / self.slowness}

    @property
    def nbytes(self) -> int:
        """Memory that grows with the number of devices."""
        return self.slowness.nbytes
