"""What devices and server remember of each other, on the whole engine and whatever goes wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import group, scene

from simfl.clock.kernel import Kernel
from simfl.engine.build import fleet_of, plan_of, workload_of
from simfl.engine.loading import problem_of
from simfl.engine.workload import Learning
from simfl.messages import PHASES, Task, Update
from simfl.scenario import parse
from simfl.streams import Streams

LEARNING = {
    "dataset": {"kind": "synthetic", "users": 8, "features": 12, "classes": 4, "examples": 20},
    "partition": "user",
    "model": {"kind": "mlp", "hidden": [6]},
}
# Tasks that are lost in every phase, late, stale, and never in the order of dispatch.
FAULTS = {"drop_probability": 0.2, "hazard_per_hour": 300.0}
LINKS = {"down_mbps": 0.02, "up_mbps": 0.01, "latency_s": 0.2}
PRESENCE = {"kind": "onoff", "mean_on_s": 60.0, "mean_off_s": 5.0}
UNSTEADY = [group(8, 2.0, faults=FAULTS, network=LINKS, presence=PRESENCE)]

BUFFER = {"concurrency": 6, "buffer": 2}
FAMILIES = {
    "rounds": {"kind": "fedavg", "cohort": 5},
    "cut rounds": {"kind": "overselect", "cohort": 3, "over_select": 2.0, "deadline_s": 9.0},
    "buffer": {"kind": "fedbuff", **BUFFER, "max_staleness": 1},
    "stream": {"kind": "fedasync", "concurrency": 5},
}
seeds = st.integers(0, 2**31)


@dataclass
class Watched:
    """A strategy that is looked at after each of its steps."""

    strategy: Any
    look: Callable[[Any, Any], None]

    @property
    def local(self) -> Any:
        return self.strategy.local

    def init(self, params: Any) -> Any:
        return self.strategy.init(params)

    def step(self, state: Any, server: Any, updates: list[Update]) -> Any:
        wait = self.strategy.step(state, server, updates)
        self.look(state, server)
        return wait


class Run:
    """A run on the unsteady fleet whose inside can be looked at. `play` returns fates of tasks."""

    def __init__(self, strategy: dict, seed: int, wire: dict | None = None) -> None:
        stop = {"versions": 12, "after_s": 3000.0}
        table = scene(UNSTEADY, strategy, learning=LEARNING, wire=wire or {}, stop=stop, seed=seed)
        self.scenario, self.streams = parse(table), Streams(seed)
        workload = workload_of(self.scenario, problem_of(self.scenario, self.streams), self.streams)
        assert isinstance(workload, Learning)
        self.workload = workload
        self.fates: list[str] = []

    def play(self, look: Callable[[Any, Any], None] = lambda state, server: None) -> list[str]:
        fleet, plan = fleet_of(self.scenario, self.streams), plan_of(self.scenario)
        watched = Watched(self.scenario.strategy, look)
        kernel = Kernel(fleet, self.workload, watched, self.streams, plan, self._append)
        kernel.run()
        kernel.close()
        return self.fates

    def kept(self, name: str, like: torch.Tensor) -> torch.Tensor:
        """(N, T) what the local rule keeps on each device; zero where it never took part."""
        devices = range(len(self.workload.examples))
        return torch.stack([self.workload.kept(i).get(name, like * 0.0) for i in devices])

    def _append(self, name: str, columns: Any) -> None:
        if name == "tasks":
            self.fates += [
                f"{o} {c}" for o, c in zip(columns["outcome"], columns["cause"], strict=True)
            ]


VARIATES = {
    "rounds": {"kind": "scaffold", "cohort": 5},
    "buffer": {"kind": "asyncscaffold", **BUFFER},
    "buffer that drops": {"kind": "asyncscaffold", **BUFFER, "max_staleness": 1},
    "buffer that requests": {
        "kind": "asyncscaffold", **BUFFER, "max_staleness": 2, "on_stale": "request",
    },
}  # fmt: skip


@pytest.mark.parametrize("option", ["I", "II"])
@pytest.mark.parametrize("strategy", VARIATES.values(), ids=VARIATES)
@settings(max_examples=4)
@given(seed=seeds)
def test_the_servers_variate_is_the_mean_of_the_devices(strategy: dict, option: str, seed: int):
    """After every step, but for what has arrived and was neither folded nor thrown away."""
    rule = {"kind": "controlvariate", "option": option}
    run, gaps, scales = Run({**strategy, "local": rule}, seed), [], []

    def look(state: Any, server: Any) -> None:
        waiting = [update.extras["c"] for _, update in server.open.values()]
        known = state.c + sum(waiting) / server.devices
        kept = run.kept("c_i", state.c)
        gaps.append(float((known - kept.mean(0)).abs().max()))
        scales.append(float(kept.abs().max()))

    fates = run.play(look)
    assert max(gaps) < 1e-6 < max(scales)
    assert any(fate.startswith("lost") for fate in fates)


@pytest.mark.parametrize("bound", [{}, {"max_staleness": 1}], ids=["all", "drops"])
@settings(max_examples=4)
@given(seed=seeds)
def test_the_mean_of_the_cached_updates_is_kept(bound: dict, seed: int) -> None:
    run, gaps = Run({"kind": "ca2fl", **BUFFER, **bound}, seed), []

    def look(state: Any, server: Any) -> None:
        total = sum(delta.flat for delta in state.cache.values())
        gaps.append(float((state.mean.flat - total / server.devices).abs().max()))

    run.play(look)
    assert len(gaps) > 12
    assert max(gaps) < 1e-6


@pytest.mark.parametrize(
    "strategy",
    [{"kind": "feddyn", "cohort": 5}, {"kind": "asyncfeddyn", **BUFFER, "max_staleness": 1}],
    ids=["rounds", "buffer that drops"],
)
@settings(max_examples=4)
@given(seed=seeds)
def test_the_servers_drift_is_the_mean_of_the_devices(strategy: dict, seed: int) -> None:
    run, gaps = Run(strategy, seed), []

    def look(state: Any, server: Any) -> None:
        kept = run.kept("h", state.dynamics.s.trained)
        gaps.append(float((state.dynamics.s.trained - kept.mean(0)).abs().max()))

    run.play(look)
    assert max(gaps) < 1e-5


@dataclass
class Mail:
    """What a device meant to send, over all its messages, and what arrived."""

    meant: Any = 0.0
    arrived: Any = 0.0
    lost: int = 0


def mailed(run: Run) -> dict[int, Mail]:
    """Follows a run's uploads, device by device, while it is played."""
    load, books = run.workload, {i: Mail() for i in range(len(run.workload.examples))}
    deliver, lose = load.deliver, load.lose

    def meant(task: Task) -> torch.Tensor:
        trained = load._encode(task)
        return trained.report.delta.flat.double()

    def delivering(task: Task, server: Any) -> Update | None:
        books[task.device].meant += meant(task)
        update = deliver(task, server)
        books[task.device].arrived += update.delta.flat.double()
        return update

    def losing(task: Task) -> None:
        if task.message is not None and PHASES[min(task.phase, 2)] == "upload":
            books[task.device].meant += meant(task)
            books[task.device].lost += 1
        lose(task)

    load.deliver, load.lose = delivering, losing  # type: ignore[method-assign]
    run.play()
    return books


FEEDBACK = {
    "topk": [{"kind": "topk", "keep": 0.1}],
    "sign": [{"kind": "sign"}],
    "chain": [{"kind": "topk", "keep": 0.3}, {"kind": "quantize", "bits": 4}],
}


@pytest.mark.parametrize("codec", FEEDBACK.values(), ids=FEEDBACK)
@pytest.mark.parametrize("strategy", FAMILIES.values(), ids=FAMILIES)
@settings(max_examples=2)
@given(seed=seeds)
def test_what_arrived_and_what_is_remembered_is_all_that_was_meant(
    strategy: dict, codec: list, seed: int
) -> None:
    """Σ sent + e = Σ d for every device, whatever was lost, late, cut off or thrown away."""
    run = Run(strategy, seed, {"up": codec})
    for device, mail in mailed(run).items():
        if device in run.workload.memories and (mail.lost or torch.is_tensor(mail.arrived)):
            error = run.workload.memories[device].up_sent.flat.double()
            assert float((mail.arrived + error - mail.meant).abs().max()) < 1e-5


def test_uploads_are_lost_and_their_part_comes_with_the_next() -> None:
    """The law above is not empty: there are losses, and there is something to remember."""
    run = Run(FAMILIES["buffer"], 1, {"up": FEEDBACK["topk"]})
    mail = mailed(run)
    assert sum(book.lost for book in mail.values()) > 0
    assert min(run.workload.memories[i].up_sent.norm() for i in mail) > 0.01


@pytest.mark.parametrize(
    "codec",
    [
        {"kind": "qsgd", "levels": 1},
        {"kind": "quantize", "bits": 2},
        {"kind": "randomk", "keep": 0.2},
    ],
    ids=lambda codec: codec["kind"],
)
def test_random_codecs_err_to_no_side_over_a_run(codec: dict) -> None:
    """Errors of all messages add up to zero within five of their own standard errors."""
    errors = []
    for seed in range(4):
        run = Run({**FAMILIES["stream"], "concurrency": 8}, seed, {"up": [codec]})
        deliver, load = run.workload.deliver, run.workload

        def delivering(task: Task, server: Any, load: Any = load, deliver: Any = deliver) -> Any:
            trained = load._encode(task)
            update = deliver(task, server)
            errors.append((update.delta - trained.report.delta).flat.double().numpy())
            return update

        load.deliver = delivering
        run.play()
    each = np.stack(errors)
    assert len(each) > 40
    assert (np.abs(each) > 0).any(axis=0).mean() > 0.5
    assert (np.abs(each.sum(0)) <= 5 * np.sqrt((each**2).sum(0)) + 1e-6).all()
