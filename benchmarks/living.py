"""What a changing world costs: memory of devices that have come and gone, and resuming by replay.

python benchmarks/living.py [devices]
"""

from __future__ import annotations

import gc
import sys
import tempfile
import time
import tracemalloc
import warnings
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import simfl
from simfl.clock.kernel import Kernel

FIRST = 200  #: devices after which the memory is looked at for the first time


def scenario(seconds: float) -> dict[str, Any]:
    """Forty devices that train for a minute or so, twenty at a time; nothing is learnt."""
    group = {"count": 40, "compute": {"kind": "exponential", "mean_s": 60.0}}
    return {
        "fleet": {"group": [group]},
        "learning": {
            "dataset": "none", "parameters": 1000, "examples": 10, "flops_per_example": 1.0,
        },
        "strategy": {"kind": "fedbuff", "concurrency": 20, "buffer": 5},
        "stop": {"after_s": seconds},
    }  # fmt: skip


def churn(devices: int, seen: dict[int, int]) -> Callable[..., Any]:
    """A process by which a device joins each second and is retired ten seconds later."""

    def process(env: Any, world: Any) -> Generator[Any, Any, None]:
        for k in range(devices):
            yield env.timeout(1.0)
            (device,) = world.add(0)
            if k >= 10:
                world.retire(device - 10)
            if k + 1 in (FIRST, devices):
                gc.collect()
                seen[k + 1] = tracemalloc.get_traced_memory()[0]

    return process


def memory(devices: int) -> float:
    """Bytes that stay of each device that has come and gone."""
    seen: dict[int, int] = {}
    tracemalloc.start()
    simfl.run(scenario(devices + 1.0), processes=[churn(devices, seen)])
    tracemalloc.stop()
    return (seen[devices] - seen[FIRST]) / (devices - FIRST)


def breathing(env: Any, world: Any) -> Generator[Any, Any, None]:
    """A process as a function: each minute all devices train at another speed."""
    while True:
        factor = 0.5 + world.generator("speed").random()
        for device in range(world.devices):
            world.set_speed(device, factor)
        yield env.timeout(60.0)


def replay(seconds: float) -> tuple[float, float, float]:
    """Seconds of a whole run, of one that is interrupted half-way, and of its resumption."""
    with tempfile.TemporaryDirectory() as folder:
        out, table = Path(folder) / "run", scenario(seconds)
        whole_s = timed(lambda: simfl.run(table, processes=[breathing]))
        half_s = timed(lambda: interrupted(table, out, seconds / 2.0))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # says that it is played again
            again = lambda: simfl.run(table, processes=[breathing], out=out, resume=True)  # noqa: E731
            return whole_s, half_s, timed(again)


def interrupted(table: dict[str, Any], out: Path, at_s: float) -> None:
    """Plays a run until its user presses Ctrl-C."""
    step = Kernel._step

    def stopped(kernel: Kernel) -> None:
        step(kernel)
        if kernel.clock.now > at_s:
            kernel.interrupt()

    Kernel._step = stopped  # type: ignore[method-assign]
    try:
        simfl.run(table, processes=[breathing], out=out)
    except KeyboardInterrupt:
        pass
    finally:
        Kernel._step = step  # type: ignore[method-assign]


def timed(call: Callable[[], Any]) -> float:
    """Seconds that a call takes."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    print(f"{memory(count):.0f} bytes stay of each of {count:,} devices")
    whole, half, resumed = replay(86_400.0)
    print(f"whole {whole:.1f} s, half {half:.1f} s, resumed {resumed:.1f} s")
