"""Task completions per second of the whole engine, beside bare SimPy loops in the same run.

    python benchmarks/clock.py

Timing only: no learning, but strategy, sampling, ledger and Parquet included. Medians of
alternating rounds; read the ratios, for machines differ.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np
import simpy

from simfl.clock.kernel import Kernel
from simfl.engine.build import fleet_of, plan_of, workload_of
from simfl.engine.loading import problem_of
from simfl.results.store import Store
from simfl.scenario import parse
from simfl.streams import Streams

ROUNDS = 5
COMPLETIONS = 100_000


def scenario(devices: int, concurrency: int, completions: int) -> dict:
    """FedAsync-like: every arrival makes a version and sends out one task."""
    return {
        "name": "clock",
        "fleet": {
            "group": [
                {
                    "compute": {"kind": "exponential", "mean_s": 30.0},
                    "network": {"down_mbps": 20.0, "up_mbps": 5.0, "latency_s": 0.05},
                    "count": devices,
                }
            ]
        },
        "learning": {
            "dataset": "none",
            "parameters": 10_000,
            "examples": 50,
            "flops_per_example": 1e6,
        },
        "strategy": {"kind": "fedasync", "concurrency": concurrency},
        "stop": {"updates": completions},
    }


def engine(devices: int, concurrency: int, completions: int = COMPLETIONS) -> float:
    """Completions per CPU second of simfl, set-up of the fleet excluded."""
    whole = parse(scenario(devices, concurrency, completions))
    streams = Streams(whole.seed)
    fleet = fleet_of(whole, streams)
    workload = workload_of(whole, problem_of(whole, streams), streams, timing=True)
    store = Store(None)
    kernel = Kernel(fleet, workload, whole.strategy, streams, plan_of(whole), store.append)
    seconds = timed(lambda: (kernel.run(), kernel.close(), store.finish()))
    store.close()
    return completions / seconds


def bare_process(concurrency: int, completions: int = COMPLETIONS) -> float:
    """Completions per CPU second of SimPy alone: one process of three waits for each."""
    env, rng, done = simpy.Environment(), np.random.default_rng(0), 0

    def task():
        nonlocal done
        yield env.timeout(0.1)
        yield env.timeout(float(rng.exponential(30.0)))
        yield env.timeout(0.1)
        done += 1
        env.process(task())

    return completions / timed(lambda: play(env, task, lambda: done < completions, concurrency))


def bare_callback(concurrency: int, completions: int = COMPLETIONS) -> float:
    """The same with one timeout and a callback for each completion."""
    env, rng, done = simpy.Environment(), np.random.default_rng(0), 0

    def again(_: object = None) -> None:
        nonlocal done
        done += 1
        env.timeout(float(rng.exponential(30.0))).callbacks.append(again)

    def run() -> None:
        for _ in range(concurrency):
            again()
        while done < completions:
            env.step()

    return completions / timed(run)


def play(env: simpy.Environment, task: Callable, going: Callable[[], bool], n: int) -> None:
    for _ in range(n):
        env.process(task())
    while going():
        env.step()


def timed(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def bytes_per_idle_device(devices: int = 1_000_000) -> float:
    """Fleet columns, idle pool and task counters; the partition is not counted."""
    import tracemalloc

    whole = parse(scenario(devices, 10, 10))
    streams = Streams(0)
    workload = workload_of(whole, problem_of(whole, streams), streams, timing=True)
    tracemalloc.start()
    fleet = fleet_of(whole, streams)
    kernel = Kernel(fleet, workload, whole.strategy, streams, plan_of(whole), lambda *_: None)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return used / len(kernel.server.fleet)


def main() -> None:
    small, large, process, callback = [], [], [], []
    for _ in range(ROUNDS):
        process.append(bare_process(1000))
        small.append(engine(10_000, 1000))
        callback.append(bare_callback(1000))
        large.append(engine(1_000_000, 1000))
    pairs = list(zip(small, large, process, callback, strict=True))
    ratio = {
        "engine, 10,000 devices / bare process": [s / p for s, _, p, _ in pairs],
        "engine, 10,000 devices / bare callback": [s / c for s, _, _, c in pairs],
        "cost per completion, 1,000,000 / 10,000 devices": [s / g for s, g, _, _ in pairs],
    }
    print("completions per CPU second, 1,000 in flight, medians of", ROUNDS)
    for name, rates in [
        ("simfl, 10,000 devices", small),
        ("simfl, 1,000,000 devices", large),
        ("bare SimPy, one process of three waits", process),
        ("bare SimPy, one timeout and callback", callback),
    ]:
        print(f"  {name:<48} {statistics.median(rates):>12,.0f}")
    print("ratios (median, least, most)")
    for name, values in ratio.items():
        print(f"  {name:<48} {statistics.median(values):.2f}  {min(values):.2f}  {max(values):.2f}")
    print(f"  {'bytes per idle device, 1,000,000 devices':<48} {bytes_per_idle_device():.0f}")


if __name__ == "__main__":
    main()
