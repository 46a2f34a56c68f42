"""Draws deployment.png: a real Flower deployment, as it was measured, and its prediction.

python docs/images/deployment.py
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from simfl.results.plots.style import BLUE, FAINT, INK, ORANGE

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "testbed"))

from calibrate import at_speed, constants, pooled
from cases import CALIBRATION, CASES
from predict import STEPS, compared, predict, task_s

RUNS = Path(__file__).parents[2] / "tests" / "benchmarks" / "measured"
Runs = list[dict[str, Any]]
PHASES = ("download", "process and training", "upload")


def main() -> None:
    known = constants(*(pooled(read(name)) for name in CALIBRATION))
    measured = {name: read(name) for name in CASES if read(name)}
    predicted = {
        name: [played(name, at_speed(known, runs), n) for n in range(1, len(STEPS) + 1)]
        for name, runs in measured.items()
    }
    whole = {name: steps[-1] for name, steps in predicted.items()}
    figure, axes = plt.subplots(2, 2, figsize=(11, 8.5), layout="constrained")
    totals(axes[0, 0], measured, whole)
    tasks(axes[0, 1], measured, whole)
    gantt(axes[1, 0], measured["a"][0], whole["a"])
    effects(axes[1, 1], measured, predicted)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)


def read(name: str) -> Runs:
    return [json.loads(file.read_text("utf-8")) for file in sorted(RUNS.glob(f"{name}-*.json"))]


def played(name: str, known: Mapping[str, Any], steps: int) -> Runs:
    with tempfile.TemporaryDirectory() as folder:
        return predict(CASES[name], known, Path(folder), steps=steps)


def totals(ax: Axes, measured: Mapping[str, Runs], predicted: Mapping[str, Runs]) -> None:
    for k, (name, runs) in enumerate(measured.items()):
        ax.plot([k - 0.12] * len(runs), [run["total_s"] for run in runs], "o", color=BLUE)
        seconds = [run["total_s"] for run in predicted[name]]
        ax.plot([k + 0.12] * 2, [min(seconds), max(seconds)], "-", color=ORANGE, lw=5, alpha=0.7)
        ax.plot(k + 0.12, mean(seconds), "_", color=INK)
    ax.set_xticks(range(len(measured)), measured, rotation=30)
    ax.set(ylim=(0, None), ylabel="s", title="whole runs: measured (dots), predicted (bars)")


def tasks(ax: Axes, measured: Mapping[str, Runs], predicted: Mapping[str, Runs]) -> None:
    """Every task measured, against the mean of the tasks of its device that are predicted."""
    top = 0.0
    for name, runs in measured.items():
        means = {d: mean(seconds) for d, seconds in by_device(predicted[name]).items()}
        points = [(means[d], s) for d, found in by_device(runs).items() for s in found]
        x, y = zip(*points, strict=True)
        ax.plot(x, y, ".", label=name)
        top = max(top, *x, *y)
    ax.plot([0, top], [0, top], color=FAINT, zorder=0)
    ax.legend(frameon=False, fontsize=8)
    ax.set(xlabel="predicted, s", ylabel="measured, s", title="every task")


def by_device(runs: Runs) -> dict[int, list[float]]:
    found = defaultdict(list)
    for run in runs:
        for task in run["tasks"]:
            found[task["device"]].append(task_s(task))
    return found


def gantt(ax: Axes, run: Mapping[str, Any], predicted: Runs) -> None:
    """The second round: real above simulated, from the round's beginning on."""
    begun_s = run["rounds"][1][0]
    real = {t["device"]: t for t in run["tasks"] if t["round"] == 2}
    total = run["rounds"][1][1] - begun_s
    near = min(predicted, key=lambda one: abs(one["rounds"][1][1] - one["rounds"][1][0] - total))
    start_s = near["rounds"][1][0]
    simulated = [t for t in near["tasks"] if start_s <= t["at_s"] < near["rounds"][1][1]]
    for device, task in real.items():
        middle = sum(task[key] for key in ("launch_s", "train_s", "reply_s"))
        parts = (task["download_s"], middle, task["upload_s"])
        bars(ax, device + 0.2, task["at_s"] - begun_s, parts, 1.0)
    for task in simulated:
        parts = (task["download_s"], task["train_s"], task["upload_s"])
        bars(ax, task["device"] - 0.2, task["at_s"] - start_s, parts, 0.45)
    for end_s, shade in ((total, 1.0), (near["rounds"][1][1] - start_s, 0.45)):
        ax.axvline(end_s, color=INK, alpha=shade, lw=1)
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in (BLUE, FAINT, ORANGE)]
    ax.legend(handles, PHASES, frameon=False, fontsize=8)
    ax.set(
        xlabel="s of the round", ylabel="client", title="one round: real (strong), simulated (pale)"
    )


def bars(ax: Axes, y: float, left: float, parts: tuple[float, ...], shade: float) -> None:
    for width, colour in zip(parts, (BLUE, FAINT, ORANGE), strict=True):
        ax.barh(y, width, 0.36, left, color=colour, alpha=shade)
        left += width


def effects(ax: Axes, measured: Mapping[str, Runs], predicted: Mapping[str, list[Runs]]) -> None:
    for name, runs in measured.items():
        errors = [100.0 * compared(runs, step)["total"] for step in predicted[name]]
        ax.plot(range(len(STEPS)), errors, "o-", label=name)
    ax.axhspan(-5.0, 5.0, color=FAINT, alpha=0.4, zorder=0)
    ax.set_xticks(range(len(STEPS)), [step.replace(", ", ",\n") for step in STEPS], fontsize=8)
    ax.legend(frameon=False, fontsize=8)
    ax.set(ylabel="error of the whole run, %", title="as effects are added")


if __name__ == "__main__":
    main()
