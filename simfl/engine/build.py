"""From a scenario's options to the parts that the kernel plays with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simfl.clock.kernel import Limits, Plan
from simfl.clock.workload import TimingOnly, Workload
from simfl.errors import PluginError, ScenarioError, did_you_mean, plugin_errors
from simfl.fleet.build import build as build_fleet
from simfl.fleet.catalogue import catalogue_dirs
from simfl.fleet.columns import Fleet
from simfl.learn.loops.base import called, directions_of
from simfl.learn.optimizers import Sgd, floats_per_parameter
from simfl.scenario import LearningOptions, Scenario, TimingOptions
from simfl.scenario.checks import trace_dirs
from simfl.strategy.base import LearningInfo, overrides
from simfl.streams import Streams
from simfl.units import GFLOPS, MBPS
from simfl.wire.chain import chain
from simfl.wire.codec import Codec, as_params, guarded
from simfl.wire.extras import extras_nbytes

if TYPE_CHECKING:
    from simfl.params import Layout, Params


def fleet_of(scenario: Scenario, streams: Streams | None = None) -> Fleet:
    """All devices of a scenario. Raises CatalogueError, TraceError.

    streams: by default those of the scenario's seed.
    """
    streams = streams or Streams(scenario.seed)
    beside = scenario.path.parent if scenario.path else None
    return build_fleet(
        scenario.fleet.group,
        streams,
        catalogue_dirs(beside),
        cells=scenario.network.cell,
        traces=trace_dirs(scenario),
    )


def plan_of(scenario: Scenario) -> Plan:
    """When the run stops and is evaluated, and what the server can carry."""
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
        evaluate_every_s=_or_inf(evaluate.every_s),
        evaluate_every_versions=evaluate.every_versions,
        evaluate_at_start=evaluate.at_start,
        save_every_s=_or_inf(scenario.checkpoint.every_s),
        save_wall_s=scenario.checkpoint.wall_s,
        stop_diverged=stop.on_divergence == "stop",
    )


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
    streams: Streams,
    *,
    timing: bool,
    data_dir: Path | None,
    workers: int = 1,
    problem: Problem | None = None,
) -> Workload:
    """What tasks carry: real learning, or with `timing` its sizes alone. Raises DataError.

    workers: processes that train; 1 is this one alone. problem: loaded here, unless it is given.
    """
    options = scenario.learning
    if isinstance(options, TimingOptions):
        return _stated(scenario, options)
    problem = problem or problem_of(scenario, options, streams, data_dir)
    if timing:
        return _sized(scenario, problem, options)
    return _learning(scenario, problem, streams, workers)


@dataclass(frozen=True, eq=False)
class Problem:
    """A data set dealt out to the fleet, and an untrained model of it."""

    data: Any  #: learn.jobs.LocalData
    model: Any  #: torch module
    initial: Any  #: Params: what of the model travels
    flops: float  #: of training on one example
    frozen: int  #: parameters of the model that stay as they are
    groups: Any = None  #: in which uploads may be thinned


def learning_problem(scenario: Scenario, streams: Streams, data_dir: Path | None) -> Problem | None:
    """`problem_of` the scenario; None where its [learning] states sizes alone."""
    options = scenario.learning
    if isinstance(options, TimingOptions):
        return None
    return problem_of(scenario, options, streams, data_dir)


def problem_of(
    scenario: Scenario, options: LearningOptions, streams: Streams, data_dir: Path | None
) -> Problem:
    """Loads the data, deals it out and makes the model, all from the scenario's seed."""
    from simfl.learn.models.base import build
    from simfl.learn.models.flat import params_of
    from simfl.learn.models.flops import flops_per_example
    from simfl.learn.models.structure import split_of
    from simfl.learn.partition.intertwine import intertwined
    from simfl.learn.partition.own import dealt_out
    from simfl.learn.partition.shift import drifting, negative
    from simfl.learn.trainers.jobs import LocalData
    from simfl.learn.trainers.local_training import asking
    from simfl.learn.tryout import check_batches, check_model

    dataset, source = dataset_of(scenario, data_dir), _source(scenario, options, data_dir)
    devices = scenario.fleet.devices
    objective = options.training.objective
    free = options.train is not None and options.evaluate is not None
    if not free:
        objective.check(dataset)
    with _part("model", options.model):
        model = build(options.model, dataset, streams.integer("model"), free)
        if not free:
            check_model(model, dataset, objective)
        flops, initial = flops_per_example(model, dataset.x[:1], free), params_of(model)
        frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    with _part("partition", options.partition):
        draws = streams.generator("partition")
        partition = dealt_out(options.partition, dataset, devices, draws)
    held = None
    if options.intertwined is not None:
        slow = _slow(scenario, options, streams, flops, float(partition.sizes.mean()))
        partition = intertwined(partition, dataset, options.intertwined.label, slow)
    if options.hold_back:
        partition, held = partition.hold_back(options.hold_back, streams.generator("hold back"))
    if options.train is None:
        check_batches(
            model,
            dataset,
            partition.sizes,
            options.batch_size,
            objective=objective,
            drop_last=options.drop_last,
            steps=getattr(scenario.strategy, "steps", None),
        )
    data = LocalData(dataset, partition, held)
    if options.drift is not None:
        later = negative(dataset)
        if options.drift.dataset is not None:
            later = options.drift.dataset(source, streams.generator("later dataset"))
        versions = options.drift.first, options.drift.last
        data = drifting(data, later, *versions, streams.generator("drift"))
    rule = scenario.strategy.local
    with asking(rule, "split"):
        found = split_of(rule, model, dataset.x[:1])
    if found is None:
        return Problem(data, model, initial, flops, frozen)
    _, split = found
    return Problem(data, model, initial.select(split.names), flops, frozen, split.groups)


def dataset_of(scenario: Scenario, data_dir: Path | None) -> Any:
    """The scenario's learn.data.Dataset, not dealt out. Raises DataError, PluginError."""
    from simfl.learn.datasets.base import Dataset
    from simfl.learn.datasets.transforms import transformed

    options = scenario.learning
    assert isinstance(options, LearningOptions)
    source, rng = _source(scenario, options, data_dir), Streams(scenario.seed).generator("dataset")
    with _part("data set", options.dataset, Dataset) as made:
        found = made(options.dataset(source, rng))
    return transformed(found, options.transforms or ())


def _source(scenario: Scenario, options: LearningOptions, data_dir: Path | None) -> Any:
    """The learn.data.DataDir in which data sets are looked for."""
    from simfl.learn.datasets.base import DataDir

    beside = scenario.path.parent if scenario.path else Path()
    own = None if options.data_dir is None else beside / options.data_dir
    return DataDir(data_dir or own, scenario.path.parent if scenario.path else None)


@contextmanager
def _part(noun: str, part: Any, wanted: type = object) -> Iterator[Callable[[Any], Any]]:
    """Errors inside are told under the part's name; what it makes must be of the wanted type."""
    name = getattr(part, "kind", None) or getattr(part, "__qualname__", type(part).__name__)

    def made(value: Any) -> Any:
        if not isinstance(value, wanted):
            raise PluginError(f"must make a {wanted.__name__}, not {value!r}")
        return value

    with plugin_errors(f"{noun} {name}"):
        yield made


def _slow(
    scenario: Scenario, options: LearningOptions, streams: Streams, flops: float, examples: float
) -> np.ndarray:
    """The devices that are to hold most of a class, the slowest first. Raises ScenarioError.

    flops: of training on one example; examples: that a device has on average.
    """
    wanted, fleet = options.intertwined, fleet_of(scenario, streams)
    assert wanted is not None
    steps = max(1.0, examples / options.batch_size)
    order = np.argsort(-fleet.compute.expected_s(flops * examples, steps), kind="stable")
    if wanted.devices is not None:
        return order[: wanted.devices]
    if wanted.group not in fleet.device_classes:
        hint = did_you_mean(str(wanted.group), fleet.device_classes)
        raise ScenarioError(
            f"learning.intertwined.group = {wanted.group!r} is not the name of a group {hint}"
        )
    return order[fleet.class_id[order] == fleet.device_classes.index(wanted.group)]


def _learning(scenario: Scenario, problem: Problem, streams: Streams, workers: int) -> Workload:
    from simfl.engine.workload import Learning
    from simfl.learn.trainers import device_of, make
    from simfl.learn.trainers.local_training import Local

    options, rule = scenario.learning, scenario.strategy.local
    assert isinstance(options, LearningOptions)
    training, device = options.training, device_of(options.device)
    local = Local(problem.model, problem.data, training, rule, streams, device)
    choice = make(options.trainer, local, workers)
    return Learning(
        problem.initial,
        choice.trainer,
        _metrics(scenario, problem, local),
        rule,
        streams,
        notes={"trainer": f"{choice.kind}: {choice.why}"},
        choices={"trainer": choice.kind, "device": device},
        reports=None if options.train is None else called(options.train),
        info=_learning_info(problem, training),
        groups=problem.groups,
        tried_flops=problem.flops / 3.0 * problem.data.tried,
        examples=problem.data.partition.sizes,
        batch_size=training.batch_size,
        drop_last=training.drop_last,
        flops=problem.flops,
        rate=training.rate,
        memory_bytes=_training_bytes(scenario, problem.initial.layout.size, problem.frozen),
        down=guarded(chain(scenario.wire.down)),
        up=guarded(chain(scenario.wire.up)),
    )


def _learning_info(problem: Problem, training: Any) -> LearningInfo:
    """The problem as the server knows it: everything but the data."""
    dataset = problem.data.dataset
    bounded = not dataset.sequence and dataset.batchwise is None
    return LearningInfo(
        flops=problem.flops,
        batch_size=training.batch_size,
        model=copy.deepcopy(problem.model).eval(),
        shape=tuple(dataset.x.shape[1:]),
        classes=dataset.outputs,
        bounds=(float(dataset.x.min()), float(dataset.x.max())) if bounded else None,
        training=training,
    )


def _metrics(scenario: Scenario, problem: Problem, local: Any) -> Any:
    """How models are evaluated: (params, kept) -> values by name."""
    from simfl.learn.evaluation import Examination, averaged, score, with_decay
    from simfl.learn.loops.own_evaluation import OwnEvaluation
    from simfl.learn.personalised import Personal

    options, dataset = scenario.learning, problem.data.dataset
    assert isinstance(options, LearningOptions)
    _check_metrics(scenario, dataset)
    shared = local.structure is None
    objective = local.options.objective
    examine: Any = Examination(problem.model, dataset, objective, options.measured)
    if options.evaluate is not None:
        examine = OwnEvaluation(problem.model, dataset, options.evaluate, local.device)
    personal = Personal(local, examine) if scenario.evaluate.personal or not shared else None

    def metrics(params: Any, kept: Any) -> dict[str, Any]:
        found, classes = examine(params) if personal is None else personal(params, kept)
        if scenario.evaluate.by_class:
            found |= {f"accuracy_class_{label}": float(a) for label, a in enumerate(classes)}
        if shared and "loss" in found:
            found = with_decay(found, params, local.options.weight_decay)
        if shared and options.drift is not None:
            later = problem.data.later
            each = score(problem.model, params, later.x_test, later.y_test, objective=objective)
            found |= {f"{name}_later": value for name, value in averaged(*each).items()}
        return found

    return metrics


def _check_metrics(scenario: Scenario, dataset: Any) -> None:
    """Raises ScenarioError where examples have no single class and metrics by class are wanted."""
    what = "sequences, whose examples have many" if dataset.sequence else "values"
    for key in ("personal", "by_class"):
        if (dataset.sequence or dataset.classes is None) and getattr(scenario.evaluate, key):
            raise ScenarioError(
                f"evaluate.{key} looks at the class of each example, but {dataset.name} holds "
                f"{what}; leave evaluate.{key} out"
            )


def _sized(scenario: Scenario, problem: Problem, options: LearningOptions) -> Workload:
    """A learning problem's sizes without its learning."""
    initial, sizes = problem.initial, problem.data.partition.sizes
    load = _timing(
        scenario, initial.layout, lambda: initial, sizes, options.batch_size, problem.flops
    )
    load.drop_last = options.drop_last
    load.memory_bytes = _training_bytes(scenario, initial.layout.size, problem.frozen)
    return load


def _stated(scenario: Scenario, options: TimingOptions) -> Workload:
    """Sizes that the scenario states."""
    from simfl.params import Layout

    layout = Layout((("model", (options.parameters,)),), options.parameters)
    sizes = np.broadcast_to(np.array(options.examples, np.int64), (scenario.fleet.devices,))

    def initial() -> Params:
        return as_params(np.zeros(options.parameters, np.float32), layout)

    return _timing(scenario, layout, initial, sizes, options.batch_size, options.flops_per_example)


def _timing(
    scenario: Scenario,
    layout: Layout,
    initial: Callable[[], Params],
    sizes: np.ndarray,
    batch_size: int,
    flops: float,
) -> TimingOnly:
    """Messages of this model and what goes beside it, with nothing inside.

    initial: makes the model, which only a rule with extras of its own needs (and torch with it).
    """
    rule = scenario.strategy.local
    sends = rule.sends(initial() if overrides(rule, "sends") else None)
    return TimingOnly(
        sizes,
        batch_size,
        flops,
        _nbytes(chain(scenario.wire.down), layout),
        _nbytes(chain(scenario.wire.up), layout),
        passes=rule.passes(),
        sent_bytes=extras_nbytes(sends or {}, layout),
        extras_nbytes=lambda extras: extras_nbytes(extras, layout),
        memory_bytes=_training_bytes(scenario, layout.size),
    )


def _training_bytes(scenario: Scenario, parameters: int, frozen: int = 0) -> int:
    """What training takes on a device: the model as it came, as it is trained, and its gradient.

    frozen: parameters that lie there once.

    A lower bound: activations, data and the framework come on top.
    """
    return 4 * (int(parameters * (3 + _remembered(scenario))) + frozen)


def _remembered(scenario: Scenario) -> float:
    """Numbers that the optimizer holds for each parameter."""
    if isinstance(scenario.learning, TimingOptions):
        return 0.0
    training = scenario.learning.training
    if isinstance(training.optimizer, Sgd):
        return float(training.momentum > 0.0)
    return floats_per_parameter(training.optimizer)


def _nbytes(codec: Codec, layout: Any) -> int:
    """Payload bytes of a message; where they depend on the values, those of normal noise."""
    nbytes = codec.nbytes(layout)
    if nbytes is not None:
        return nbytes
    rng = np.random.Generator(np.random.Philox(key=0))
    noise = rng.standard_normal(layout.size, dtype=np.float32)
    return codec.encode(as_params(noise, layout), None, rng).nbytes


def _or_inf(value: float | None) -> float:
    return inf if value is None else value
