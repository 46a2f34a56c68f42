"""What tuning found, as a study's folder keeps it.

`tuning.json` has each variant's best options, `trials.parquet` a row for every trial: `variant`,
`trial`, `value` (the objective, a mean over the seeds played), `met`, `seeds` (played), `spent_s`
(virtual), `ended` (met, missed, played, or failed and why) and the options by key path.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from simfl.errors import InputError
from simfl.files import put, read_object, regular

BEST, TRIALS = "tuning.json", "trials.parquet"


@dataclass(frozen=True)
class Best:
    """The best options of a variant.

    edges: "low" or "high" for an option on the edge of its space, "" elsewhere.
    importance: share of the differences between trials that an option explains.
    value: the objective, a mean over the tuning seeds.
    met: the target, under all of them.
    """

    options: dict[str, Any]
    edges: dict[str, str]
    importance: dict[str, float]
    value: float
    met: bool
    trials: int


@dataclass(frozen=True)
class Tuning:
    """What was tuned, and how it went.

    options: those of [tune].
    """

    options: dict[str, Any]
    best: dict[str, Best]
    trials: pd.DataFrame

    def table(self) -> pd.DataFrame:
        """One row per variant, as people read it."""
        rows = {
            name: {
                "trials": str(one.trials),
                "best options": in_words(one),
                "on the edge": ", ".join(_last(p) for p, side in one.edges.items() if side) or "-",
                f"{self.options['objective']}, tuning seeds": _value(one),
            }
            for name, one in self.best.items()
        }
        return pd.DataFrame.from_dict(rows, orient="index").rename_axis("variant")


def in_words(best: Best) -> str:
    """`lr = 0.15, server_lr = 2 (high edge)`."""
    return ", ".join(
        f"{_last(path)} = {value}" + f" ({best.edges[path]} edge)" * bool(best.edges.get(path))
        for path, value in best.options.items()
    )


def write_tuning(
    folder: Path, options: Mapping[str, Any], best: Mapping[str, Best], trials: pd.DataFrame
) -> None:
    """tuning.json and trials.parquet are in the folder."""
    record = {"tune": dict(options), "best": {name: asdict(one) for name, one in best.items()}}
    put(folder / BEST, (json.dumps(record, indent=2) + "\n").encode())
    for column in trials:
        if trials[column].dtype == object:
            known = trials[column].notna()
            trials[column] = trials[column].map(str).where(known, None)
    trials.to_parquet(folder / TRIALS, index=False)


def read_tuning(folder: Path) -> Tuning | None:
    """What tuning found in this folder; None if nothing was tuned. Raises InputError."""
    if not (folder / BEST).is_file():
        return None
    try:
        record = read_object(folder / BEST)
        best = {name: Best(**one) for name, one in record["best"].items()}
        return Tuning(record["tune"], best, pd.read_parquet(regular(folder / TRIALS)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, pa.ArrowException) as error:
        raise InputError(f"{folder / BEST}: cannot be read ({error})") from error


def _last(path: str) -> str:
    return path.rpartition(".")[2]


def _value(best: Best) -> str:
    return f"{abs(best.value):.4g}" + " (missed)" * (not best.met)
