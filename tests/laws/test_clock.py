"""Closed-form and metamorphic laws of time, staleness and bytes, on the whole engine."""

from __future__ import annotations

import numpy as np
import pytest
from scenes import DIGITS, group, same, scene
from scipy import stats

import simfl
from simfl.errors import Stalled

EVERYBODY = {"kind": "fedasync", "refill": "same"}


@pytest.mark.parametrize("rates", [(1.0, 1.0, 1.0), (4.0, 2.0, 1.0, 0.5), (10.0, 1.0)])
def test_exponential_service_gives_geometric_lags(rates):
    """Whoever is busy finishes next with p = mu_i / sum(mu): lags count failures before that."""
    groups = [group(mean_s=1.0 / rate) for rate in rates]
    asked = {**EVERYBODY, "concurrency": len(rates)}
    tasks = simfl.run(scene(groups, asked, stop={"versions": 6000}), seed=11).tasks
    for device, rate in enumerate(rates):
        lags = tasks.staleness[(tasks.device == device) & (tasks.outcome == "applied")]
        p = rate / sum(rates)
        top = int(stats.geom.ppf(0.99, p))
        seen = np.bincount(np.minimum(lags.astype(int), top), minlength=top + 1)
        law = np.append(stats.geom.pmf(np.arange(1, top + 1), p), stats.geom.sf(top, p))
        assert stats.chisquare(seen, law * seen.sum()).pvalue > 1e-4, (device, p)


@pytest.mark.parametrize("buffer", [1, 3, 7])
@pytest.mark.parametrize(("order", "offset"), [("after", 1), ("before", 0)])
def test_staleness_is_conserved(order, offset, buffer):
    """Lags plus the ages of what is in flight are V(C - 1), or VC if replaced before the flush."""
    concurrency = 9
    asked = {"kind": "fedbuff", "concurrency": concurrency, "buffer": buffer, "dispatch": order}
    groups = [group(5), group(15, 7.0)]
    result = simfl.run(scene(groups, asked, stop={"versions": 200}), seed=3)
    used = result.tasks[result.tasks.outcome.isin(["applied", "in_flight"])]
    assert used.staleness.sum() == 200 * (concurrency - offset)
    if order == "after":
        assert (result.tasks.outcome == "in_flight").sum() == concurrency - 1


@pytest.mark.parametrize("cohort", [1, 5, 20])
def test_a_round_of_exponential_devices_takes_the_harmonic_number(cohort):
    """The maximum of k exponentials has mean H_k / mu and variance sum(1/i^2) / mu^2."""
    rounds = 1500
    asked = {"kind": "fedavg", "cohort": cohort}
    result = simfl.run(scene([group(20, 3.0)], asked, stop={"versions": rounds}), seed=5)
    i = np.arange(1, cohort + 1)
    mean = 3.0 * (1 / i).sum()
    error = 3.0 * np.sqrt((1 / i**2).sum() / rounds)
    assert abs(result.versions.time_s.iloc[-1] / rounds - mean) < 4 * error


def test_doubling_all_speeds_halves_all_times_and_nothing_else():
    def played(factor: float) -> simfl.Result:
        network = {"down_mbps": 2.0 * factor, "up_mbps": 0.5 * factor, "latency_s": 0.25 / factor}
        phone = {"gflops": 0.004 * factor, "jitter_sigma": 0.3}
        slow = {"kind": "exponential", "mean_s": 2.0 / factor}
        groups = [
            {"compute": phone, "network": network, "count": 8},
            {"compute": slow, "network": network, "count": 4},
        ]
        asked = {"kind": "fedbuff", "concurrency": 6, "buffer": 2}
        return simfl.run(scene(groups, asked, learning=DIGITS, stop={"versions": 15}), seed=1)

    slow, fast = played(1.0), played(2.0)
    for name in ("dispatched_s", "download_s", "train_s", "upload_s", "ended_s"):
        assert (slow.tasks[name] == 2.0 * fast.tasks[name]).all(), name
    rest = ["task", "device", "version", "outcome", "staleness", "weight", "train_loss", "up_bytes"]
    assert slow.tasks[rest].equals(fast.tasks[rest])
    assert slow.params.flat.equal(fast.params.flat)


@pytest.mark.parametrize("kind", ["fedavg", "fedasync", "fedbuff", "overselect"])
def test_bytes_add_up_and_time_never_runs_backwards(kind):
    at_once = {"cohort": 4} if kind in ("fedavg", "overselect") else {"concurrency": 4}
    link = {"down_mbps": 0.01, "up_mbps": 0.005, "latency_s": 0.1}
    faults = {"drop_probability": 0.2, "hazard_per_hour": 100.0}
    groups = [group(6, network=link, faults=faults), group(4, 9.0, network=link)]
    asked = {"kind": kind, **at_once, **({"buffer": 3} if kind == "fedbuff" else {})}
    result = simfl.run(scene(groups, asked, stop={"after_s": 300.0}), seed=2)
    tasks, whole = result.tasks, 400 + 64
    assert tasks.down_bytes.between(0, whole).all()
    assert (tasks.up_bytes[tasks.outcome.isin(["applied", "discarded"])] == whole).all()
    assert (tasks.up_bytes[tasks.phase != "upload"] == 0).all()
    assert result.summary["down_bytes"] == tasks.down_bytes.sum()
    assert result.versions.time_s.is_monotonic_increasing
    spent = tasks[["download_s", "train_s", "upload_s"]].sum(axis=1)
    assert np.allclose(tasks.dispatched_s + spent, tasks.ended_s)
    for _, mine in tasks.sort_values("task").groupby("device"):
        assert (mine.dispatched_s.to_numpy()[1:] >= mine.ended_s.to_numpy()[:-1]).all()


def test_certain_drop_out_ends_with_a_clear_message():
    faults = {"drop_probability": 1.0}
    with pytest.raises(Stalled, match=r"tasks were all lost \(drop-out\)"):
        simfl.run(
            scene([group(3, faults=faults)], {"kind": "fedavg", "cohort": 3}, stop={"versions": 1})
        )


def test_devices_without_durations_still_make_progress():
    result = simfl.run(
        scene([same(5, 0.0)], {"kind": "fedasync", "concurrency": 5}, stop={"versions": 99})
    )
    assert result.summary["versions"] == 99
    assert result.summary["virtual_s"] == 0.0
