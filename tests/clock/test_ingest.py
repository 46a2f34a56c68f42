"""The server as a place: a queue in order of arrival, with k processors."""

from __future__ import annotations

from math import factorial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import simfl
from simfl.clock.events import Clock, Kind
from simfl.clock.ingest import Ingest, Service
from simfl.engine.verify import audit


def waits(arrivals_s: np.ndarray, processors: int, service_s: float) -> tuple[np.ndarray, Any]:
    """Seconds that each update waits for a processor."""
    clock, through = Clock(), dict[int, float]()
    ingest = Ingest(
        clock,
        Service(processors, service_s),
        lambda task: through.__setitem__(task.serial, clock.now),
        lambda task: True,
    )
    clock.handlers["arrive"] = ingest.enter
    for serial, t in enumerate(arrivals_s.tolist()):
        task = SimpleNamespace(outcome="delivered", serial=serial, moved_bytes=[0, 0])
        clock.at(t, Kind.TASK, serial, "arrive", task)
    while clock.advance():
        pass
    ends = np.array([through[serial] for serial in range(len(arrivals_s))])
    return ends - arrivals_s - service_s, ingest


def erlang_c(k: int, load: float) -> float:
    """Probability to wait in M/M/k. load: arrivals in a service time."""
    terms = [load**n / factorial(n) for n in range(k)]
    last = load**k / factorial(k) * k / (k - load)
    return last / (sum(terms) + last)


def mean_wait(k: int, rho: float) -> float:
    """Of M/D/k, in service times: Pollaczek and Khinchine for k = 1, else Cosmetatos, 1975."""
    markov = erlang_c(k, k * rho) / (k * (1.0 - rho))
    more = (1.0 - rho) * (k - 1) * ((4 + 5 * k) ** 0.5 - 2) / (16 * rho * k)
    return 0.5 * (1.0 + more) * markov


@pytest.mark.parametrize(("k", "rho"), [(1, 0.5), (1, 0.8), (2, 0.7), (4, 0.8)])
def test_updates_wait_as_in_a_queue_of_fixed_service_times(k: int, rho: float) -> None:
    rng = np.random.default_rng(10 + k)
    arrivals_s = np.cumsum(rng.exponential(1.0 / (k * rho), 20_000))
    rho = len(arrivals_s) / arrivals_s[-1] / k  # as it came out
    found, ingest = waits(arrivals_s, k, 1.0)
    assert found.min() >= -1e-9
    assert found.mean() == pytest.approx(mean_wait(k, rho), rel=0.1)
    assert ingest.utilisation(arrivals_s[-1]) == pytest.approx(rho, rel=0.01)


def test_updates_are_taken_in_in_the_order_of_their_arrival() -> None:
    found, _ = waits(np.array([0.0, 1.0, 1.5, 9.0]), 1, 2.0)
    assert found.tolist() == [0.0, 1.0, 2.5, 0.0]


def test_processors_share_the_work() -> None:
    found, ingest = waits(np.zeros(6), 3, 2.0)
    assert found.tolist() == [0.0] * 3 + [2.0] * 3
    assert ingest.utilisation(3.0) == 1.0
    assert ingest.utilisation(8.0) == 0.5


LEARNING = {"dataset": "none", "parameters": 234_984, "examples": 1, "flops_per_example": 1.0}


def flooded(**server: float) -> dict[str, Any]:
    """Twenty devices whose updates of 0.94 MB arrive at one instant, 11 s after they were sent."""
    return {
        "fleet": {"group": [{"count": 20, "compute": {"kind": "constant", "s": 11.0}}]},
        "learning": LEARNING,
        "server": server,
        "strategy": {"kind": "fedavg", "cohort": 20},
        "stop": {"versions": 2},
    }


def test_a_flood_of_updates_saturates_the_server(tmp_path: Path) -> None:
    run = simfl.run(flooded(ingest_s=3.0, processors=4), out=tmp_path / "run")
    assert run.versions["time_s"].tolist() == [26.0, 52.0]
    assert run.summary["server_utilisation"] == pytest.approx(15.0 / 26.0)
    assert run.tasks["ended_s"].unique().tolist() == [11.0, 37.0]
    assert {check.law: check.wrong for check in audit(run) if check.wrong} == {}


def test_a_large_update_takes_longer() -> None:
    run = simfl.run(flooded(ingest_s_per_mb=1.0))
    assert run.versions["time_s"].iloc[0] == pytest.approx(11.0 + 20 * 0.94, rel=1e-6)


def test_a_version_takes_its_time() -> None:
    run = simfl.run(flooded(aggregate_s=5.0))
    assert run.versions["time_s"].tolist() == [16.0, 32.0]
    assert run.versions["step_s"].tolist() == [5.0, 5.0]


def test_what_waits_at_the_end_was_not_used(tmp_path: Path) -> None:
    whole = {**flooded(ingest_s=3.0), "stop": {"after_s": 30.0}}
    run = simfl.run(whole, out=tmp_path / "run")
    assert run.tasks["outcome"].value_counts().to_dict()["discarded"] == 20
    assert {check.law: check.wrong for check in audit(run) if check.wrong} == {}


def test_a_run_whose_server_takes_no_time_is_what_it_was() -> None:
    assert simfl.run(flooded()).digest == simfl.run(flooded(processors=3)).digest
    assert "server_utilisation" not in simfl.run(flooded()).summary


@pytest.mark.parametrize(("k", "rho"), [(1, 0.7), (3, 0.8)])
def test_versions_wait_for_a_processor_among_updates_of_the_same_length(k: int, rho: float) -> None:
    """Half of a Poisson stream are updates and half are versions: both see the queue of M/D/k."""
    rng = np.random.default_rng(20 + k)
    arrivals_s = np.cumsum(rng.exponential(1.0 / (k * rho), 20_000))
    rho = len(arrivals_s) / arrivals_s[-1] / k
    clock, waited = Clock(), {"update": list[float](), "version": list[float]()}
    ingest = Ingest(
        clock,
        Service(k, 1.0),
        lambda task: waited["update"].append(clock.now - task.came_s - 1.0),
        lambda task: True,
    )
    clock.handlers["arrive"] = ingest.enter
    clock.handlers["make"] = lambda _: waited["version"].append(
        ingest.occupy(clock.now, 0.0, 1.0) - 1.0
    )
    for serial, (t, makes) in enumerate(zip(arrivals_s, rng.random(20_000) < 0.5, strict=True)):
        task = SimpleNamespace(outcome="delivered", serial=serial, moved_bytes=[0, 0], came_s=t)
        clock.at(float(t), Kind.TASK, serial, "make" if makes else "arrive", task)
    while clock.advance():
        pass
    for found in waited.values():
        assert np.mean(found) == pytest.approx(mean_wait(k, rho), rel=0.1)
    assert ingest.utilisation(arrivals_s[-1]) == pytest.approx(rho, rel=0.01)


def test_a_version_waits_behind_the_updates_that_came_before_it(tmp_path: Path) -> None:
    """All 20 have come at 11 s; the first is through at 14 s, and its version after the last."""
    table = {
        **flooded(ingest_s=3.0, aggregate_s=5.0),
        "strategy": {"kind": "fedbuff", "concurrency": 20, "buffer": 1},
    }
    run = simfl.run(table, out=tmp_path / "run")
    assert run.versions["time_s"].tolist() == [11.0 + 20 * 3.0 + 5.0, 11.0 + 20 * 3.0 + 2 * 5.0]
    assert run.versions["step_s"].tolist() == [62.0, 5.0]
    assert {check.law: check.wrong for check in audit(run) if check.wrong} == {}


def test_processors_that_are_free_make_the_version_at_once() -> None:
    """Waves of four: the last are through at 26 s, and then all processors are free."""
    run = simfl.run(flooded(ingest_s=3.0, processors=4, aggregate_s=5.0))
    assert run.versions["time_s"].tolist() == [31.0, 62.0]
    assert run.summary["server_utilisation"] == pytest.approx((2 * 20 * 3 + 2 * 5) / (4 * 62))


def test_utilisation_counts_versions_alone() -> None:
    assert simfl.run(flooded(aggregate_s=5.0)).summary["server_utilisation"] == 10.0 / 32.0
