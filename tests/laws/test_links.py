"""Closed forms of shared links: processor sharing, equal flows, scaling, waterfilling."""

from __future__ import annotations

from math import inf
from types import SimpleNamespace

import numpy as np
import pytest
from scenes import scene

import simfl
from simfl.clock.events import Clock, Kind
from simfl.clock.network.sharing import SharedLink

FRAME_BYTES = 64


def responses(arrivals_s, sizes, capacity, where):
    """Seconds that each flow takes on one saturated resource, in order of arrival."""
    clock = Clock()
    server, cells, cell = (capacity, [inf], 0) if where == "server" else (inf, [capacity], 0)
    link = SharedLink(clock, "down", server, cells)
    took = np.zeros(len(sizes))

    def ended(task):
        took[task.serial] = clock.now - arrivals_s[task.serial]

    def arrive(k):
        link.start(SimpleNamespace(serial=k), sizes[k], capacity * 10.0, cell)
        if k + 1 < len(sizes):
            clock.at(arrivals_s[k + 1], Kind.TASK, k + 1, "test.arrive", k + 1)

    link.done = ended
    clock.handlers["test.arrive"] = arrive
    clock.at(arrivals_s[0], Kind.TASK, 0, "test.arrive", 0)
    while clock.advance():
        pass
    return took


@pytest.mark.parametrize("where", ["server", "cell"])
@pytest.mark.parametrize("law", ["exponential", "constant"])
def test_poisson_arrivals_wait_as_in_processor_sharing(where, law):
    """Mean response 1 / (mu - lambda), whatever the law of sizes (Kleinrock, vol. 2, 4.4)."""
    rng = np.random.default_rng(5)
    n, mu, load = 40_000, 1.0, 0.6
    arrivals_s = np.cumsum(rng.exponential(1.0 / (load * mu), n))
    sizes = rng.exponential(1000.0, n) if law == "exponential" else np.full(n, 1000.0)
    took = responses(arrivals_s.tolist(), sizes.tolist(), 1000.0, where)[n // 10 :]
    assert took.mean() == pytest.approx(1.0 / (mu - load * mu), rel=0.04)


def test_long_flows_wait_in_proportion_to_their_size():
    """Processor sharing treats all alike: E[T | size] = size / (C (1 - load))."""
    rng = np.random.default_rng(6)
    n, load = 60_000, 0.5
    arrivals_s = np.cumsum(rng.exponential(1.0 / load, n))
    sizes = rng.exponential(1000.0, n)
    took = responses(arrivals_s.tolist(), sizes.tolist(), 1000.0, "server")
    for low, high in ((0.0, 300.0), (300.0, 1000.0), (1000.0, 3000.0), (3000.0, inf)):
        some = (sizes >= low) & (sizes < high)
        slowdown = took[some].sum() / sizes[some].sum() * 1000.0
        assert slowdown == pytest.approx(1.0 / (1.0 - load), rel=0.05)


def transfers(parameters):
    learning = {"dataset": "none", "parameters": parameters, "examples": 10}
    return {**learning, "flops_per_example": 1.0}


@pytest.mark.parametrize("k", [1, 3, 12])
@pytest.mark.parametrize("where", ["server", "cell"])
def test_k_equal_devices_take_k_times_as_long(k, where):
    """K S / C for each direction, on the whole engine."""
    group = {
        "compute": {"kind": "constant", "s": 2.0},
        "network": {"down_mbps": 80.0, "up_mbps": 80.0, "latency_s": 0.25},
        "cell": "town",
        "count": k,
    }
    slow = {"down_mbps": 8.0, "up_mbps": 4.0}
    server = {"sharing": "max-min", **(slow if where == "server" else {})}
    cell = {"name": "town", **(slow if where == "cell" else {})}
    whole = scene(
        [group],
        {"kind": "fedavg", "cohort": k},
        learning=transfers(250_000 - FRAME_BYTES // 4),
        network={"cell": [cell]},
        server=server,
        stop={"versions": 1},
    )
    tasks = simfl.run(whole).tasks
    nbytes = tasks.down_bytes.iloc[0]
    assert tasks.download_s.to_numpy() == pytest.approx(np.full(k, 0.25 + k * nbytes / 1e6))
    assert tasks.upload_s.to_numpy() == pytest.approx(np.full(k, 0.25 + k * nbytes / 5e5))


def crowded(speed):
    """A crowd on shared cells and a shared server; every rate is multiplied by speed."""
    groups = [
        {
            "compute": {"kind": "exponential", "mean_s": 2.0 / speed},
            "network": {
                "down_mbps": 8.0 * speed,
                "up_mbps": 4.0 * speed,
                "latency_s": 0.1 / speed,
                "jitter_sigma": 0.5,
                "down_sigma": 0.5,
            },
            "cell": cell,
            "count": 20,
        }
        for cell in ("town", "farm")
    ]
    cells = [
        {"name": "town", "count": 2, "down_mbps": 20.0 * speed, "up_mbps": 10.0 * speed},
        {"name": "farm", "down_mbps": 5.0 * speed, "up_mbps": 5.0 * speed},
    ]
    return scene(
        groups,
        {"kind": "fedasync", "concurrency": 30},
        learning=transfers(100_000),
        network={"cell": cells},
        server={"sharing": "max-min", "down_mbps": 40.0 * speed, "up_mbps": 15.0 * speed},
        stop={"updates": 300},
    )


def test_doubling_every_rate_halves_every_time_on_shared_links():
    """To the last bit: a factor of two changes no rounding."""
    slow, fast = (simfl.run(crowded(speed)).tasks for speed in (1.0, 2.0))
    assert fast.device.tolist() == slow.device.tolist()
    assert (fast.ended_s * 2.0).tolist() == slow.ended_s.tolist()
    assert fast.staleness.tolist() == slow.staleness.tolist()


def test_no_link_carries_more_than_it_can():
    """Bytes over the time that they took, of the whole run: server, cells and devices."""
    result = simfl.run(crowded(1.0))
    tasks, span_s = result.tasks, result.tasks.ended_s.max()
    assert tasks.up_bytes.sum() <= 15e6 / 8 * span_s
    cells = tasks.join(result.devices.set_index("device")["cell"], on="device")
    moved = cells.groupby("cell", observed=True)[["down_bytes", "up_bytes"]].sum() / span_s
    assert (moved.loc["farm"] <= 5e6 / 8).all()
    assert (moved.loc[["town-0", "town-1"], "up_bytes"] <= 10e6 / 8).all()
    whole = tasks[tasks.outcome == "applied"]
    assert (whole.up_bytes == whole.up_bytes.iloc[0]).all()
