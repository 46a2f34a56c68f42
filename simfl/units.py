"""Units, and the option types that carry their bounds.

Inside simfl everything is SI: seconds, bytes, joules, FLOP. Mbit is 10**6 bits, never 2**20.
The annotated types are what option dataclasses use, so that a bound is written once and
reaches the error message, the JSON Schema and the reference.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from annotated_types import Ge, Gt, Interval, Le

from simfl.errors import InputError, did_you_mean

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


def counted(name: str, value: Any) -> int:
    """The argument of this name as a Count. Raises InputError.

    >>> counted("workers", 2)
    2
    """
    number = operator.index(value) if hasattr(value, "__index__") else 0
    if number < 1 or isinstance(value, bool):
        raise InputError(f"{name} = {value!r}, expected a whole number of at least 1")
    return number


#: What plays the runs of a study, and trains the tasks of a run.
BACKENDS = ("local", "ray")


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster. address: of one that is running; None: one of this machine's own."""

    address: str | None = None


def cluster_of(backend: str, address: str | None = None) -> Cluster | None:
    """Where the work is done; None on this machine by itself. Raises InputError.

    >>> cluster_of("local"), cluster_of("ray", "head:6379")
    (None, Cluster(address='head:6379'))
    """
    if backend not in BACKENDS:
        raise InputError(f"backend {backend!r} is not known {did_you_mean(backend, BACKENDS)}")
    if address is not None and backend != "ray":
        raise InputError(f"address {address!r} goes with the backend ray, not {backend}")
    return Cluster(address) if backend == "ray" else None


def several(name: str, values: Any) -> Iterable[Any]:
    """The argument of this name, which has one value or more. Raises InputError.

    >>> several("seeds", range(2))
    range(0, 2)
    """
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise InputError(f"{name} = {values!r}, expected a list of values, as [{values!r}]")
    return values
