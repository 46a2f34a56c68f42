"""The sections of a scenario and their options. Bounds are in the types; units in the names."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Le, Lt
from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    StringConstraints,
    Tag,
    WithJsonSchema,
    model_validator,
)

from simfl.fleet.memory import Policy
from simfl.fleet.network.cells import CellOptions
from simfl.fleet.options import GroupOptions
from simfl.fleet.table import Table
from simfl.learn.models.base import Precision
from simfl.learn.objective.base import as_objective
from simfl.learn.optimizers import Sgd
from simfl.scenario import parts
from simfl.units import (
    Count,
    Duration,
    Every,
    Fraction,
    Index,
    NonNegative,
    Positive,
    Rate,
    Seconds,
    Share,
)

if TYPE_CHECKING:
    from simfl.learn.objective.metrics import Metric
    from simfl.learn.trainers.jobs import TrainingOptions

#: Names become folders, on every system.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_. -]*[A-Za-z0-9_-])?$")]


_CHANGES = {"type": "array", "items": {"type": "object"}}


class FleetOptions(Table):
    """[fleet]: the groups, one after another; devices are numbered in this order.

    memory: what a model does that does not fit into a device's memory: "error" stops the run before
        it begins, "exclude" leaves the device out, "ignore" trains it all the same.
    change: what would be different with a share of the devices: options of a group, with `share`
        and perhaps `of` (a group's name); see `simfl.scenario.whatif`.
    """

    memory: Policy = "error"
    group: Annotated[list[GroupOptions], Field(min_length=1)]
    change: Annotated[None, WithJsonSchema(_CHANGES)] = None  #: gone once it is read

    @property
    def devices(self) -> int:
        """How many there are altogether."""
        return sum(group.count for group in self.group)


class NetworkSection(Table):
    """[network]: what devices share on their way to the server; see `cell` of a group."""

    cell: list[CellOptions] = Field(default_factory=list)


class ServerOptions(Table):
    """[server]: caps on the sums of all downloads and of all uploads, none by default.

    sharing: "max-min" divides a cap among the transfers of the moment, "none" leaves every transfer
        its device's own rate.
    gflops: speed of what a strategy computes on the server.
    processors: take updates in and make versions, one each at a time, in order of arrival; by
        default one.
    ingest_s: of a processor, for each update.
    ingest_s_per_mb: beside that, for each megabyte of it.
    aggregate_s: of a processor, for each version, beside what the strategy charges.
    """

    down_mbps: Rate | None = None
    up_mbps: Rate | None = None
    sharing: Literal["none", "max-min"] = "none"
    gflops: Rate = 100.0
    processors: Annotated[int, Ge(1), Le(100_000)] | None = None
    ingest_s: Seconds | None = None
    ingest_s_per_mb: Seconds | None = None
    aggregate_s: Seconds | None = None


class IntertwinedOptions(Table):
    """[learning.intertwined]: the devices that hold most of a class are the slow ones.

    label: the class. They are the devices of a `group`, by its name, or so many `devices`, the
    slowest of the fleet. The partition stays what it is; its shares change owners.
    """

    label: Index
    group: Name | None = None
    devices: Count | None = None

    @model_validator(mode="after")
    def _one_of_them(self) -> IntertwinedOptions:
        if (self.group is None) == (self.devices is None):
            raise ValueError("give one of `group` and `devices`")
        return self


class ShiftOptions(Table):
    """[learning.shift]: examples give way to others of their class as versions pass.

    dataset: where these come from; by default they are negatives of the data's own. Half-way
    between the versions `first` and `last` half of each device's examples have been replaced. A
    task learns from what is there at its version.
    """

    dataset: Annotated[Any, parts.DATASET] = None
    first: Index = 0
    last: Count


Transforms = Annotated[tuple[Annotated[Any, parts.TRANSFORM], ...], Strict(False)]


def _listed(given: Any) -> Any:
    """One schedule is a list of one."""
    return given if isinstance(given, list | tuple) else (given,)


class LearningOptions(Table):
    """[learning]: what is learnt, who holds which examples, and local SGD.

    data_dir: folder of data sets; a relative one starts at the scenario's own folder.
    transforms: what inputs go through; see `simfl.learn.datasets.transforms`.
    hold_back: share of its examples that a device does not train on, for local rules that try
        models.
    train: a function that makes the steps of a task in the place of simfl's own loop, and evaluate:
        one that gives all values of an evaluation; see `simfl.learn.loops.base`.
    optimizer: makes the steps, at rates that `schedule` multiplies; see `simfl.learn.optimizers`
        and `simfl.learn.schedules`.
    objective: what is minimised.
    metrics: what evaluations have beside the objective's own.
    drop_last: leave out an epoch's last batch where it is smaller than `batch_size` and not the
        only one.
    trainer: how this machine computes; nothing on the virtual clock depends on it.
    device: on which processor; "cuda" gives each worker one of the GPUs that are visible.
    precision: what models compute in, by autocast; what is trained and sent stays float32.
    """

    dataset: Annotated[Any, parts.DATASET]
    data_dir: str | None = None
    transforms: Transforms | None = None
    partition: Annotated[Any, parts.PARTITION] = Field(default="iid", validate_default=True)
    intertwined: IntertwinedOptions | None = None
    shift: ShiftOptions | None = None
    hold_back: Annotated[float, Ge(0.0), Lt(1.0)] = 0.0
    model: Annotated[Any, parts.MODEL]
    objective: Annotated[Any, parts.OBJECTIVE] = Field(
        default="cross-entropy", validate_default=True
    )
    metrics: Annotated[tuple[Annotated[Any, parts.METRIC], ...], Strict(False)] = ()
    train: Annotated[Any, parts.TRAINING] = None
    evaluate: Annotated[Any, parts.EVALUATION] = None
    batch_size: Count = 10
    lr: Positive = 0.05
    optimizer: Annotated[Any, parts.OPTIMIZER] = Field(default="sgd", validate_default=True)
    schedule: Annotated[
        tuple[Annotated[Any, parts.SCHEDULE], ...], Strict(False), BeforeValidator(_listed)
    ] = ()
    momentum: Fraction = 0.0
    weight_decay: NonNegative = 0.0
    clip_norm: Positive | None = None
    lr_decay: Share = 1.0
    drop_last: bool = False
    trainer: Literal["auto", "one-by-one", "channels-last", "batched", "compiled"] = "auto"
    device: Literal["cpu", "cuda", "mps", "auto"] = "cpu"
    precision: Precision | None = None

    @property
    def training(self) -> TrainingOptions:
        """The options of local SGD, as trainers take them."""
        from simfl.learn.trainers.jobs import TrainingOptions

        names = [option.name for option in parts.option_fields(TrainingOptions)]
        given = {name: getattr(self, name) for name in names}
        given["objective"] = as_objective(self.objective)
        if isinstance(self.optimizer, Sgd):
            given["momentum"] = self.momentum or self.optimizer.momentum
            given["weight_decay"] = self.weight_decay or self.optimizer.weight_decay
            given["optimizer"] = replace(self.optimizer, momentum=given["momentum"])
        return TrainingOptions(**given)

    @property
    def measured(self) -> tuple[Metric, ...]:
        """The metrics of its evaluations beside loss and accuracy. Raises ScenarioError."""
        from simfl.learn.objective.metrics import metrics_of

        return metrics_of(as_objective(self.objective), self.metrics)


class TimingOptions(Table):
    """[learning] with dataset = "none": the same clock and bytes, and nothing is learnt.

    parameters: of the model that is sent.
    up_parameters: of what comes back, where that is longer or shorter than the model.
    examples: on each device, one number or one for each.
    flops_per_example: of training on one example (forward and backward).
    """

    dataset: Literal["none"]
    parameters: Annotated[Count, Le(2**40)]  #: four terabytes
    up_parameters: Annotated[Count, Le(2**40)] | None = None
    examples: Count | Annotated[tuple[Count, ...], Strict(False)]
    flops_per_example: NonNegative
    batch_size: Count = 10


class WireOptions(Table):
    """[wire]: the codecs of either direction, applied in this order; dense float32 by default."""

    down: Annotated[tuple[Annotated[Any, parts.CODEC], ...], Strict(False)] = ()
    up: Annotated[tuple[Annotated[Any, parts.CODEC], ...], Strict(False)] = ()


class EvaluateOptions(Table):
    """[evaluate]: every so many virtual seconds, every so many versions, or both.

    personal: adds accuracies as the devices meet them, and the table `personal` with those of each
        device; see `simfl.learn.personalised`.
    by_class: adds the accuracy on each class, `accuracy_class_0` and so on. The two go together.
    """

    every_s: Every | None = None
    every_versions: Count | None = None
    at_start: bool = True
    personal: bool = False
    by_class: bool = False


class CheckpointOptions(Table):
    """[checkpoint]: every so many virtual seconds, and every so many of the simulating machine."""

    every_s: Every | None = None
    wall_s: Duration = 600.0


class TargetOptions(Table):
    """[stop] target: an accuracy to reach, a loss to fall to, or the value of any other metric."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, float]

    accuracy: Fraction | None = None
    loss: float | None = None

    @property
    def wanted(self) -> dict[str, float]:
        """The metric and its value."""
        found: dict[str, float] = self.model_dump(exclude_none=True)
        return found


class StopOptions(Table):
    """[stop]: the run ends at the first that is met.

    wall_s: seconds of the simulating machine.
    on_divergence: what happens when the model, a training loss or an evaluation is not finite any
        more: "stop" ends the run, which then has no result; "warn" says so once and goes on.
    """

    after_s: Duration | None = None
    versions: Count | None = None
    updates: Count | None = None
    target: TargetOptions | None = None
    wall_s: Duration | None = None
    on_divergence: Literal["stop", "warn"] = "stop"


def _what_is_learnt(learning: Any) -> str:
    dataset = learning.get("dataset") if isinstance(learning, dict) else None
    timing = (isinstance(dataset, str) and dataset == "none") or isinstance(learning, TimingOptions)
    return (TimingOptions if timing else LearningOptions).__name__


#: What `learning` may be.
Learning = Annotated[
    Annotated[LearningOptions, Tag("LearningOptions")]
    | Annotated[TimingOptions, Tag("TimingOptions")],
    Discriminator(_what_is_learnt),
]
