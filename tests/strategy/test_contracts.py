"""One table: every strategy, on the whole engine, under the same contracts.

A strategy from somewhere else joins with one line in SMALL.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import cache
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lab import Lab

import simfl
from simfl.clock.server import Server
from simfl.engine.checkpoints.snapshot import Reader, Writer
from simfl.fleet.traces import Trace, write_trace
from simfl.messages import FRAME_BYTES, Update
from simfl.params import Layout, Params
from simfl.results.verify import verify
from simfl.scenario import parse
from simfl.strategy import LOCAL_RULES, SELECTIONS, SERVER_OPTIMISERS, STRATEGIES, WEIGHTINGS
from simfl.wire.chain import chain
from simfl.wire.quantize import Quantize
from simfl.wire.sign_half import BF16

_ROUNDS = {"cohort": 4}
_BUFFER = {"concurrency": 6, "buffer": 2}
_STREAM = {"concurrency": 6}
_DEADLINE = {"cohort": 4, "deadline_s": 1.0}

#: Options that make a strategy's default fit a dozen devices.
SMALL: dict[str, dict[str, Any]] = {
    "fedavg": _ROUNDS,
    "overselect": _ROUNDS,
    "fedprox": {**_ROUNDS, "stragglers": 0.5, "epochs": 2.0},
    "fednova": {**_ROUNDS, "local": "normalised"},
    "feddyn": _ROUNDS,
    "asyncfeddyn": _BUFFER,
    "scaffold": _ROUNDS,
    "asyncscaffold": _BUFFER,
    "signsgd": _ROUNDS,
    "spatl": {**_ROUNDS, "local": {"kind": "salient", "agent": "all"}},
    "asyncspatl": {**_BUFFER, "local": {"kind": "salient", "agent": "all"}},
    "fedbuff": _BUFFER,
    "fadas": _BUFFER,
    "ca2fl": _BUFFER,
    "port": {**_BUFFER, "max_staleness": 2},
    "fedasync": _STREAM,
    "delayadaptive": _STREAM,
    "asyncfeded": {**_STREAM, "epochs": 2.0, "local": "returnsbase"},
    "dcasgd": _STREAM,
    "asofed": _STREAM,
    "fedasmu": _STREAM,
    "pisces": _STREAM,
    "fedat": {"tiers": 2, "cohort": 3},
    "quafl": {"cohort": 3, "every_s": 1.0},
    "favano": {"cohort": 3, "every_s": 1.0},
    "safa": {"deadline_s": 3.0},
    "refl": {**_DEADLINE, "adapt": True},
    "semisync": _DEADLINE,
    "twotiers": _DEADLINE,
    "firstorder": {**_DEADLINE, "predict": True},
    "gradientinversion": {**_DEADLINE, "iterations": 3, "warm_iterations": 2, "max_loss": 2.0},
    "simfl_relay:Relay": {},
}
KINDS = list(SMALL)

C_BYTES = 4 * (64 * 8 + 8 + 8 * 10 + 10) + 9  # a variate, its name and shape
C_SHARED = 4 * (64 * 8 + 8) + 9  # of the part that SPATL's devices share
#: What travels beside the model, down and up, in bytes; nothing, if a kind is not named.
BESIDE: dict[str, tuple[set[int], set[int]]] = {
    "fednova": ({0}, {16 + 11}),
    "scaffold": ({C_BYTES}, {C_BYTES}),
    "asyncscaffold": ({C_BYTES}, {C_BYTES}),
    "spatl": ({C_SHARED}, {C_SHARED}),
    "asyncspatl": ({C_SHARED}, {C_SHARED}),
    "asyncfeded": ({0}, {C_BYTES + 3}),
    "quafl": ({0, 19}, {0}),
    "asofed": ({0}, {0}),
}
LEARNING = {
    "dataset": "digits",
    "partition": {"kind": "dirichlet", "alpha": 0.5},
    "model": {"kind": "mlp", "hidden": [8]},
    "hold_back": 0.2,
}
TIMING = {"dataset": "none", "parameters": 100, "examples": 10, "flops_per_example": 1.0}


def scenario(kind: str, learning: dict = LEARNING, drop: float = 0.2, **stop: Any) -> dict:
    fleet = {
        "compute": {"kind": "exponential", "mean_s": 1.0},
        "network": {"down_mbps": 1.0, "up_mbps": 0.5, "latency_s": 0.05},
        "faults": {"drop_probability": drop},
        "count": 12,
    }
    return {
        "seed": 5,
        "fleet": {"group": [fleet]},
        "learning": learning,
        "strategy": {"kind": kind, **SMALL[kind]},
        "stop": stop or {"versions": 8},
    }


def changed(table: dict, **group: Any) -> dict:
    """The scenario with other options of its one group of devices."""
    return {**table, "fleet": {"group": [{**table["fleet"]["group"][0], **group}]}}


@cache
def played(kind: str) -> simfl.Result:
    return simfl.run(scenario(kind))


def lawful(result: simfl.Result) -> bool:
    """Its ledger breaks no law of ledgers: one task a device, staleness, bytes, sums, digest."""
    return [check for check in verify(result) if check.wrong] == []


every_strategy = pytest.mark.parametrize("kind", KINDS)


def test_the_table_holds_every_shipped_strategy():
    assert set(STRATEGIES.shipped) - set(SMALL) == set()


@every_strategy
def test_a_run_ends_with_a_finite_model_and_its_books_closed(kind):
    result = played(kind)
    assert result.summary["ended"] == "versions"
    assert bool(torch.isfinite(result.params.flat).all())
    assert set(result.tasks.outcome) <= {"applied", "discarded", "lost", "cancelled", "in_flight"}
    assert "unused at the end" not in set(result.tasks.cause[result.tasks.outcome == "applied"])
    assert lawful(result)


@every_strategy
def test_a_run_repeats_bit_for_bit(kind):
    assert simfl.run(scenario(kind)).digest == played(kind).digest


@every_strategy
def test_no_device_has_two_tasks_at_once_and_concurrency_is_kept(kind):
    tasks = played(kind).tasks.sort_values(["device", "dispatched_s", "task"])
    gap = tasks.groupby("device").dispatched_s.shift(-1) - tasks.ended_s
    assert (gap.dropna() >= -1e-9).all()
    limit = SMALL[kind].get("concurrency")
    if limit:
        starts = pd.Series(1, index=tasks.dispatched_s).groupby(level=0).sum()
        ends = pd.Series(-1, index=tasks.ended_s).groupby(level=0).sum()
        assert starts.add(ends, fill_value=0).sort_index().cumsum().max() <= limit


def beside(result: simfl.Result, layout: Layout, down: Any = None, up: Any = None) -> tuple:
    """Sizes of what tasks carried beside frame and payload, down and up."""
    used = result.tasks[result.tasks.outcome == "applied"]
    codecs = chain([down] if down else []), chain([up] if up else [])
    sizes = (used.down_bytes, used.up_bytes)
    return tuple(
        set((moved - FRAME_BYTES - codec.nbytes(layout)).tolist())
        for moved, codec in zip(sizes, codecs, strict=True)
    )


@every_strategy
def test_a_message_is_charged_what_the_codec_says_and_what_travels_beside(kind):
    layout, expected = played(kind).params.layout, BESIDE.get(kind, ({0}, {0}))
    assert beside(played(kind), layout) == expected
    wire = {"down": [{"kind": "bf16"}], "up": [{"kind": "quantize", "bits": 4}]}
    coded = simfl.run({**scenario(kind, versions=4), "wire": wire})
    assert beside(coded, layout, BF16(), Quantize(bits=4)) == expected


@every_strategy
def test_without_learning_the_same_is_charged(kind):
    result, learnt = simfl.run(scenario(kind), timing=True), played(kind)
    assert result.summary["versions"] == 8
    assert result.evaluations.empty
    assert beside(result, learnt.params.layout) == beside(learnt, learnt.params.layout)


@every_strategy
def test_a_strategy_runs_on_stated_sizes(kind):
    result = simfl.run(scenario(kind, TIMING))
    assert result.summary["versions"] == 8
    assert lawful(result)


@every_strategy
def test_a_fleet_that_loses_everything_ends_by_the_clock(kind):
    result = simfl.run(scenario(kind, TIMING, drop=1.0, after_s=30.0))
    assert result.summary["versions"] == 0
    assert result.summary["ended"] == "after_s"
    assert result.summary["lost"] > 10


@every_strategy
def test_one_device_is_a_fleet(kind):
    """Whose only member is asked again and again, whatever becomes of its tasks."""
    table = changed(scenario(kind), count=1)
    fewer = {key: 1 for key in ("cohort", "concurrency") if key in SMALL[kind]}
    result = simfl.run({**table, "strategy": {**table["strategy"], **fewer}})
    assert result.summary["ended"] == "versions"
    assert bool(torch.isfinite(result.params.flat).all())
    assert lawful(result)


@every_strategy
def test_a_strategy_lives_with_devices_that_come_and_go(kind):
    table = scenario(kind, TIMING, versions=20, after_s=3600.0)
    presence = {"kind": "onoff", "mean_on_s": 10.0, "mean_off_s": 10.0}
    result = simfl.run(changed(table, presence=presence))
    assert result.summary["ended"] == "versions"
    assert "offline" in set(result.tasks.cause)
    assert lawful(result)


@every_strategy
def test_devices_that_appear_late_are_waited_for_and_take_part(kind, tmp_path):
    """Eleven come at 5 s, when nobody else is there; the last one at 40 s."""
    (tmp_path / "traces").mkdir()
    columns = {"device": np.arange(12), "start_s": np.array([5.0] * 11 + [40.0])}
    trace = Trace("presence", columns | {"end_s": np.full(12, 1e9)}, {"devices": 12})
    write_trace(tmp_path / "traces" / "late.parquet", trace)
    table = changed(
        scenario(kind, TIMING, after_s=200.0), presence={"kind": "trace", "trace": "late"}
    )
    tasks = simfl.run(parse(table, path=tmp_path / "late.toml")).tasks
    first_s = tasks.groupby("device").dispatched_s.min()
    assert 5.0 <= first_s[:10].min() < 10.0
    assert isfinite(first_s[11])
    assert first_s[11] >= 40.0
    assert "applied" in set(tasks.outcome[tasks.device == 11])


@every_strategy
@pytest.mark.parametrize("stop", [{"versions": 1}, {"updates": 1}, {"after_s": 2.5}], ids=str)
def test_what_arrives_after_the_end_enters_no_model(kind, stop):
    """Equal devices answer at one instant, so that the first to be folded are not alone."""
    table = changed(scenario(kind, drop=0.0, **stop), compute={"kind": "constant", "s": 1.0})
    result = simfl.run(table)
    tasks, end_s = result.tasks, result.summary["virtual_s"]
    assert lawful(result)
    assert tasks.ended_s.max() <= end_s
    assert len(result.versions) == tasks.applied_version.max()
    if "versions" in stop:
        assert result.summary["versions"] == 1
    unused = set(tasks.cause[tasks.outcome == "discarded"])
    assert unused <= {"unused at the end", "surplus", "late", "superseded"}


class _Reports(torch.nn.Module):
    """A classifier with a running statistic that is 1 at first and 0.2 wherever it was trained."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, classes))
        self.register_buffer("statistic", torch.ones(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.statistic.fill_(0.2)
        return self.layers(x)


def reporting(dataset: Any) -> torch.nn.Module:
    return _Reports(dataset.classes)


@every_strategy
def test_running_statistics_stay_between_what_the_server_has_and_what_devices_report(kind):
    """However stale an update is, whatever it weighs: a variance cannot become negative."""
    table = scenario(kind, {**LEARNING, "model": reporting}, drop=0.0)
    with recorded() as models:
        result = simfl.run(table)
    seen = torch.stack([params["statistic"] for params in [*models, result.params]])
    assert bool((seen >= 0.2 - 1e-5).all())
    assert bool((seen <= 1.0 + 1e-5).all())
    assert bool((seen.diff(dim=0) <= 1e-5).all())
    assert float(seen[-1].max()) < 0.9
    if kind in PLAIN_MEANS:
        assert torch.allclose(seen[1:], torch.tensor(0.2), atol=1e-5)


#: Strategies whose updates together replace what the server had.
PLAIN_MEANS = (
    "fedavg", "overselect", "fedprox", "fednova", "feddyn", "scaffold", "signsgd", "spatl", "fadas",
    "port", "dcasgd", "semisync", "firstorder", "gradientinversion",
)  # fmt: skip


@contextmanager
def recorded() -> Iterator[list[Params]]:
    """The model before each change, as the server has it."""
    models, apply = [], Server.apply
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Server, "apply", lambda self, c: (models.append(self.params), apply(self, c)))
        yield models


def replace_in_place(state: Any, fresh: Any) -> None:
    """The state becomes the one that was read; it may be a dict or a dataclass."""
    if isinstance(state, dict):
        state.clear()
        state.update(fresh)
    else:
        for f in fields(state):
            setattr(state, f.name, getattr(fresh, f.name))


def reread(value: Any, known: dict[str, Any]) -> Any:
    """What a checkpoint gives back of what it was given."""
    writer = Writer(known)
    tree = json.loads(json.dumps(writer.tree(value)))
    return Reader(known, writer.arrays).value(tree)


@every_strategy
@pytest.mark.parametrize("timing", [False, True])
def test_a_state_that_is_saved_and_loaded_before_every_step_changes_nothing(
    kind, timing, monkeypatch
):
    told = simfl.run(scenario(kind), timing=True) if timing else played(kind)
    part = STRATEGIES.get(kind)
    step = part.step

    def reborn(self, state, server, updates):
        fresh = reread(state, {"server": server})
        assert fresh is not state
        replace_in_place(state, fresh)
        return step(self, state, server, updates)

    monkeypatch.setattr(part, "step", reborn)
    assert simfl.run(scenario(kind), timing=timing).digest == told.digest


def plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(plain(key) and plain(item) for key, item in value.items())
    if isinstance(value, list | tuple):
        return all(plain(item) for item in value)
    if is_dataclass(value) and not isinstance(value, Update | Params):
        return all(plain(getattr(value, f.name)) for f in fields(value))
    return value is None or isinstance(
        value, bool | int | float | str | Params | torch.Tensor | Update
    )


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "spatl" not in kind])
def test_the_state_is_made_of_what_a_checkpoint_can_hold(kind):
    lab = Lab([[float(i)] for i in range(12)], lambda device, index: 1.0 + 0.3 * device)
    lab.play(parse(scenario(kind)).strategy, versions=6)
    assert plain(lab.state)


@pytest.mark.parametrize(
    "registry", [STRATEGIES, LOCAL_RULES, SELECTIONS, SERVER_OPTIMISERS, WEIGHTINGS]
)
def test_every_part_says_what_it_does_in_one_line(registry):
    for name in registry.names():
        first, *_ = inspect.getdoc(registry.get(name)).splitlines()
        assert first.endswith((".", ":")), f"{name}: {first}"
        assert len(first) <= 100


@every_strategy
def test_every_strategy_names_its_paper(kind):
    part = STRATEGIES.get(kind)
    assert any(char.isdigit() for char in part.reference)
    author = part.reference.split(",")[0].split(" et al.")[0].split()[0]
    module = inspect.getmodule(part)
    told = (part, module, sys.modules[module.__package__])
    assert author in " ".join(" ".join(map(inspect.getdoc, told)).split())


def test_a_strategy_costs_its_author_one_short_file():
    """The median file of a family, reference and equations included, has fewer than 150 lines."""
    names = {STRATEGIES.target(kind).partition(":")[0] for kind in STRATEGIES.shipped}
    files = [Path(importlib.import_module(name).__file__) for name in sorted(names)]
    assert np.median([len(file.read_text("utf-8").splitlines()) for file in files]) < 150
