"""What it takes to look at a long run: time and peak memory of its summary, pictures and report.

    python benchmarks/report_scale.py [MILLIONS] [WHAT...]

The folder is made up: so many million tasks of a million devices, each of which made a version, as
`benchmarks/clock_scale.py large` leaves ten million. Each look is a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from simfl.results.store import PART_ROWS, Store

DEVICES = 1_000_000
CLASSES = np.array(["phone-low", "phone-mid", "phone-high"], dtype=object)
SPAN_S = 86_400.0

LOOK = """
import resource, sys, time
import matplotlib
matplotlib.use("agg")
import simfl
from simfl.results.plots import PLOTS
from simfl.results.report import report
from simfl.results.summary import summarise
folder, what = sys.argv[1:]
run = simfl.open(folder)
before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
if what == "report":
    report([run], folder + "/report.html")
elif what == "summary":
    summarise(run.parts, devices=run.count("devices"))
else:
    PLOTS[what](run)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seconds = time.process_time() - start
print(f"{what:<22}{seconds:>8.1f} CPU s{peak / 1024:>9,.0f} MiB, {before / 1024:,.0f} before")
"""


def rows(first: int, n: int, whole: int, rng: np.random.Generator) -> dict[str, dict[str, Any]]:
    """Columns of so many tasks, and of the versions that they made."""
    number = np.arange(first, first + n)
    device = rng.integers(DEVICES, size=n)
    stale = np.minimum(rng.geometric(1 / 1000, n), number)
    ended_s = (number + 1) * (SPAN_S / whole)
    spent_s = rng.exponential([[2.0], [90.0], [8.0]], (3, n))
    spent_s *= np.minimum(1.0, ended_s / spent_s.sum(0))
    flat = np.full(n, nan)
    tasks = {
        "task": number, "device": device, "device_class": CLASSES[device % len(CLASSES)],
        "version": number - stale, "applied_version": number + 1,
        "dispatched_s": ended_s - spent_s.sum(0), "download_s": spent_s[0],
        "train_s": spent_s[1], "upload_s": spent_s[2], "ended_s": ended_s,
        "outcome": np.full(n, "applied", object), "cause": np.full(n, "", object),
        "phase": np.full(n, "upload", object), "down_bytes": np.full(n, 40_064),
        "up_bytes": np.full(n, 40_064), "examples": np.full(n, 50), "epochs": np.ones(n),
        "staleness": stale, "staleness_s": spent_s.sum(0), "drift": flat, "cosine": flat,
        "weight": np.ones(n), "train_loss": flat, "energy_j": spent_s.sum(0),
    }  # fmt: skip
    versions = {
        "version": number + 1, "time_s": ended_s, "updates": np.ones(n, int),
        "staleness_mean": stale.astype(float), "staleness_max": stale, "weight_sum": np.ones(n),
        "step_s": np.zeros(n),
    }  # fmt: skip
    return {"tasks": tasks, "versions": versions}


def make(folder: Path, whole: int) -> None:
    """A run folder of so many tasks."""
    store, rng = Store(folder), np.random.default_rng(0)
    for first in range(0, whole, PART_ROWS):
        for table, columns in rows(first, min(PART_ROWS, whole - first), whole, rng).items():
            store.append(table, columns)
    networks = np.array(["lte", "wifi"], dtype=object)
    device = np.arange(DEVICES)
    fleet = {"device": device, "network": networks[device % 2], "train_w": np.full(DEVICES, 3.0)}
    store.put_devices({**fleet, "radio_w": np.ones(DEVICES)})
    store.finish()
    (folder / "scenario.toml").write_text('name = "day"\n[strategy]\nkind = "fedasync"\n')


def main(words: list[str]) -> None:
    millions, *looks = words or ["3"]
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "day"
        make(folder, int(float(millions) * 1e6))
        found = pq.read_metadata(folder / "tasks.parquet").num_rows
        print(f"{found:,} tasks, {sum(p.stat().st_size for p in folder.iterdir()) / 1e6:,.0f} MB")
        for what in looks or ("summary", "critical-path", "staleness", "traffic", "report"):
            subprocess.run([sys.executable, "-c", LOOK, str(folder), what], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
