"""`simfl explain`: what a scenario will do, in words and medians, before it is run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from simfl.clock.workload import TimingOnly
from simfl.engine.build import fleet_of, workload_of
from simfl.engine.explain import facts
from simfl.engine.loading import problem_of
from simfl.fleet.columns import Fleet
from simfl.learn.problem import Problem
from simfl.messages import FRAME_BYTES, examples_seen, local_steps, whole_batches
from simfl.results import formatting
from simfl.scenario import Scenario, TimingOptions
from simfl.scenario.parts import kind_of
from simfl.scenario.sections import WireOptions
from simfl.streams import Streams

if TYPE_CHECKING:
    from simfl.engine.workload import Learning


@dataclass(frozen=True)
class Explanation:
    """What a scenario will do.

    title: one line.
    classes: one row per device class, by heading.
    facts: by subject.
    """

    title: str
    classes: list[dict[str, str]]
    facts: dict[str, str]


def explain(scenario: Scenario, data_dir: Path | None = None, timing: bool = False) -> Explanation:
    """What will happen. Loads the data set, deals it out, builds the model; trains nothing.

    Seconds are medians over a class's devices, each alone on its link and without jitter.

    data_dir: folder of data sets.
    timing: loads no data and no model, and leaves out what follows from their sizes.
    """
    streams = Streams(scenario.seed)
    fleet = fleet_of(scenario, streams)
    around = {
        "at once": facts.at_once(scenario),
        "server": facts.server(scenario),
        "faults": facts.faults(scenario),
        "evaluated": facts.evaluated(scenario),
        "ends": facts.ends(scenario),
    }
    if timing and not isinstance(scenario.learning, TimingOptions):
        words = {**around, **facts.beyond(scenario, fleet)}
        return Explanation(_title(scenario, fleet), [row for row, _ in _rows(fleet)], words)
    problem = problem_of(scenario, streams, data_dir)
    load = bare = _sizes(scenario, streams, problem)
    if scenario.wire != WireOptions():
        dense = scenario.model_copy(update={"wire": WireOptions()})
        bare = _sizes(dense, streams, problem)
    steps, flops = _work(scenario, load)
    trainer = None if problem is None else _trainer(scenario, streams, problem)
    words = {
        "learning": facts.learning(scenario, load),
        **({} if trainer is None else {"trainer": trainer.notes["trainer"]}),
        "a task": facts.task(scenario, steps, flops),
        "bytes": facts.sent(load, bare),
        **around,
        "models held": facts.held(scenario, bare, trainer),
        **({} if trainer is None else {"memory": facts.memory(scenario, bare, trainer)}),
        **facts.beyond(scenario, fleet),
    }
    return Explanation(_title(scenario, fleet), _classes(fleet, load, steps, flops), words)


def _title(scenario: Scenario, fleet: Fleet) -> str:
    strategy = kind_of(type(scenario.strategy))
    return f"{scenario.name}: {strategy} on {len(fleet)} devices, seed {scenario.seed}"


def _sizes(scenario: Scenario, streams: Streams, problem: Problem | None) -> TimingOnly:
    load = workload_of(scenario, problem, streams, timing=True)
    assert isinstance(load, TimingOnly)
    return load


def _trainer(scenario: Scenario, streams: Streams, problem: Problem) -> Learning:
    """The workload as it would learn."""
    from simfl.engine.workload import Learning

    load = workload_of(scenario, problem, streams)
    assert isinstance(load, Learning)
    load.close()
    return load


def _work(scenario: Scenario, load: TimingOnly) -> tuple[np.ndarray, np.ndarray]:
    """(N,) mini-batch steps and (N,) FLOP of a task on each device."""
    epochs, steps = facts.asked(scenario)
    sizes = load.examples.tolist()
    sizes = [whole_batches(n, load.batch_size, load.drop_last) for n in sizes]
    taken = [local_steps(n, load.batch_size, epochs, steps) for n in sizes]
    seen = [examples_seen(n, load.batch_size, s) for n, s in zip(sizes, taken, strict=True)]
    return np.array(taken), load.flops * np.array(seen)


def _classes(
    fleet: Fleet, load: TimingOnly, steps: np.ndarray, flops: np.ndarray
) -> list[dict[str, str]]:
    columns = fleet.columns()
    latency_s = columns["latency_s"]
    phases = {
        "download": latency_s + (load.down_bytes + FRAME_BYTES) / columns["down_bytes_per_s"],
        "train": fleet.compute.expected_s(flops, steps),
        "upload": latency_s + (load.up_bytes + FRAME_BYTES) / columns["up_bytes_per_s"],
    }
    phases["task"] = sum(phases.values(), np.zeros(len(fleet)))
    rows = []
    for row, mine in _rows(fleet):
        medians = {key: formatting.seconds(float(np.median(s[mine]))) for key, s in phases.items()}
        rows.append(row | medians)
    return rows


def _rows(fleet: Fleet) -> Iterator[tuple[dict[str, str], np.ndarray]]:
    """What words say of each device class, and (N,) bool which devices are of it."""
    columns = fleet.columns()
    for i, name in enumerate(fleet.device_classes):
        mine = fleet.class_id == i
        words = {key: ", ".join(dict.fromkeys(columns[key][mine])) for key in _WORDS}
        yield {"class": name, "devices": str(mine.sum()), **words}, mine


_WORDS = ("network", "presence")  # columns whose distinct values are listed
