"""From a scenario's [learning] to the problem: loads the data, deals it out, makes the model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simfl.engine.build import fleet_of
from simfl.errors import PluginError, ScenarioError, did_you_mean, plugin_errors
from simfl.learn.problem import Problem
from simfl.scenario import LearningOptions, Scenario
from simfl.streams import Streams

if TYPE_CHECKING:
    from simfl.learn.datasets.base import DataDir, Dataset
    from simfl.learn.partition.base import Partition
    from simfl.learn.trainers.jobs import LocalData


def problem_of(
    scenario: Scenario, streams: Streams | None = None, data_dir: Path | None = None
) -> Problem | None:
    """The learning problem of a scenario; None where its [learning] states sizes alone.

    streams: by default those of the scenario's seed.
    data_dir: folder of data sets; by default the scenario's own, then the usual one.
    Raises DataError, ScenarioError, PluginError.
    """
    if not isinstance(scenario.learning, LearningOptions):
        return None
    return _Loading(scenario, streams or Streams(scenario.seed), data_dir).problem()


def dataset_of(scenario: Scenario, data_dir: Path | None) -> Dataset:
    """The scenario's data set, not dealt out. Raises DataError, PluginError."""
    from simfl.learn.datasets.base import Dataset
    from simfl.learn.datasets.transforms import transformed

    options = _options(scenario)
    source, rng = _source(scenario, data_dir), Streams(scenario.seed).generator("dataset")
    with _part("data set", options.dataset, Dataset) as made:
        found = made(options.dataset(source, rng))
    return transformed(found, options.transforms or ())


class _Loading:
    """One scenario's problem on its way, every draw from a stream of its own."""

    def __init__(self, scenario: Scenario, streams: Streams, data_dir: Path | None) -> None:
        self.scenario = scenario
        self.options = _options(scenario)
        self.training = self.options.training
        self.streams = streams
        self.source = _source(scenario, data_dir)
        #: Nothing but functions of the user's own looks at the model's outputs.
        self.free = self.options.train is not None and self.options.evaluate is not None
        self.dataset = dataset_of(scenario, data_dir)

    def problem(self) -> Problem:
        from simfl.learn.models.structure import split_of
        from simfl.learn.trainers.local_training import asking

        if not self.free:
            self.training.objective.check(self.dataset)
        whole, rule = self._with_model(), self.scenario.strategy.local
        self._check_batches(whole)
        with asking(rule, "split"):
            found = split_of(rule, whole.model, self.dataset.x[:1])
        if found is None:
            return whole
        _, split = found
        return replace(whole, initial=whole.initial.select(split.names), groups=split.groups)

    def _with_model(self) -> Problem:
        """The problem with the whole model travelling."""
        from simfl.learn.models.base import build
        from simfl.learn.models.flat import params_of
        from simfl.learn.models.flops import flops_per_example
        from simfl.learn.tryout import check_model

        with _part("model", self.options.model):
            seed, example = self.streams.integer("model"), self.dataset.x[:1]
            precision = self.options.precision
            model = build(self.options.model, self.dataset, seed, self.free, precision)
            if not self.free:
                check_model(model, self.dataset, self.training.objective)
            flops, initial = flops_per_example(model, example, self.free), params_of(model)
            frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
        return Problem(
            self._data(flops),
            model,
            initial,
            self.training,
            flops,
            frozen,
            metrics=self.options.measured,
            evaluate=self.options.evaluate,
            personal=self.scenario.evaluate.personal,
            by_class=self.scenario.evaluate.by_class,
        )

    def _data(self, flops: float) -> LocalData:
        """The data set as the devices hold it. flops: of training on one example."""
        from simfl.learn.trainers.jobs import LocalData

        partition, held, share = self._dealt_out(flops), None, self.options.hold_back
        if share:
            partition, held = partition.hold_back(share, self.streams.generator("hold back"))
        return self._shifting(LocalData(self.dataset, partition, held))

    def _dealt_out(self, flops: float) -> Partition:
        """Which device holds which examples."""
        from simfl.learn.partition.intertwine import intertwined
        from simfl.learn.partition.own import dealt_out

        devices = self.scenario.fleet.devices
        with _part("partition", self.options.partition):
            draws = self.streams.generator("partition")
            partition = dealt_out(self.options.partition, self.dataset, devices, draws)
        wanted = self.options.intertwined
        if wanted is None:
            return partition
        slow = self._slow(flops, float(partition.sizes.mean()))
        return intertwined(partition, self.dataset, wanted.label, slow)

    def _shifting(self, data: LocalData) -> LocalData:
        """The same data, replaced version by version where [learning.shift] says so."""
        from simfl.learn.partition.shift import negative, shifting

        shift = self.options.shift
        if shift is None:
            return data
        later = negative(self.dataset)
        if shift.dataset is not None:
            later = shift.dataset(self.source, self.streams.generator("later dataset"))
        return shifting(data, later, shift.first, shift.last, self.streams.generator("drift"))

    def _check_batches(self, problem: Problem) -> None:
        from simfl.learn.tryout import check_batches

        if self.options.train is not None:
            return  # which makes batches of its own
        check_batches(
            problem.model,
            self.dataset,
            problem.data.partition.sizes,
            self.training.batch_size,
            objective=self.training.objective,
            drop_last=self.training.drop_last,
            steps=getattr(self.scenario.strategy, "steps", None),
        )

    def _slow(self, flops: float, examples: float) -> np.ndarray:
        """The devices that are to hold most of a class, the slowest first. Raises ScenarioError.

        flops: of training on one example.
        examples: that a device has on average.
        """
        wanted, fleet = self.options.intertwined, fleet_of(self.scenario, self.streams)
        assert wanted is not None
        steps = max(1.0, examples / self.options.batch_size)
        order = np.argsort(-fleet.compute.expected_s(flops * examples, steps), kind="stable")
        if wanted.devices is not None:
            return order[: wanted.devices]
        if wanted.group not in fleet.device_classes:
            hint = did_you_mean(str(wanted.group), fleet.device_classes)
            raise ScenarioError(
                f"learning.intertwined.group = {wanted.group!r} is not the name of a group {hint}"
            )
        return order[fleet.class_id[order] == fleet.device_classes.index(wanted.group)]


def _options(scenario: Scenario) -> LearningOptions:
    assert isinstance(scenario.learning, LearningOptions)
    return scenario.learning


def _source(scenario: Scenario, data_dir: Path | None) -> DataDir:
    """Where data sets are looked for."""
    from simfl.learn.datasets.base import DataDir

    beside, own = scenario.path.parent if scenario.path else None, _options(scenario).data_dir
    found = None if own is None else (beside or Path()) / own
    return DataDir(data_dir or found, beside)


@contextmanager
def _part(noun: str, part: Any, wanted: type = object) -> Iterator[Callable[[Any], Any]]:
    """Errors inside carry the part's name; what it makes must be of the wanted type."""
    name = getattr(part, "kind", None) or getattr(part, "__qualname__", type(part).__name__)

    def made(value: Any) -> Any:
        if not isinstance(value, wanted):
            raise PluginError(f"must make a {wanted.__name__}, not {value!r}")
        return value

    with plugin_errors(f"{noun} {name}"):
        yield made
