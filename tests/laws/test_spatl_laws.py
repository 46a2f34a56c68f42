"""SPATL on the whole engine: what travels, what is kept, and what it is without its parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from scenes import group, scene

import simfl
from simfl.clock.kernel import Kernel
from simfl.engine.build import fleet_of, plan_of, workload_of
from simfl.engine.loading import problem_of
from simfl.engine.overrides import resolve
from simfl.learn.models.structure import structure_of
from simfl.messages import FRAME_BYTES, Task
from simfl.params import Part
from simfl.strategy.methods.spatl.filters import groups_of
from simfl.strategy.methods.spatl.strategy import AsyncSpatl, Spatl
from simfl.streams import Streams

#: Convolutions of 4 and 8 filters, so that masks take two bytes; the head has 8·4 + 1 per class.
DIGITS = {
    "dataset": "digits",
    "partition": {"kind": "dirichlet", "alpha": 0.3, "min_examples": 10},
    "model": {"kind": "convnet", "channels": [4, 8], "hidden": []},
    "batch_size": 50,
    "lr": 0.05,
    "hold_back": 0.1,
}
ENCODER, FILTERS = 4 * 9 + 4 + 8 * 4 * 9 + 8, 12
QUICK = {"episodes": 2, "plans": 2, "finetune_rounds": 1}


def rule(**options: Any) -> dict[str, Any]:
    return {"kind": "salient", **QUICK, **options}


def table(strategy: dict, *, versions: int = 3, drop: float = 0.0, devices: int = 6, **more: Any):
    fleet = [group(devices, 1.0, faults={"drop_probability": drop})]
    learning = {**DIGITS, **more}
    return scene(fleet, strategy, learning=learning, stop={"versions": versions}, seed=4)


def spatl(local: dict | None = None, **options: Any) -> dict[str, Any]:
    return {"kind": "spatl", "cohort": 3, "pretrain_games": 0, "local": local or rule(), **options}


class Played:
    """A run whose inside can be looked at."""

    def __init__(self, scenario: dict) -> None:
        whole = resolve(scenario, {}, None)
        streams = Streams(whole.seed)
        self.workload = workload_of(whole, problem_of(whole, streams), streams)
        self.rows: list[tuple[str, Any]] = []
        fleet = fleet_of(whole, streams)
        self.kernel = Kernel(
            fleet, self.workload, whole.strategy, streams, plan_of(whole),
            lambda name, columns: self.rows.append((name, columns)),
        )  # fmt: skip
        self.kernel.run()
        self.model = problem_of(whole, streams).model

    @property
    def variates(self) -> torch.Tensor:
        """(N, T) what the devices keep; zero for those never heard of."""
        c = self.kernel.state.shared.c
        kept = [
            self.workload.kept(i).get("c_i", c * 0.0) for i in range(self.kernel.server.devices)
        ]
        return torch.stack(kept)


FREE = rule(private_head=False, control="none", agent="all")


def test_without_its_parts_spatl_is_fedavg_bit_for_bit():
    """All shared, no correction, everything sent: also under partial participation and losses."""
    fedavg = {"kind": "fedavg", "cohort": 3}
    a, b = (simfl.run(table(s, drop=0.2, versions=4)) for s in (spatl(FREE), fedavg))
    assert torch.equal(a.params.flat, b.params.flat)
    assert a.tasks.up_bytes.tolist() == b.tasks.up_bytes.tolist()


def test_when_everything_is_kept_all_ways_to_fold_are_one():
    """Four: three divisors, and everybody sending everything."""
    keep = {"agent": "uniform", "flops_cut": 0.0}
    ways = [spatl(rule(**keep), aggregate=w) for w in ("index_mean", "damped", "zero_fill")]
    ways.append(spatl(rule(**keep, upload="dense")))
    first, *others = [simfl.run(table(way)).params.flat for way in ways]
    assert all(torch.equal(first, other) for other in others)


VARIANTS = {
    "ppo": rule(),
    "random": rule(agent="random"),
    "columns": rule(agent="random", upload="rows+cols"),
    "derived": rule(agent="random", cv_uplink="derived"),
    "post step": rule(agent="uniform", control="post_step"),
    "stem": rule(agent="random", private_stem=True),
    "all": rule(agent="all"),
    "now and then everything": rule(agent="random", full_every=2),
}


@pytest.mark.parametrize("local", VARIANTS.values(), ids=VARIANTS)
def test_the_server_variate_is_the_mean_of_the_devices(local):
    """Over the whole fleet, whoever was sampled, lost or thinned."""
    played = Played(table(spatl(local), versions=6, drop=0.3))
    c = played.kernel.state.shared.c
    assert float(c.abs().max()) > 1e-3
    assert torch.allclose(c, played.variates.mean(0), atol=1e-6)


@pytest.mark.parametrize("uplink", ["explicit", "derived"])
def test_so_it_is_in_asynchrony_also_where_updates_are_too_old(uplink):
    """A device has kept what it learnt, so a thrown away update still tells the server of it."""
    local = rule(agent="random", cv_uplink=uplink)
    strategy = {
        "kind": "asyncspatl", "concurrency": 5, "buffer": 2, "max_staleness": 1, "local": local
    }  # fmt: skip
    played = Played(table(strategy, versions=12, drop=0.2))
    state, server = played.kernel.state, played.kernel.server
    assert any("stale" in columns["cause"] for name, columns in _closed(played))
    pending = [update for _, update in server.open.values()]
    probe = AsyncSpatl(local=played.kernel.strategy.local)
    probe.absorb(state, server, pending)
    assert torch.allclose(state.shared.c, played.variates.mean(0), atol=1e-6)


def _closed(played: Played) -> list[tuple[str, Any]]:
    played.kernel.close()
    return [row for row in played.rows if row[0] == "tasks"]


def test_the_head_is_in_no_message():
    """Bytes down are the encoder, twice, with a label; nothing is left for anything else."""
    result = simfl.run(table(spatl(rule(agent="random")), versions=2))
    label = 1 + len("c") + 1 + 2 + 4  # length, name, tag, type and rank, one size
    assert set(result.tasks.down_bytes) == {FRAME_BYTES + 4 * ENCODER + label + 4 * ENCODER}
    assert not {name for name in result.params if name.startswith("7.")}
    assert len(result.params) == ENCODER


def test_the_agent_is_sent_at_first_contact_only():
    result = simfl.run(table(spatl(), versions=4))
    tasks = result.tasks.sort_values(["device", "task"])
    first = tasks.groupby("device").down_bytes.first()
    later = tasks.groupby("device").down_bytes.apply(lambda nbytes: set(nbytes.iloc[1:]))
    label = 1 + len("gnn") + 1 + 2 + 4
    assert set().union(*later) == {int(first.iloc[0]) - label - 4 * 11_340}


class Watching(Spatl):
    """Remembers what arrived."""

    def fold(self, state, server, updates):
        SEEN.extend(updates)
        return super().fold(state, server, updates)


SEEN: list[Any] = []


@pytest.mark.parametrize("upload", ["rows", "rows+cols"])
@pytest.mark.parametrize("uplink", ["explicit", "derived"])
def test_an_upload_is_as_long_as_the_formula_says(upload, uplink):
    """4 Σ kept, once or twice, one bit per filter, and labels."""
    SEEN.clear()
    scenario = table(spatl(rule(agent="random", upload=upload, cv_uplink=uplink)), versions=2)
    whole = resolve(scenario, {}, None)
    watching = Watching(cohort=3, pretrain_games=0, local=whole.strategy.local)
    result = simfl.run(whole, strategy=watching)
    assert SEEN
    charged = result.tasks.set_index("task").up_bytes
    for update in SEEN:
        delta = update.delta
        assert isinstance(delta, Part)
        first, second = (int(part.sum()) for part in delta.chosen.split([4, 8]))
        read = first if upload == "rows+cols" else 4
        values = first * (9 + 1) + second * (read * 9 + 1)
        assert len(delta) == values
        extra = {"explicit": 9 + 4 * values, "derived": 14}[uplink]
        assert charged[update.task] == FRAME_BYTES + 4 * values + 2 + extra


def started(local: dict, **more: Any):
    """The workload of a scene, and a task that has left the server."""
    whole = resolve(table(spatl(local), **more), {}, None)
    workload = workload_of(whole, problem_of(whole, Streams(4)), Streams(4))
    c = workload.initial.trained * 0.0
    task = Task(0, 1, 0, 0, workload.initial, 0.0, epochs=1.0, extras={"c": c})
    workload.start(task)
    return workload, task


def test_a_lost_upload_changes_nothing_on_the_device():
    workload, task = started(rule(agent="random"))
    task.phase = 2
    workload.ready(task)
    workload.lose(task)
    assert not workload.kept(1)


def test_a_delivered_upload_is_remembered():
    workload, task = started(rule(agent="random"))
    workload.ready(task)
    workload.deliver(task, type("Server", (), {"version": 0})())
    assert set(workload.kept(1)) == {"head", "c_i", "chosen", "rounds"}


def test_variates_move_only_where_filters_were_sent():
    workload, task = started(rule(agent="random"))
    workload.ready(task)
    update = workload.deliver(task, type("Server", (), {"version": 0})())
    moved = workload.kept(1)["c_i"] != 0.0
    assert not bool((moved & ~update.delta.held[: len(moved)]).any())
    assert bool(moved[update.delta.held[: len(moved)]].any())


def test_trying_plans_takes_the_device_time():
    """Forward passes over what it holds back: a third of training on as many examples, each."""
    task, tried = (started(rule(agent=agent))[1] for agent in ("uniform", "random"))
    per_example = task.flops / (task.epochs * task.examples)
    whole = resolve(table(spatl()), {}, None)
    held = problem_of(whole, Streams(4)).data.tried[1]
    assert tried.flops - task.flops == pytest.approx(2 * per_example / 3.0 * held)


@pytest.mark.parametrize("kind", ["spatl", "asyncspatl"])
def test_a_run_repeats_itself(kind):
    sync = {"kind": kind, "cohort": 3, "local": rule(), "pretrain_games": 2}
    steady = {"kind": kind, "concurrency": 4, "buffer": 2, "local": rule(), "pretrain_games": 2}
    scenario = table(sync if kind == "spatl" else steady, drop=0.2)
    assert simfl.run(scenario).digest == simfl.run(scenario).digest


def test_batch_norm_shortcuts_and_dense_layers_travel_in_groups():
    """A residual network with running statistics, thinned layer by layer."""
    model = {"kind": "resnet", "width": 4, "norm": "batch"}
    played = Played(table(spatl(rule(agent="random")), versions=2, model=model, batch_size=100))
    params = played.kernel.server.params
    assert params.layout.trainable < params.layout.size
    assert bool(torch.isfinite(params.flat).all())
    structure = structure_of(played.model, torch.zeros(1, 1, 8, 8))
    keys = groups_of(structure, params.layout).keys
    assert int((keys == sum(conv.outputs for conv in structure.convs)).sum()) == 0


@pytest.mark.parametrize("kind", ["spatl", "asyncspatl"])
def test_the_clock_runs_without_learning(kind):
    learning = {"dataset": "none", "parameters": 100, "examples": 10, "flops_per_example": 1.0}
    strategy = {"kind": kind, **({"cohort": 3} if kind == "spatl" else {"concurrency": 3})}
    scenario = scene([group(6)], strategy, learning=learning, stop={"versions": 2})
    result = simfl.run(scenario)
    assert result.summary["ended"] == "versions"


def test_the_timing_of_a_learning_problem_knows_what_travels():
    """Bytes down are those of the encoder and of its variate, as they are with learning."""
    scenario = table(spatl(rule(agent="all")))
    timed, learnt = simfl.run(scenario, timing=True), simfl.run(scenario)
    assert timed.tasks.down_bytes.tolist() == learnt.tasks.down_bytes.tolist()


def test_an_evaluation_says_what_devices_meet():
    result = simfl.run(table(spatl(rule(agent="random")), versions=3))
    last = result.evaluations.iloc[-1]
    assert last.accuracy == last.pers_global < last.pers_local
