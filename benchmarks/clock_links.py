"""Completions per second on shared links, beside links of their own, in the same run.

    python benchmarks/clock_links.py

2,000 transfers and tasks in flight in 50 cells; timing only, ledger included. `cells` are the
bottleneck, `server` is, or `neither`; medians of alternating rounds, of CPU time.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from simfl.clock.kernel import Kernel
from simfl.engine.build import fleet_of, plan_of, workload_of
from simfl.engine.loading import problem_of
from simfl.results.store import Store
from simfl.scenario import parse
from simfl.streams import Streams

ROUNDS = 3
COMPLETIONS = 20_000
CELLS = 50
CONCURRENCY = 2_000


def scenario(cell_mbps: float, server_mbps: float, shared: bool) -> dict[str, Any]:
    """Phones on LTE that are busy with transfers most of the time."""
    rates = {"down_mbps": cell_mbps, "up_mbps": cell_mbps} if shared else {}
    server = {"down_mbps": server_mbps, "up_mbps": server_mbps, "sharing": "max-min"}
    network = {"down_mbps": 20.0, "up_mbps": 5.0, "latency_s": 0.05, "jitter_sigma": 0.4,
               "down_sigma": 0.5, "up_sigma": 0.5}  # fmt: skip
    return {
        "name": "links",
        "fleet": {
            "group": [
                {
                    "compute": {"kind": "exponential", "mean_s": 2.0},
                    "network": network,
                    "cell": "town",
                    "count": 10_000,
                }
            ]
        },
        "network": {"cell": [{"name": "town", "count": CELLS, **rates}]},
        "server": server if shared else {},
        "learning": {
            "dataset": "none",
            "parameters": 1_000_000,
            "examples": 50,
            "flops_per_example": 1e6,
        },
        "strategy": {"kind": "fedasync", "concurrency": CONCURRENCY},
        "stop": {"updates": COMPLETIONS},
    }


def engine(cell_mbps: float, server_mbps: float, shared: bool = True) -> tuple[float, float]:
    """(completions per CPU second, virtual seconds)."""
    whole = parse(scenario(cell_mbps, server_mbps, shared))
    streams = Streams(whole.seed)
    fleet = fleet_of(whole, streams)
    workload = workload_of(whole, problem_of(whole, streams), streams, timing=True)
    store = Store(None)
    kernel = Kernel(fleet, workload, whole.strategy, streams, plan_of(whole), store.append)
    start = time.process_time()
    kernel.run()
    kernel.close()
    store.finish()
    seconds = time.process_time() - start
    store.close()
    return COMPLETIONS / seconds, kernel.clock.now


def main() -> None:
    cases = {
        "own links": (1.0, 1.0, False),
        "shared, neither is full": (1e6, 1e6, True),
        "cells are full": (100.0, 1e6, True),
        "the server is full": (1e6, 4000.0, True),
        "both": (100.0, 4000.0, True),
    }
    rates: dict[str, list[float]] = {name: [] for name in cases}
    virtual: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name, case in cases.items():
            rate, virtual[name] = engine(*case)
            rates[name].append(rate)
    print(f"completions per CPU second, {CONCURRENCY:,} in flight, {CELLS} cells")
    for name, found in rates.items():
        ratio = statistics.median(a / b for a, b in zip(found, rates["own links"], strict=True))
        median = statistics.median(found)
        print(f"  {name:<26} {median:>8,.0f}  x {ratio:.2f}  ({virtual[name]:,.0f} virtual s)")


if __name__ == "__main__":
    main()
