"""Study: many runs as one tidy table, and the statistics over their seeds.

`study.parquet` has one row per run. What varied comes first, a column each, then `seed`,
`variant` (all that varied, in words), `cell` (the run folder's name), `ended`, and the numbers of
the run's summary.json.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from simfl.errors import InputError, did_you_mean, first_line
from simfl.files import put, regular
from simfl.results import evidence, stats
from simfl.results.formatting import as_html
from simfl.results.result import Result, open_run
from simfl.results.summary import HELD, NO_RESULT, NOT_PLAYED, is_end, is_result, summary_of
from simfl.results.tuning import Tuning, read_tuning

TABLE, RUNS = "study.parquet", "cells"

#: Columns that every study has beside what varied and the seed.
NUMBERS = (
    *("variant", "cell", "ended", "virtual_s", "versions", "tasks", "applied", "discarded"),
    *("lost", "cancelled", "in_flight", "final_accuracy", "best_accuracy"),
    *("last10_accuracy", "final_loss"),
    *("down_bytes", "up_bytes", "wasted_bytes", "device_s", "wasted_device_s", "wasted_share"),
    *("in_flight_share", "energy_j", "staleness_mean", "staleness_p50", "staleness_p95"),
    *("staleness_max", "in_flight_age_max", "participation_jain", "participation_gini"),
    *("models_alive_max", "digest"),
)


class Study:
    """Many runs, seen from their folder. Raises InputError if there is no study in it."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        path = self.folder / TABLE
        if not path.is_file():
            raise InputError(f"{folder}: holds no {TABLE}; expected a folder made by simfl study")
        #: One row per run, failed ones included.
        self.table = _read(path)

    @property
    def name(self) -> str:
        """The folder's."""
        return self.folder.name

    @property
    def axes(self) -> list[str]:
        """Columns of what varied, without the seed."""
        columns = list(self.table.columns)
        return columns[: columns.index("seed")]

    @property
    def variants(self) -> list[str]:
        """All that varied, in words, in order of appearance."""
        return list(self.table["variant"].drop_duplicates())

    @property
    def failed(self) -> pd.DataFrame:
        """Rows of the runs that have no result; `ended` says why."""
        return self.table[~self.table["ended"].map(is_result)]

    @cached_property
    def results(self) -> dict[str, Result]:
        """The finished runs by `cell`."""
        done = self.table[self.table["ended"].map(is_result)]
        return {run: open_run(self.folder / RUNS / run) for run in done["cell"].unique()}

    def runs(self, seed: int | None = None, **where: Any) -> dict[str, Result]:
        """One finished run per variant, as plots take them; default: of the first seed.

        where: only runs with these labels, as in strategy="fedbuff".
        """
        rows = self._rows(where)
        wanted = rows["seed"].iloc[0] if seed is None and len(rows) else seed
        rows = rows[(rows["seed"] == wanted) & rows["cell"].isin(list(self.results))]
        pairs = zip(rows["variant"], rows["cell"], strict=True)
        return {variant: self.results[run] for variant, run in pairs}

    def frame(self, table: str, columns: list[str] | None = None) -> pd.DataFrame:
        """A table of all finished runs, one below the other, led by what varied and the seed."""
        rows = self.table[self.table["cell"].isin(list(self.results))]
        parts = []
        for row in rows[[*self.axes, "seed", "variant", "cell"]].to_dict("records"):
            part = self.results[row.pop("cell")].read(table, columns)
            keys = pd.DataFrame({str(key): [value] * len(part) for key, value in row.items()})
            parts.append(pd.concat([keys, part], axis="columns"))
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    @cached_property
    def evaluations(self) -> pd.DataFrame:
        """`frame("evaluations")`."""
        return self.frame("evaluations")

    def to_target(self, **target: float) -> pd.DataFrame:
        """One row per finished run: what it had spent when it first met the target.

        Columns as in `stats.to_target`, after what varied and the seed. Without a target, that
        of the scenario's [stop].
        """
        target = target or self.target
        if not target:
            raise InputError(f"{self.folder}: its runs have no target; give one, as accuracy=0.9")
        rows = self.table[self.table["cell"].isin(list(self.results))]
        costs = [stats.to_target(self.results[run], target) for run in rows["cell"]]
        keys = rows[[*self.axes, "seed", "variant"]].reset_index(drop=True)
        return pd.concat([keys, pd.DataFrame(costs, columns=stats.COSTS)], axis="columns")

    def at_target(self, reference: str | None = None, **target: float) -> pd.DataFrame:
        """One row per variant: medians over seeds to the target, and speed-ups, with intervals.

        reference: the variant that speed-ups refer to; default: the first. See `stats.at_target`.
        """
        base = self.variants[0] if reference is None else reference
        if base not in self.variants:
            hint = did_you_mean(base, self.variants)
            raise InputError(f"reference {base!r} is not a variant of this study {hint}")
        return stats.at_target(self.to_target(**target), base)

    def scores(self) -> pd.DataFrame:
        """One row per variant: final, mean of last ten and best accuracy over seeds, as text.

        Each is a mean and its sample standard deviation; see `evidence.scores`.
        """
        return evidence.scores(self.table[self.table["cell"].isin(list(self.results))])

    def profile(self, cost: str = "seconds", **target: float) -> pd.DataFrame:
        """Performance profiles of what the first axis lists: see `evidence.profile`.

        A problem is a combination of the other axes and a seed.
        """
        first, *others = self.axes
        return evidence.profile(self.to_target(**target), first, [*others, "seed"], cost)

    @cached_property
    def tuning(self) -> Tuning | None:
        """What was tuned before the study; None if nothing was."""
        return read_tuning(self.folder)

    @property
    def target(self) -> dict[str, float]:
        """The target of the scenario's [stop]; {} if it has none."""
        one = next(iter(self.results.values()), None)
        found = {} if one is None else one.scenario.get("stop", {}).get("target", {})
        return dict(found)

    def _rows(self, where: Mapping[str, Any]) -> pd.DataFrame:
        rows = self.table
        for column, label in where.items():
            if column not in rows:
                hint = did_you_mean(column, self.axes)
                raise InputError(f"{column!r} does not vary in this study {hint}")
            rows = rows[rows[column] == label]
        return rows

    def headline(self) -> dict[str, str]:
        """The few things that one wants to know first, as text."""
        failed = {"failed": f"{len(self.failed)} runs"} if len(self.failed) else {}
        return {
            "study": self.name,
            "variants": ", ".join(self.variants),
            "seeds": ", ".join(map(str, self.table["seed"].drop_duplicates())),
            "runs": str(len(self.table)),
        } | failed

    def __repr__(self) -> str:
        lines = self.headline()
        return "\n".join(f"{key:<9} {words}" for key, words in lines.items())

    def _repr_html_(self) -> str:
        return as_html(self.headline())


def finished(folder: Path) -> bool:
    """True if the run in this folder came to its own end, so that it need not be repeated."""
    return is_end(summary_of(folder).get("ended", ""))


def seeds_of(folder: Path) -> list[int]:
    """Seeds of the study in this folder; none if there is none."""
    path = folder / TABLE
    if not path.is_file():
        return []
    return [int(seed) for seed in pd.read_parquet(path, columns=["seed"])["seed"].unique()]


def write_table(folder: Path, runs: Sequence[tuple[Mapping[str, Any], str, str]]) -> None:
    """Writes study.parquet. runs: what distinguishes each, its folder's name, why it failed."""
    labels = pd.DataFrame([keys for keys, _, _ in runs])
    variant = variants_of(labels.drop(columns="seed"))
    rows = []
    for name, (keys, run, failure) in zip(variant, runs, strict=True):
        known = summary_of(folder / RUNS / run)
        ended = known.get("ended", NOT_PLAYED)
        if ended in NO_RESULT:
            ended = f"{ended}: {str(known.get('cause')).removeprefix('learning diverged: ')}"
        elif failure:
            ended = failure if failure == HELD else f"failed: {failure}"
        numbers = {key: known.get(key) for key in NUMBERS}
        rows.append({**keys, **numbers, "variant": name, "cell": run, "ended": ended})
    table = pd.DataFrame(rows)
    for column in labels:
        if table[column].map(type).nunique() > 1 and table[column].dtype == object:
            table[column] = table[column].map(str)  # Parquet columns have one type
    held = io.BytesIO()
    table.to_parquet(held, index=False)
    put(folder / TABLE, held.getvalue())


def _read(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(regular(path))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path}: not a readable table ({first_line(error)})") from error


def variants_of(labels: pd.DataFrame) -> list[str]:
    """What varied in words: "fedbuff, alpha=0.1"; the first column needs no name."""
    first, *others = labels.columns
    varying = [column for column in others if labels[column].map(str).nunique() > 1]
    named = not varying or labels[first].nunique() > 1
    return [
        ", ".join([str(row[first])] * named + [f"{key}={row[key]}" for key in varying])
        for row in labels.to_dict("records")
    ]


def open_folder(folder: str | Path) -> Result | Study:
    """The run or the study in a folder, finished or not. Raises InputError if there is neither.

    folder: as `simfl run` or `simfl study` made it.
    """
    return Study(folder) if (Path(folder) / TABLE).is_file() else open_run(folder)
