"""Units, and the option types that carry their bounds.

Inside simfl everything is SI: seconds, bytes, joules, FLOP. Mbit is 10**6 bits, never 2**20.
The annotated types are what option dataclasses use, so that a bound is written once and
reaches the error message, the JSON Schema and the reference.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Interval, Le

MBPS = 1e6 / 8  #: bytes per second in one Mbit/s
GFLOPS = 1e9  #: FLOP per second
HOUR_S = 3600.0
DAY_S = 86400.0

Count = Annotated[int, Ge(1)]
Index = Annotated[int, Ge(0)]
Seconds = Annotated[float, Ge(0.0)]
Duration = Annotated[float, Gt(0.0)]
Every = Annotated[float, Ge(1e-6)]  #: seconds between what is done again and again
Rate = Annotated[float, Gt(0.0)]
NonNegative = Annotated[float, Ge(0.0)]
Positive = Annotated[float, Gt(0.0)]
Fraction = Annotated[float, Interval(ge=0.0, le=1.0)]
Share = Annotated[float, Gt(0.0), Le(1.0)]
