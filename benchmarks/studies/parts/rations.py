"""Runs of days, played some minutes at a time: each call goes on where the last one stopped."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import monotonic
from typing import Any

import pandas as pd

import simfl
from simfl.callbacks import CSV
from simfl.errors import Diverged
from simfl.learn.datasets.base import DATA_DIR

LOG = "log.csv"  #: of the callback: a line for every evaluation


def asked_until(about: str | None) -> float:
    """When to stop, as `monotonic` counts, from the command line. Exits where data are missing.

    about: the study's docstring.
    """
    given = argparse.ArgumentParser(description=(about or "").partition("\n")[0])
    given.add_argument("--minutes", type=float, default=10.0)
    asked = given.parse_args()
    if not os.environ.get(DATA_DIR):
        raise SystemExit(f"CIFAR-10 is read from {DATA_DIR}, which is not set")
    return monotonic() + 60.0 * float(asked.minutes)


def play_on(scenario: str, folder: Path, seconds: float, **overrides: Any) -> bool:
    """Plays a run for so many seconds of this machine; whether it has come to its end.

    At the first evaluation after them the run leaves a checkpoint; from it the next call goes on.
    """
    until, over = monotonic() + seconds, []

    def look(row: Mapping[str, float]) -> None:
        if monotonic() > until and not over:
            over.append(row["version"])
            signal.raise_signal(signal.SIGINT)

    try:
        simfl.run(scenario, folder, resume=True, callbacks=[CSV(), look], **overrides)
    except KeyboardInterrupt:
        if not over:
            raise
        return False
    except Diverged:
        pass
    return True


def play_in_turn(scenario: str, cells: Iterable[tuple[Path, dict[str, Any]]], until: float) -> None:
    """Plays runs, folders with overrides, one after the other until this time of `monotonic`."""
    for folder, overrides in cells:
        left_s = until - monotonic()
        if left_s <= 0.0 or not play_on(scenario, folder, left_s, **overrides):
            return


def seen(folder: Path) -> pd.DataFrame:
    """Evaluations so far by version; those after a checkpoint were logged twice."""
    path = folder / LOG
    table = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=["version", "accuracy"])
    return table.drop_duplicates("version", keep="last").sort_values("version", ignore_index=True)
