"""SEEN: what a run leaves behind, and how to look at it.

`store` writes the tables that `frames` describes and `result` reads them back; `metrics` and
`costs` turn them into numbers, `compare` into one row per run, `plots` into Axes.
"""

from simfl.results.compare import compare
from simfl.results.result import Result, open_run

__all__ = ["Result", "compare", "open_run"]
