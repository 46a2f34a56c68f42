"""Runs side by side: one row each, and that table as text, Markdown or for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from simfl.errors import InputError, did_you_mean
from simfl.results import formatting
from simfl.results.metrics import reached, speedup
from simfl.results.result import Result

if TYPE_CHECKING:
    from rich.table import Table

# What is taken over from each run's summary.
_WHOLE_RUN = (
    *("virtual_s", "versions", "down_bytes", "up_bytes", "final_accuracy"),
    *(
        "staleness_p50",
        "staleness_p95",
        "staleness_max",
        "wasted_device_s",
        "wasted_share",
        "in_flight_share",
    ),
)

_TO_TARGET = {
    "to_target_s": "time_s",
    "to_target_versions": "version",
    "to_target_down_bytes": "down_bytes",
    "to_target_up_bytes": "up_bytes",
}


def compare(
    results: Iterable[Result] | Mapping[str, Result],
    target: Mapping[str, float] | None = None,
    reference: str | None = None,
) -> pd.DataFrame:
    """One row per run, named by the run or as given.

    results: runs, or a mapping from names to runs.
    target: one metric and its value.
    reference: the name of the run that speed-ups refer to; default: the first.

    >>> import simfl
    >>> short = {"stop.versions": 2}
    >>> runs = [simfl.run("quickstart", seed=seed, timing=True, **short) for seed in (0, 1)]
    >>> compare(runs)["versions"].tolist()
    [2, 2]

    With a target, {"accuracy": 0.9}: virtual time (`to_target_s`), versions and bytes until it was
    first met, and `speedup`, by which the run was sooner than the reference. inf: not met before
    the run ended, so the truth is only known to be above `virtual_s`; a speed-up is then inf, 0 or
    NaN if the reference, the run or neither met it, and `speedup_bound` is what it exceeds, or
    stays below.
    """
    runs = dict(results) if isinstance(results, Mapping) else distinct_names(results)
    rows = {name: _row(run, target) for name, run in runs.items()}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("run")
    if target is None:
        return table
    base = next(iter(runs)) if reference is None else reference
    if base not in runs:
        raise InputError(f"reference {base!r} is not one of the runs {did_you_mean(base, runs)}")
    known = table["to_target_s"]
    at_least = known.where(known < math.inf, table["virtual_s"])
    table.insert(1, "speedup", [speedup(known[base], other_s) for other_s in known])
    table.insert(2, "speedup_bound", [speedup(at_least[base], other_s) for other_s in at_least])
    return table


def distinct_names(results: Iterable[Result]) -> dict[str, Result]:
    """Runs by name; if names repeat, by name and folder, or by name and number."""
    runs = list(results)
    if not runs:
        raise InputError("there is no run to compare; give at least one run folder")
    names = [run.name for run in runs]
    if len(set(names)) < len(names):
        names = [f"{run.name} ({run.folder.name})" for run in runs]
    if len(set(names)) < len(names):
        names = [f"{run.name} #{i}" for i, run in enumerate(runs, 1)]
    return dict(zip(names, runs, strict=True))


def cells(table: pd.DataFrame) -> list[list[str]]:
    """The table of `compare` as people read it, headings first; each row as long as the first."""
    rows = [
        {"run": str(name)} | _shown(row)
        for name, row in zip(table.index, table.to_dict("records"), strict=True)
    ]
    return [list(rows[0]), *(list(row.values()) for row in rows)]


def as_markdown(table: pd.DataFrame) -> str:
    """The table of `compare` in Markdown."""
    head, *body = cells(table)
    rule = [":--", ":--", *["--:"] * (len(head) - 2)]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, rule, *body])


def as_text(table: pd.DataFrame) -> str:
    """The table of `compare` in aligned columns."""
    columns = [_aligned(column, i < 2) for i, column in enumerate(zip(*cells(table), strict=True))]
    return "\n".join("  ".join(row).rstrip() for row in zip(*columns, strict=True))


def as_rich(table: pd.DataFrame) -> Table:
    """The table of `compare` for a terminal: lying down, since those are narrow."""
    from rich.markup import escape
    from rich.table import Table

    head, *body = [list(row) for row in zip(*cells(table), strict=True)]
    drawn = Table(box=None, header_style="bold", pad_edge=False)
    for i, name in enumerate(head):
        drawn.add_column(escape(name), justify="right" if i else "left")
    for row in body:
        drawn.add_row(*map(escape, row))
    return drawn


def _row(run: Result, target: Mapping[str, float] | None) -> dict[str, Any]:
    row: dict[str, Any] = {"strategy": run.strategy}
    if target is not None:
        met = reached(run.evaluations, **target)
        for name, column in _TO_TARGET.items():
            row[name] = math.inf if met is None else float(met[column])
    known = {key: math.nan if value is None else value for key, value in run.summary.items()}
    return row | {key: known[key] for key in _WHOLE_RUN}


def _shown(row: dict[Any, Any]) -> dict[str, str]:
    if "speedup" not in row:
        return {"strategy": row["strategy"], **formatting.headline(row)}
    met = math.isfinite(row["to_target_s"])
    target = (
        formatting.seconds(row["to_target_s"])
        if met
        else f"> {formatting.seconds(row['virtual_s'])}"
    )
    counted = ("versions", "down_bytes", "up_bytes")
    costs = {key: row[f"to_target_{key}"] if met else None for key in counted}
    rest = formatting.headline({**row, **costs})
    del rest["virtual time"]
    lead = {"strategy": row["strategy"], "speed-up": _bounded(row["speedup"], row["speedup_bound"])}
    return lead | {"to target": target} | rest


def _bounded(speedup: float, bound: float) -> str:
    sign = {0.0: "< ", math.inf: "> "}.get(speedup, "")
    return sign + formatting.factor(bound if sign else speedup)


def _aligned(column: Sequence[str], left: bool) -> list[str]:
    width = max(map(len, column))
    return [cell.ljust(width) if left else cell.rjust(width) for cell in column]
