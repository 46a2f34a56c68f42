"""The trainer of a training function: what surrounds it is what surrounds simfl's own loop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from simfl.errors import PluginError, plugin_errors
from simfl.learn.datasets.rows import drawing
from simfl.learn.loops.base import Trained, called
from simfl.learn.loops.device_data import DeviceData
from simfl.learn.loops.task_work import TaskWork
from simfl.learn.models.flat import FlatModule
from simfl.learn.models.prepare import as_written
from simfl.learn.trainers.jobs import Job, JobResult, Trainer
from simfl.learn.trainers.local_training import Local, Opened


class OwnLoop(Trainer):
    """Calls `local.options.train` for one job after another, each with a fresh copy of the model.

    A function may so change its module in any way; nothing passes from task to task but what the
    device keeps.
    """

    width = 1

    def __init__(self, local: Local) -> None:
        self.local = local
        self._name = f"training function {called(local.options.train)}"

    def train(self, jobs: Sequence[Job]) -> list[JobResult]:
        """The results in the order of the jobs."""
        return [self._one(job) for job in jobs]

    def _one(self, job: Job) -> JobResult:
        opened = self.local.open(replace(job, kept=job.kept.get("optimizer", {})))
        model = FlatModule(self.local.model, self.local.torch_device)
        model.load(opened.start)
        model.forget()
        work = TaskWork(model, self.local, opened, job.kept.get("memory", {}))
        data = DeviceData(self.local, opened)
        with plugin_errors(f"{self._name} on device {job.device}"):
            seed = self.local.streams.integer("dropout", job.device, job.index)
            with drawing(seed):
                given = self.local.options.train(as_written(model.module), data, work)
            if not isinstance(given, Trained | None):
                raise PluginError(f"returned {given!r}, expected simfl.Trained(...) or None")
            work.check()
            kept, end = work.keeps(), values_of(model)
        return replace(self._result(opened, end, work, data, given or Trained()), kept=kept)

    def _result(
        self, opened: Opened, end: Tensor, work: TaskWork, data: DeviceData, given: Trained
    ) -> JobResult:
        """What is reported stands; the rest is as it was counted, or as it was asked for."""
        n, asked = self.local.options.used(opened.work.examples), opened.work
        steps, epochs = asked.steps, asked.epochs
        if data.taken:
            steps, epochs = data.taken, data.passed / n
        if given.steps is not None:
            epochs = epochs * given.steps / steps
            steps = given.steps
        done = replace(opened, work=replace(asked, steps=steps, epochs=epochs))
        loss, rms = work.losses()
        if given.loss is not None:
            loss = rms = given.loss if math.isfinite(given.loss) else math.inf
        made = self.local.close(done, end, (loss, rms))
        examples = made.examples if given.examples is None else given.examples
        return replace(made, examples=examples, flops=given.flops, seconds=given.seconds)


def values_of(model: FlatModule) -> Tensor:
    """(P,) what the module holds now, wherever its tensors lie. Raises PluginError."""
    named = {**dict(model.module.named_parameters()), **dict(model.module.named_buffers())}
    end = model.flat.clone()
    for name, shape in model.layout.shapes:
        value = named.get(name)
        if value is None or tuple(value.shape) != tuple(shape):
            found = "is gone" if value is None else f"has the shape {tuple(value.shape)}"
            raise PluginError(
                f"changed the model: {name} {found}, expected a tensor of shape {tuple(shape)}"
            )
        end[model.layout.slices[name]] = value.detach().reshape(-1)
    return end
