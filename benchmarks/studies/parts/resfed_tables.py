"""Tables of the study of ResFed: accuracy, and what it took to get there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from simfl.results.metrics import reached
from simfl.results.study import Study

DEVICES, TARGET = 10, 0.85
PARAMETERS = 64 * 64 + 64 + 64 * 10 + 10


def runs_of(study: Study) -> dict[str, list[pd.DataFrame]]:
    """The evaluations of every seed, by variant."""
    grouped = study.evaluations.groupby("variant", sort=False)
    return {str(name): [run for _, run in seen.groupby("seed")] for name, seen in grouped}


def final(run: pd.DataFrame, last: int = 10) -> float:
    """Mean accuracy of the last rounds."""
    return float(run["accuracy"].tail(last).mean())


def by_method(study: Study) -> pd.DataFrame:
    """Accuracy and rounds by seed; medians over seeds of what was sent to and from a device."""
    return _frame({name: _costs(runs) for name, runs in runs_of(study).items()})


def by_participation(study: Study, last: int = 20) -> pd.DataFrame:
    """Accuracy by seed, and what a device sent and received in all, in megabits."""
    rows = {}
    for name, runs in runs_of(study).items():
        spent = {way: [run[f"{way}_bytes"].iloc[-1] for run in runs] for way in ("up", "down")}
        rows[name] = {"accuracy": " ".join(f"{final(run, last):.3f}" for run in runs)}
        rows[name] |= {f"Mb {way}": f"{_mb(all_, 8):.3f}" for way, all_ in spent.items()}
    return _frame(rows)


def to_target(runs: Sequence[pd.DataFrame], column: str, bits: int = 8) -> float:
    """Median over seeds of megabits per device at the target; inf where it was not always met."""
    met = [row for run in runs if (row := reached(run, accuracy=TARGET)) is not None]
    return _mb([row[column] for row in met], bits) if len(met) == len(runs) else np.inf


def _costs(runs: list[pd.DataFrame]) -> dict[str, Any]:
    met = [reached(run, accuracy=TARGET) for run in runs]
    return {
        "accuracy": " ".join(f"{final(run):.3f}" for run in runs),
        "rounds to 85 %": " ".join("never" if row is None else f"{row.version:.0f}" for row in met),
        **{f"Mb {way}": _said(to_target(runs, f"{way}_bytes")) for way in ("up", "down")},
        **{f"counted {way}": _counted(runs, f"paper_{way}_bits") for way in ("up", "down")},
        "ratio": _ratio(runs[0]),
    }


def _counted(runs: list[pd.DataFrame], column: str) -> str:
    """As ResFed's authors count, where a codec does."""
    known = column in runs[0] and runs[0][column].notna().any()
    return _said(to_target(runs, column, 1)) if known else "-"


def _ratio(run: pd.DataFrame) -> str:
    """Of a whole model to the last upload: as counted, and in wire bytes with their framing."""
    last = run[[name for name in run if name.endswith(("_bytes", "_bits"))]].diff().iloc[-1]
    bits, whole = last.get("paper_up_bits", np.nan), 4 * PARAMETERS * DEVICES
    counted = "-" if np.isnan(bits) else f"{8 * whole / bits:.1f}"
    return f"{counted} / {whole / last['up_bytes']:.1f}"


def _mb(spent: Sequence[float], bits: int) -> float:
    return float(np.median(spent)) * bits / DEVICES / 1e6


def _said(megabits: float) -> str:
    return "never" if np.isinf(megabits) else f"{megabits:.3f}"


def _frame(rows: dict[str, dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
