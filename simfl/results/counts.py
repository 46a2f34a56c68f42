"""How often each whole number occurs: what is kept of a column too long to be held."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True, eq=False)
class Counts:
    """values: (k,) int64, ascending. counts: (k,) int64, how often each occurs, at least once.

    >>> both = Counts.of([2, 0, 2]) + Counts.of([2, 7])
    >>> both.values.tolist(), both.counts.tolist(), both.total, both.quantile(0.5)
    ([0, 2, 7], [1, 3, 1], 5, 2)
    """

    values: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, values: Iterable[int] | pd.Series) -> Counts:
        """Of these numbers, in any order."""
        return cls(*np.unique(np.asarray(values, np.int64), return_counts=True))

    def __add__(self, other: Counts) -> Counts:
        both = np.concatenate([self.values, other.values])
        values, where = np.unique(both, return_inverse=True)
        counts = np.zeros(len(values), np.int64)
        np.add.at(counts, where, np.concatenate([self.counts, other.counts]))
        return Counts(values, counts)

    @property
    def total(self) -> int:
        """How many numbers there are."""
        return int(self.counts.sum())

    @property
    def largest(self) -> int:
        """The largest number; 0 where there are none."""
        return int(self.values.max(initial=0))

    @property
    def mean(self) -> float:
        """Their mean; NaN where there are none."""
        return float((self.values * self.counts).sum() / self.total) if self.total else math.nan

    def quantile(self, share: float) -> int:
        """The smallest number that at least this share does not exceed; there must be one."""
        place = max(0, math.ceil(self.total * share - 1))
        return int(self.values[np.searchsorted(np.cumsum(self.counts), place, side="right")])

    def spread(self) -> dict[str, float]:
        """count, mean, p50, p95 and max; NaN where there is nothing."""
        if not self.total:
            return {"count": 0, **dict.fromkeys(("mean", "p50", "p95", "max"), math.nan)}
        p50, p95 = self.quantile(0.5), self.quantile(0.95)
        found = {"count": self.total, "mean": self.mean, "p50": p50, "p95": p95}
        return {**found, "max": self.largest}

    def per(self, n: int) -> np.ndarray:
        """(n,) or longer, how often each number from 0 on occurs; none may be negative."""
        each = np.zeros(max(n, int(self.values.max(initial=-1)) + 1), np.int64)
        each[self.values] = self.counts
        return each


#: Of no numbers at all.
NONE = Counts.of([])
