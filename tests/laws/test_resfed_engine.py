"""ResFed on the whole engine: what both ends of every link remember, and what a run makes of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import group, same, scene

import simfl
from simfl.clock.kernel import Kernel
from simfl.engine.build import fleet_of, plan_of, workload_of
from simfl.engine.exchange import Memory
from simfl.engine.loading import problem_of
from simfl.engine.workload import Learning
from simfl.messages import Task
from simfl.scenario import parse
from simfl.streams import Streams
from simfl.wire.resfed import ResFed, Rule, Trajectory

RULES: list[Rule] = [0, 1, 2, "g", "none"]
LEARNING = {
    "dataset": {"kind": "synthetic", "users": 8, "features": 12, "classes": 4, "examples": 20},
    "partition": "user",
    "model": {"kind": "mlp", "hidden": [6]},
}
TRAINABLE = 12 * 6 + 6 + 6 * 4 + 4
ROUNDS = {"kind": "fedavg", "cohort": 8}
LOSSLESS = {"keep": 1.0, "bits": 0}
SIDES = ("down_sent", "down_kept", "up_sent", "up_kept")

# Tasks that are lost in every phase, cancelled, late, stale, and never in the order of dispatch.
FAULTS = {"drop_probability": 0.2, "hazard_per_hour": 300.0}
LINKS = {"down_mbps": 0.02, "up_mbps": 0.01, "latency_s": 0.2}
UNSTEADY = [group(8, 2.0, faults=FAULTS, network=LINKS)]
STRATEGIES = [
    {"kind": "fedavg", "cohort": 6},
    {"kind": "overselect", "cohort": 3, "over_select": 2.0, "deadline_s": 9.0},
    {"kind": "fedbuff", "concurrency": 6, "buffer": 3},
    {"kind": "fedasync", "concurrency": 5},
]

rules = pytest.mark.parametrize("rule", RULES)


def resfed(**options: Any) -> dict[str, Any]:
    """The codec in both directions."""
    codec = [{"kind": "resfed", **options}]
    return {"down": codec, "up": codec}


def table(strategy: dict, wire: dict, versions: int, groups: list[dict] | None = None) -> dict:
    fleet = groups or [same(8)]
    return scene(fleet, strategy, learning=LEARNING, wire=wire, stop={"versions": versions})


def played(
    scenario: dict, seed: int, then: Callable[[Learning, Task], None]
) -> tuple[Kernel, list[tuple[str, str]]]:
    """A run, and its tasks' (outcome, cause); `then` is called after each task's end."""
    whole = parse(scenario, {"seed": seed})
    streams, fates = Streams(seed), []
    workload = workload_of(whole, problem_of(whole, streams), streams)
    assert isinstance(workload, Learning)
    for name in ("deliver", "lose"):
        setattr(workload, name, _followed(getattr(workload, name), workload, then))

    def append(name: str, columns: Any) -> None:
        if name == "tasks":
            fates.extend(zip(columns["outcome"], columns["cause"], strict=True))

    fleet, plan = fleet_of(whole, streams), plan_of(whole)
    kernel = Kernel(fleet, workload, whole.strategy, streams, plan, append)
    kernel.run()
    kernel.close()
    return kernel, fates


def _followed(call: Callable, workload: Learning, then: Callable[[Learning, Task], None]):
    def both(task: Task, *rest: Any) -> Any:
        result = call(task, *rest)
        then(workload, task)
        return result

    return both


def agree(memory: Memory) -> bool:
    """Both ends remember the same, bit by bit, in both directions."""
    down, up = (memory.down_sent, memory.down_kept), (memory.up_sent, memory.up_kept)
    return _same(*down) and _same(*up)


def _same(a: Trajectory, b: Trajectory) -> bool:
    steps = (a.exchanges, a.digest) == (b.exchanges, b.digest)
    return steps and all(
        [x.tobytes() for x in mine] == [y.tobytes() for y in theirs]
        for mine, theirs in ((a.own, b.own), (a.heard, b.heard), (a.moves, b.moves))
    )


@rules
def test_without_compression_it_is_fedavg_to_rounding(rule: Rule) -> None:
    plain = simfl.run(table(ROUNDS, {}, 6), seed=3)
    exact = simfl.run(table(ROUNDS, resfed(rule=rule, **LOSSLESS), 6), seed=3)
    assert exact.params.flat.numpy() == pytest.approx(plain.params.flat.numpy(), abs=1e-5)
    assert exact.evaluations.loss.to_numpy() == pytest.approx(
        plain.evaluations.loss.to_numpy(), abs=1e-5
    )
    coarse = simfl.run(table(ROUNDS, resfed(rule=rule), 6), seed=3)
    assert (coarse.params - plain.params).norm() > 0.01


@rules
def test_the_server_averages_the_models_that_it_reconstructs(rule: Rule) -> None:
    """Not what was added to those it sent: the devices, of equal sizes, forget its errors."""
    kernel, _ = played(table(ROUNDS, resfed(rule=rule), 5), 3, lambda *_: None)
    models = [memory.up_kept.own[-1] for memory in kernel.workload.memories.values()]
    assert len(models) == 8
    assert kernel.server.params.flat.numpy() == pytest.approx(np.mean(models, axis=0), abs=1e-5)


@pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy["kind"])
@settings(max_examples=6)
@given(st.sampled_from(RULES), st.sampled_from([0, 1, 3]), st.integers(0, 2**31))
def test_both_ends_remember_the_same_after_every_task(
    strategy: dict, rule: Rule, bits: int, seed: int
) -> None:
    """However it ended; and no end is ever found out of step."""
    wire = resfed(rule=rule, keep=0.3, bits=bits)
    ends = []

    def check(workload: Learning, task: Task) -> None:
        ends.append(all(agree(memory) for memory in workload.memories.values()))

    _, fates = played(table(strategy, wire, 24, UNSTEADY), seed, check)
    assert all(ends)
    assert len(ends) > 20
    outcomes, causes = map(set, zip(*fates, strict=True))
    assert outcomes >= ({"lost", "cancelled"} if strategy["kind"] == "overselect" else {"lost"})
    assert "desynchronised" not in causes


@rules
@pytest.mark.parametrize("side", SIDES)
def test_an_end_that_forgets_costs_one_task_at_most_and_is_brought_back(
    rule: Rule, side: str
) -> None:
    """A receiver that forgot says so; a sender that forgot resets its receiver or is told."""
    device, direction = 2, side.partition("_")[0]

    def forget(workload: Learning, task: Task) -> None:
        if task.device == device and task.version == 3:
            fresh = ResFed(rule=rule).begin(direction, workload.initial)  # type: ignore[arg-type]
            setattr(workload.memories[device], side, fresh)

    kernel, fates = played(table(ROUNDS, resfed(rule=rule), 10), 5, forget)
    memories = kernel.workload.memories
    refused = [fate for fate in fates if fate == ("discarded", "desynchronised")]
    assert len(refused) == 1 if side.endswith("kept") else len(refused) <= 1
    assert all(map(agree, memories.values()))
    exchanges = {i: memory.up_kept.exchanges for i, memory in memories.items()}
    assert exchanges.pop(device) <= 10 - len(refused)
    assert set(exchanges.values()) == {10}


def test_a_device_that_cannot_read_its_download_answers_in_an_empty_message() -> None:
    """It trains nothing, and is sent the whole model next."""
    sizes = []

    def forget(workload: Learning, task: Task) -> None:
        if task.device == 0:
            sizes.append((task.down_bytes, task.up_bytes))
            if task.version == 2:
                fresh = ResFed(rule=0).begin("down", workload.initial)
                workload.memories[0].down_kept = fresh

    played(table(ROUNDS, resfed(rule=0), 6), 5, forget)
    down, up = zip(*sizes, strict=True)
    full = 4 * TRAINABLE
    assert [nbytes >= full for nbytes in down] == [True, False, False, False, True, False]
    assert [nbytes >= full for nbytes in up] == [True, False, False, False, False, False]
    assert [nbytes == 0 for nbytes in up] == [False, False, False, True, False, False]


def test_the_bits_that_its_authors_count_stand_beside_the_bytes() -> None:
    """In all evaluations and at the end: a full model to and from each device, then residuals."""
    result = simfl.run(table(ROUNDS, resfed(rule=0), 5), seed=3)
    full, residual = 8 * 32 * TRAINABLE, 8 * (6 * 18 + 2 * 32)  # six elements, two levels
    totals = result.evaluations[["paper_down_bits", "paper_up_bits"]]
    assert totals.iloc[-1].to_dict() == {name: result.summary[name] for name in totals}
    first = simfl.run(table(ROUNDS, resfed(rule=0), 1), seed=3).summary
    assert first["paper_down_bits"] == first["paper_up_bits"] == full
    assert full < result.summary["paper_up_bits"] <= full + 4 * residual
    assert "paper_up_bits" not in simfl.run(table(ROUNDS, {}, 1), seed=3).summary


@pytest.mark.parametrize(
    ("name", "share"), [("fedavg", 1.0), ("qsgd", 0.068), ("topk", 0.038), ("resfed", 0.0117)]
)
def test_its_scenarios_differ_in_what_they_send(name: str, share: float) -> None:
    """The second upload beside a whole model of 4810 parameters, framing included."""
    tasks = simfl.run(f"resfed/{name}", **{"stop.versions": 2}).tasks
    second = tasks.up_bytes[tasks.version == 1].max()
    assert second / (4 * 4810 + 64) == pytest.approx(share, rel=0.05)
