"""Draws fidelity.png: laws in closed form as lines, what the engine does as points.

python docs/images/fidelity.py
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from pathlib import Path
from types import SimpleNamespace

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

import simfl
from simfl.clock.events import Clock, Kind
from simfl.clock.network.sharing import SharedLink
from simfl.fleet.presence.diurnal import DiurnalOptions
from simfl.results.plots.style import BLUE, FAINT, INK, ORANGE
from simfl.streams import Streams

TIMING = {"dataset": "none", "parameters": 100, "examples": 10, "flops_per_example": 1.0}


def run(groups: list[dict], strategy: dict, **more: object) -> simfl.Result:
    """A timing-only run of these groups."""
    scene = {"fleet": {"group": groups}, "learning": TIMING, "strategy": strategy, **more}
    return simfl.run(scene, seed=11)


def exponential(mean_s: float, count: int = 1) -> dict:
    return {"compute": {"kind": "exponential", "mean_s": mean_s}, "count": count}


def processor_sharing(ax: Axes) -> None:
    """M/M/1 processor sharing: mean response 1 / (mu - lambda)."""
    loads = np.linspace(0.05, 0.92, 100)
    ax.plot(loads, 1.0 / (1.0 - loads), color=INK)
    seen = np.array([0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.85])
    ax.plot(seen, [_mean_response(load) for load in seen], "o", color=BLUE)
    ax.set(xlabel="load of a shared link", ylabel="mean transfer, over its time alone",
           title="M/M/1 processor sharing")  # fmt: skip


def _mean_response(load: float, n: int = 60_000) -> float:
    rng = np.random.default_rng(4)
    arrive_s = np.cumsum(rng.exponential(1.0 / load, n)).tolist()
    sizes = rng.exponential(1000.0, n).tolist()
    clock, took = Clock(), np.zeros(n)
    link = SharedLink(clock, 1000.0, [inf])

    def ended(task: SimpleNamespace) -> None:
        took[task.serial] = clock.now - arrive_s[task.serial]

    def arrives(k: int) -> None:
        link.start(SimpleNamespace(serial=k), sizes[k], 1e5, ended, 0)
        if k + 1 < n:
            clock.at(arrive_s[k + 1], Kind.TASK, k + 1, arrives, k + 1)

    clock.at(arrive_s[0], Kind.TASK, 0, arrives, 0)
    while clock.advance():
        pass
    return float(took[n // 10 :].mean())


def equal_flows(ax: Axes) -> None:
    """K equal transfers through one server take K S / C."""
    counts = np.array([1, 2, 5, 10, 20, 40])
    nbytes = 1e6 + 64
    seen = []
    for k in counts.tolist():
        phones = {
            "compute": {"kind": "constant", "s": 1.0},
            "network": {"down_mbps": 80.0, "up_mbps": 80.0},
            "count": k,
        }
        learning = {**TIMING, "parameters": 250_000}
        server = {"down_mbps": 8.0, "up_mbps": 8.0, "sharing": "max-min"}
        result = run([phones], {"kind": "fedavg", "cohort": k}, learning=learning, server=server,
                     stop={"versions": 1})  # fmt: skip
        seen.append(result.tasks.download_s.mean())
    ax.plot(counts, counts * nbytes / 1e6, color=INK)
    ax.plot(counts, seen, "o", color=BLUE)
    ax.set(xlabel="devices that download at once", ylabel="seconds of each",
           title="K equal flows: K S / C")  # fmt: skip


def geometric_lags(ax: Axes) -> None:
    """Exponential service, replaced at once: lags are geometric, p = mu_i / sum(mu)."""
    rates = (4.0, 1.0)
    result = run(
        [exponential(1.0 / rate) for rate in rates],
        {"kind": "fedasync", "refill": "same", "concurrency": 2},
        stop={"versions": 20_000},
    )
    tasks = result.tasks[result.tasks.outcome == "applied"]
    lags = np.arange(14)
    for device, (rate, colour) in enumerate(zip(rates, (BLUE, ORANGE), strict=True)):
        p = rate / sum(rates)
        found = tasks.staleness[tasks.device == device].astype(int)
        seen = np.bincount(found, minlength=14)[:14] / len(found)
        ax.plot(lags, p * (1 - p) ** lags, color=INK, linewidth=1.0)
        ax.plot(lags[seen > 0], seen[seen > 0], "o", color=colour, label=f"p = {p:g}")
    ax.legend(frameon=False)
    ax.set(xlabel="staleness (versions)", ylabel="share of updates", yscale="log", ylim=(1e-4, 1),
           title="lags of two devices: geometric")  # fmt: skip


def rounds(ax: Axes) -> None:
    """Synchronous rounds of k exponential devices take H_k / mu."""
    cohorts = np.array([1, 2, 4, 8, 16, 32, 64])
    seen = []
    for k in cohorts.tolist():
        result = run(
            [exponential(1.0, 100)], {"kind": "fedavg", "cohort": k}, stop={"versions": 3000}
        )
        seen.append(result.versions.time_s.max() / 3000)
    ax.plot(cohorts, [(1.0 / np.arange(1, k + 1)).sum() for k in cohorts], color=INK)
    ax.plot(cohorts, seen, "o", color=BLUE)
    ax.set(xlabel="devices in a round", ylabel="mean round, over a task", xscale="log",
           title="slowest of k: harmonic numbers")  # fmt: skip


def nights(ax: Axes) -> None:
    """Presence over two days: the share of phones, and what their windows say."""
    options = DiurnalOptions(mean_hours=8.0, start_hour=22.5, spread_hours=1.0, sigma=0.4)
    part = options.part(Streams(3), range(20_000))
    hours = np.arange(0.0, 48.0, 0.5)
    ax.plot(hours, [part.mask(float(h) * 3600.0).mean() for h in hours], "o", color=BLUE, ms=3)
    ax.plot(hours, _expected_nights(options, hours), color=INK, linewidth=1.0)
    ax.axhline(8.0 / 24.0, color=FAINT)
    ax.set(xlabel="hours", ylabel="share of phones present", xlim=(0, 48),
           title="a window each day, 8 h in the mean")  # fmt: skip


def _expected_nights(options: DiurnalOptions, hours: np.ndarray) -> np.ndarray:
    """By drawing windows alone, without the fleet."""
    rng = np.random.default_rng(0)
    shift = rng.normal(0.0, np.hypot(options.spread_hours, options.jitter_hours), 40_000)
    length = options.mean_hours * np.exp(
        options.sigma * rng.standard_normal(40_000) - 0.5 * options.sigma**2
    )
    start = options.start_hour + shift
    since = (hours[:, None] - start) % 24.0
    return (since < length).mean(axis=1)


def conserved_staleness(ax: Axes) -> None:
    """Lags of what was used and ages of what flies add up to V (C - 1)."""
    versions = 400
    asked = [(c, b) for c in (5, 20, 80) for b in (1, 4)]
    for concurrency, buffer in asked:
        result = run(
            [exponential(1.0, 60), exponential(6.0, 60)],
            {"kind": "fedbuff", "concurrency": concurrency, "buffer": buffer, "dispatch": "after"},
            stop={"versions": versions},
        )
        used = result.tasks[result.tasks.outcome.isin(["applied", "in_flight"])]
        colour, size = (BLUE, 10) if buffer == 1 else (ORANGE, 5)
        name = f"B = {buffer}" if concurrency == 5 else None
        ages = used.staleness.sum() / versions
        ax.plot(concurrency - 1, ages, "o", color=colour, markersize=size, label=name)
    ax.legend(frameon=False)
    ax.plot([0, 80], [0, 80], color=INK, zorder=0)
    ax.set(xlabel="tasks in flight, less one", ylabel="lags and ages, over versions",
           title="staleness is conserved")  # fmt: skip


PANELS: tuple[Callable[[Axes], None], ...] = (
    *(processor_sharing, equal_flows, rounds, geometric_lags, conserved_staleness, nights),
)


def main() -> None:
    figure, axes = plt.subplots(2, 3, figsize=(11.0, 6.2), layout="constrained")
    for panel, ax in zip(PANELS, axes.flat, strict=True):
        panel(ax)
        ax.spines[["top", "right"]].set_visible(False)
        ax.title.set_fontsize(10)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
