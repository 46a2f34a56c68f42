"""Large fleets, timing only: all devices in rounds, and a day with recorded presence.

    python benchmarks/clock_scale.py [rounds] [day] [large]

(a) 131,072 devices, ten synchronous rounds of all of them. (b) 100,000 devices that come and go as
a trace says, a day of virtual time, a million completions. (c) The same with 1,000,000 devices, and
then the pictures of the run. CPU seconds and peak memory of each, in a process of its own; ledger
and Parquet included.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simfl.clock.kernel import Kernel
from simfl.engine.build import fleet_of, plan_of, workload_of
from simfl.engine.loading import problem_of
from simfl.fleet.traces import Trace, write_trace
from simfl.results import plots
from simfl.results.result import Result
from simfl.results.store import Store
from simfl.scenario import parse
from simfl.streams import Streams

DAY_S = 86_400.0
LEARNING = {
    "dataset": "none",
    "parameters": 10_000,
    "examples": 50,
    "flops_per_example": 1e8,
}


def rounds(folder: Path) -> dict[str, Any]:
    """Ten rounds of 131,072 phones."""
    return {
        "name": "rounds",
        "fleet": {"group": [{"device": "phone-mid", "count": 131_072}]},
        "learning": LEARNING,
        "strategy": {"kind": "fedavg", "cohort": 131_072},
        "stop": {"versions": 10},
    }


def day(folder: Path, devices: int = 100_000) -> dict[str, Any]:
    """Phones, each there in some four sessions of two days; tasks of some two minutes."""
    sessions = 4
    rng = np.random.default_rng(0)
    edges = np.sort(rng.uniform(0.0, 2.0 * DAY_S, (devices, 2 * sessions)), axis=1)
    edges[:, 1:] = np.maximum(edges[:, 1:], edges[:, :-1] + 1.0)
    columns = {
        "device": np.repeat(np.arange(devices), sessions),
        "start_s": edges[:, 0::2].ravel(),
        "end_s": edges[:, 1::2].ravel(),
        "period_s": np.full(devices * sessions, 3.0 * DAY_S),
    }
    (folder / "traces").mkdir()
    trace = Trace("presence", columns, {"devices": devices})
    write_trace(folder / "traces" / "phones.parquet", trace)
    return {
        "name": "day",
        "fleet": {
            "group": [
                {
                    "compute": {"kind": "lognormal", "median_s": 100.0, "sigma": 0.5},
                    "network": {"down_mbps": 20.0, "up_mbps": 5.0, "latency_s": 0.05},
                    "presence": {"kind": "trace", "trace": "phones"},
                    "count": devices,
                }
            ]
        },
        "learning": LEARNING,
        "strategy": {"kind": "fedasync", "concurrency": 1350},
        "stop": {"after_s": DAY_S},
    }


def large_day(folder: Path) -> dict[str, Any]:
    """The same with a million phones."""
    return day(folder, devices=1_000_000)


def play(name: str, scene: Any, pictures: bool) -> None:
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        whole = parse(scene(folder), path=folder / "scenario.toml")
        start = time.process_time()
        streams = Streams(whole.seed)
        fleet = fleet_of(whole, streams)
        workload = workload_of(whole, problem_of(whole, streams), streams, timing=True)
        store = Store(None)
        kernel = Kernel(fleet, workload, whole.strategy, streams, plan_of(whole), store.append)
        kernel.run()
        kernel.close()
        store.finish()
        seconds = time.process_time() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{name}: {kernel.ledger.applied:,} completions of {kernel.ledger.ended:,} tasks, "
            f"{kernel.clock.now:,.0f} virtual s, {seconds:.1f} CPU s, {peak:,.0f} MiB",
            flush=True,
        )
        if pictures:
            draw(Result(store.folder, store))
        store.close()


def draw(run: Result) -> None:
    """What the pictures of a run cost, each from its columns on disk."""
    import matplotlib

    matplotlib.use("agg")
    for picture in (plots.staleness, plots.traffic, plots.waste, plots.participation):
        start = time.process_time()
        picture(run)
        seconds = time.process_time() - start
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"  {picture.__name__}: {seconds:.1f} CPU s, peak by then {peak:,.0f} MiB", flush=True
        )


SCENES = {
    "rounds": ("ten rounds of 131,072", rounds, False),
    "day": ("a day of 100,000", day, False),
    "large": ("a day of 1,000,000", large_day, True),
}


def main(wanted: Sequence[str]) -> None:
    context = multiprocessing.get_context("spawn")
    for scene in wanted or SCENES:
        one = context.Process(target=play, args=SCENES[scene])
        one.start()
        one.join()


if __name__ == "__main__":
    main(sys.argv[1:])
