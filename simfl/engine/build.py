"""From a scenario's options to the parts that the kernel plays with."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np

from simfl.clock.ingest import Service
from simfl.clock.kernel import Limits, Plan
from simfl.clock.workload import TimingOnly, Workload
from simfl.engine.exchange import Exchange
from simfl.errors import InputError
from simfl.fleet.build import build as build_fleet
from simfl.fleet.catalogue import catalogue_dirs
from simfl.fleet.columns import Fleet
from simfl.learn.loops.base import called, directions_of
from simfl.learn.problem import Problem, Sizes, training_bytes
from simfl.params import Layout, Params
from simfl.scenario import LearningOptions, Scenario, TimingOptions
from simfl.scenario.checks.beside import trace_dirs
from simfl.scenario.checks.edges import edges_in
from simfl.strategy.base import overrides
from simfl.strategy.special_rules import step_flops
from simfl.streams import Streams
from simfl.units import GFLOPS, MBPS, Cluster
from simfl.wire.chain import chain
from simfl.wire.codec import Codec, as_params
from simfl.wire.extras import extras_nbytes

if TYPE_CHECKING:
    from simfl.engine.workload import Learning


def fleet_of(scenario: Scenario, streams: Streams | None = None) -> Fleet:
    """All devices of a scenario. Raises InputError: CatalogueError and TraceError among them.

    streams: by default those of the scenario's seed.

    >>> from simfl.scenario import load
    >>> len(fleet_of(load("quickstart")))
    100
    """
    if not isinstance(scenario, Scenario):
        raise InputError(f"fleet_of takes a Scenario, as simfl.load gives it, not {scenario!r}")
    streams = streams or Streams(scenario.seed)
    beside = scenario.path.parent if scenario.path else None
    return build_fleet(
        scenario.fleet.group,
        streams,
        catalogue_dirs(beside),
        cells=scenario.network.cell,
        traces=trace_dirs(scenario),
    )


def plan_of(scenario: Scenario, problem: Problem | None = None) -> Plan:
    """When the run stops and is evaluated, and what the server and its edges can carry.

    problem: of the scenario, whose model travels between edges and cloud; None where its
        [learning] states sizes.
    """
    stop, server, evaluate = scenario.stop, scenario.server, scenario.evaluate
    target = {} if stop.target is None else stop.target.wanted
    limits = Limits(
        after_s=_or_inf(stop.after_s),
        versions=stop.versions,
        updates=stop.updates,
        target=target,
        lower=lower_metrics(scenario),
        wall_s=_or_inf(stop.wall_s),
    )
    return Plan(
        limits=limits,
        shared_links=server.sharing == "max-min",
        down_rate=_or_inf(server.down_mbps) * MBPS,
        up_rate=_or_inf(server.up_mbps) * MBPS,
        server_flops=server.gflops * GFLOPS,
        ingest=Service(
            server.processors or 1, server.ingest_s or 0.0, (server.ingest_s_per_mb or 0.0) / 1e6
        ),
        aggregate_s=server.aggregate_s or 0.0,
        edges=edges_in(scenario),
        model_bytes=_model_bytes(scenario, problem) if scenario.edge else 0,
        evaluate_every_s=_or_inf(evaluate.every_s),
        evaluate_every_versions=evaluate.every_versions,
        evaluate_at_start=evaluate.at_start,
        save_every_s=_or_inf(scenario.checkpoint.every_s),
        save_wall_s=scenario.checkpoint.wall_s,
        stop_diverged=stop.on_divergence == "stop",
    )


def _model_bytes(scenario: Scenario, problem: Problem | None) -> int:
    """Of the whole model, as it travels between an edge and the cloud: dense float32."""
    sizes = stated_sizes(scenario) if problem is None else problem.sizes()
    return _nbytes(chain(()), sizes.layout)


def lower_metrics(scenario: Scenario) -> list[str]:
    """Metrics of a scenario that are the better the lower, as their authors say."""
    if isinstance(scenario.learning, TimingOptions):
        return []
    own = scenario.learning.evaluate
    if own is not None:
        return [name for name, way in directions_of(own).items() if way == "lower"]
    return [metric.name for metric in scenario.learning.measured if metric.direction == "lower"]


def workload_of(
    scenario: Scenario,
    problem: Problem | None,
    streams: Streams,
    *,
    timing: bool = False,
    workers: int = 1,
    on: Cluster | None = None,
) -> Workload:
    """What tasks carry: real learning, or with `timing` its sizes alone.

    problem: of the scenario; None where its [learning] states sizes.
    streams: of the run.
    timing: the same clock and bytes, and nothing is learnt.
    workers: processes that train; 1 is this one alone.
    on: the cluster where they are; by default this machine.
    """
    if problem is None:
        return timing_of(scenario, stated_sizes(scenario))
    if timing:
        timed = timing_of(scenario, problem.sizes(), problem.initial)
        if problem.training.train is not None:
            name = called(problem.training.train)
            timed.notes = {"work": f"as simfl's own loop makes it: {name} was not called"}
        return timed
    return _learning(scenario, problem, streams, workers, on)


def stated_sizes(scenario: Scenario) -> Sizes:
    """The sizes that [learning] states, of a scenario with dataset = "none"."""
    options = scenario.learning
    assert isinstance(options, TimingOptions)
    return Sizes(
        _one_part(options.parameters),
        np.broadcast_to(np.array(options.examples, np.int64), (scenario.fleet.devices,)),
        options.batch_size,
        options.flops_per_example,
        training_bytes(options.parameters),
    )


def timing_of(scenario: Scenario, sizes: Sizes, initial: Params | None = None) -> TimingOnly:
    """Messages of a model of these sizes and what goes beside it, with nothing inside.

    initial: the model, of which a rule with extras of its own may ask; by default zeros, made
        where a rule asks (and torch with them).
    """
    rule, layout = scenario.strategy.local, sizes.layout
    sends: Mapping[str, Any] | None = {}
    if overrides(rule, "sends"):
        zeros = np.zeros(layout.size if initial is None else 0, np.float32)
        sends = rule.sends(as_params(zeros, layout) if initial is None else initial)
    return TimingOnly(
        sizes.examples,
        sizes.batch_size,
        step_flops(rule, sizes.flops),
        _nbytes(chain(scenario.wire.down), layout),
        _nbytes(chain(scenario.wire.up), _stated_up(scenario) or layout),
        passes=rule.passes(),
        drop_last=sizes.drop_last,
        sent_bytes=extras_nbytes(sends or {}, layout),
        extras_nbytes=lambda extras: extras_nbytes(extras, layout),
        memory_bytes=sizes.memory_bytes,
    )


def _stated_up(scenario: Scenario) -> Layout | None:
    """What comes back, where [learning] states that it is of another length than the model."""
    length = getattr(scenario.learning, "up_parameters", None)
    return None if length is None else _one_part(length)


def _one_part(length: int) -> Layout:
    return Layout((("model", (length,)),), length)


def _learning(
    scenario: Scenario, problem: Problem, streams: Streams, workers: int, on: Cluster | None
) -> Learning:
    from simfl.engine.workload import Learning
    from simfl.learn.trainers import make, torch_device_of

    options = scenario.learning
    assert isinstance(options, LearningOptions)
    torch_device = torch_device_of(options.device)
    local = problem.local(scenario.strategy.local, streams, torch_device)
    choice = make(options.trainer, local, workers, on)
    down, up = chain(scenario.wire.down), chain(scenario.wire.up)
    return Learning(
        problem,
        choice.trainer,
        Exchange(problem.initial, down, up, streams, problem.groups, senders=_senders(scenario)),
        local,
        notes={"trainer": f"{choice.kind}: {choice.why}"},
        choices={"trainer": choice.kind, "device": torch_device},
    )


def _senders(scenario: Scenario) -> int:
    """Servers that send models of their own to devices."""
    return sum(edge.count for edge in scenario.edge) or 1


def _nbytes(codec: Codec, layout: Layout) -> int:
    """Payload bytes of a message; where they depend on the values, those of normal noise."""
    nbytes = codec.nbytes(layout)
    if nbytes is not None:
        return nbytes
    rng = np.random.Generator(np.random.Philox(key=0))
    noise = rng.standard_normal(layout.size, dtype=np.float32)
    return codec.encode(as_params(noise, layout), None, rng).nbytes


def _or_inf(value: float | None) -> float:
    return inf if value is None else value
