"""What tasks compute when they learn: joins trainers and the exchange for the clock.

A task's base, data, memory and mini-batches are fixed when it is dispatched, so its training may
be done at any moment until its result is needed. Results are computed when the first of them is:
then everything in flight that is bound to arrive is handed to the trainer together, up to
`trainer.width` tasks, those first that are due first. `simfl.engine.exchange` says how models
travel and what is remembered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import chain, islice
from math import ceil, inf, isfinite, isinf
from types import MappingProxyType
from typing import Any

import numpy as np

from simfl.clock.workload import due_s, size_up
from simfl.engine.exchange import Exchange, Memory, upload_nbytes
from simfl.engine.overflow import LEAST_BYTES, Overflow
from simfl.errors import PluginError, plugin_errors
from simfl.learn.evaluator import Evaluator
from simfl.learn.loops.base import called
from simfl.learn.problem import Problem
from simfl.learn.trainers.jobs import Job, JobResult, Result, Trainer
from simfl.learn.trainers.local_training import Local
from simfl.messages import PHASES, Counter, Task, Update
from simfl.params import Params, Part
from simfl.strategy.aggregation import applied
from simfl.strategy.base import Change, LearningInfo
from simfl.strategy.special_rules import PersonalRule, step_flops

EMPTY: Mapping[str, str] = MappingProxyType({})


class Learning:
    """The workload of a run that learns.

    problem: what is learnt, and from what.
    trainer: does the local work.
    exchange: encodes and decodes messages, and keeps the memories of both ends.
    local: opens and closes the work of all devices under the strategy's local rule.
    notes: how it is computed, in words.
    choices: trainer and device, where "auto" left them open.
    """

    __snapshot__ = ("_untrained", "_trained")  #: kept by checkpoints

    def __init__(
        self,
        problem: Problem,
        trainer: Trainer,
        exchange: Exchange,
        local: Local,
        *,
        notes: Mapping[str, str] = EMPTY,
        choices: Mapping[str, str] = EMPTY,
    ) -> None:
        sizes = problem.sizes()
        self.initial = problem.initial
        self.learning: LearningInfo | None = problem.info()
        self.memory_bytes = sizes.memory_bytes
        self.examples = sizes.examples
        self.notes = notes
        self.choices = choices
        self.exchange = exchange
        self.trainer = trainer
        self.overflow = Overflow()  #: where versions and updates wait
        self._sizes = sizes
        self._large = problem.initial.nbytes >= LEAST_BYTES
        self._evaluator = Evaluator(problem, local)
        self._rule = local.rule
        self._rate = problem.training.rate
        train = problem.training.train
        self._own = None if train is None else called(train)  # the function that says what it took
        self._tried_flops = problem.tried_flops()
        self._up_bytes = upload_nbytes(exchange.up, local.rule, problem.initial)
        self._untrained: dict[int, Task] = {}
        self._trained: dict[int, JobResult] = {}
        self._begun: dict[int, Result] = {}  # of those untrained tasks that the trainer has

    @property
    def totals(self) -> Mapping[str, float]:
        """The exchange's; every evaluation has them, too."""
        return self.exchange.totals

    @property
    def memories(self) -> Mapping[int, Memory]:
        """The exchange's, by device."""
        return self.exchange.memories

    def evaluate(self, params: Params) -> dict[str, Any]:
        """The model's metrics, those of the devices' own models if any, and the totals so far."""
        return self._evaluator(params, self.kept) | self.exchange.totals

    def join(self, devices: int, first: int) -> None:
        """There are so many devices now; from `first` on they have device i mod first's data."""
        self.examples = np.resize(self.examples[:first], devices)
        self._tried_flops = np.resize(self._tried_flops[:first], devices)

    def forget(self, device: int) -> None:
        """The device is gone for good, and what both ends remembered of it."""
        self.exchange.memories.pop(device, None)

    def close(self) -> None:
        """Ends the processes that train, if there are any."""
        self.trainer.close()

    def kept(self, device: int) -> Mapping[str, Any]:
        """What the local rule keeps on a device."""
        memory = self.exchange.memories.get(device)
        return {} if memory is None else memory.rule

    def announce(self, tasks: Sequence[Task]) -> None:
        """Trains tasks together whose cost is known by training alone."""
        if self._own is None:
            return
        for task in tasks:
            self._begin(task)
        for task in tasks:
            if task.serial in self._untrained and self.exchange.decode_download(task):
                self._train(task)

    def start(self, task: Task) -> None:
        """Encodes the download, whose bytes are charged, and fills in sizes and work."""
        if task.message is None:
            self._begin(task)
        if self._own is not None and self.exchange.decode_download(task) is not None:
            self._adopt(task, self._trained.get(task.serial) or self._train(task))

    def _begin(self, task: Task) -> None:
        self._size(task, int(self.examples[task.device]))
        task.down_bytes = self.exchange.encode_download(task)
        if self._large:
            self.overflow.wait("versions", [task.base.flat, *self.exchange.started(task)])
        self._untrained[task.serial] = task
        task.up_bytes = self._up_bytes

    def _adopt(self, task: Task, trained: JobResult) -> None:
        """The clock goes by what the training function reports."""
        n, flops = task.examples, step_flops(self._rule, self._sizes.flops)
        beside = task.flops - flops * (task.epochs or 0.0) * n
        task.local_steps, task.epochs = trained.steps, trained.epochs
        own = flops * trained.epochs * n if trained.flops is None else trained.flops
        task.flops, task.stated_s = beside + own, trained.seconds
        if not flops and trained.flops is None and trained.seconds is None:
            raise PluginError(
                f"training function {self._own}: the FLOPs of this model cannot be counted on one "
                "example; return simfl.Trained(flops=...) or Trained(seconds=...)"
            )

    def shorten(self, task: Task, steps: int) -> None:
        """Training goes on for so many steps only; a result of more is thrown away."""
        if self._own is not None:  # which has its own count of steps
            steps = max(1, ceil(task.asked_steps * steps / task.local_steps - 1e-9))
        task.steps = steps
        self._size(task, task.examples)
        self._trained.pop(task.serial, None)
        self._begun.pop(task.serial, None)
        self._untrained[task.serial] = task

    def ready(self, task: Task) -> None:
        """Trains and encodes the upload now, since its size depends on what was learnt.

        A device that could not decode the download says so in an empty message.
        """
        trained = self._encode(task)
        if trained is None:
            task.up_bytes = 0
        else:  # what was learnt waits once, in the message
            report = replace(trained.report, delta=None)
            self._trained[task.serial] = replace(trained, report=report)

    def deliver(self, task: Task, server: Counter) -> Update | None:
        """The update as the server decodes it; both ends remember what was delivered.

        None if one end was out of step with the other, whose next message starts afresh.
        """
        trained = self._encode(task)
        if trained is None:
            self.exchange.restart_download(task.device)
            self._forget(task)
            return None
        received = self.exchange.decode_upload(task, trained.report)
        self._forget(task)
        if received is None:
            return None
        self.exchange.memory_of(task.device).optimizer = trained.kept
        delta, extras = received
        if self._large:
            self.overflow.wait("updates", [delta.flat])
        return Update(
            task=task.serial,
            device=task.device,
            version=task.version,
            base=task.base,
            delta=delta,
            extras=extras,
            examples=trained.examples,
            steps=trained.steps,
            epochs=trained.epochs,
            loss=trained.loss,
            loss_rms=trained.loss_rms,
            dispatched_s=task.dispatched_s,
            arrived_s=task.ended_s,
            server=server,
            lr=self._rate(task.version, task.dispatched_s),
        )

    def lose(self, task: Task) -> None:
        """A download that got through is remembered; so is a lost upload, by codecs that care."""
        if task.message is None:
            return  # it never left the server
        phase = PHASES[min(task.phase, 2)]
        if phase != "download":
            self.exchange.confirm_download(task)
            if phase == "upload" and self.exchange.up.remembers_lost and self._encode(task):
                self.exchange.lose_upload(task)
        self._forget(task)

    def measure(self, update: Update, params: Params) -> tuple[float, float]:
        """(drift, cosine) over what the device sent; (0, 1) if the model has not moved."""
        if not update.staleness:
            return 0.0, 1.0
        moved = params - update.base
        if update.delta.layout != self.initial.layout:
            held = isinstance(update.delta, Part)
            names = update.delta.layout.names
            moved = update.delta.of_same(moved) if held else moved.select(names)
        far, length = moved.norm(), update.delta.norm()
        if not far:
            return 0.0, 1.0
        if not length:
            return inf, 0.0
        return far / length, moved.dot(update.delta) / (far * length)

    def applied(self, params: Params, change: Change, updates: Sequence[Update]) -> Params:
        """The model after a change; running statistics are folded as values."""
        after: Params = applied(params, change, updates)
        return after

    def finite(self, params: Params) -> bool:
        """False if any element is NaN or infinite."""
        return bool(params.flat.sum().isfinite()) or bool(params.flat.isfinite().all())

    def trouble(self, params: Params, updates: Sequence[Update]) -> str:
        """What is not finite of a model or of the updates that made it; empty if all is well."""
        if not self.finite(params):
            bad = int((~params.flat.isfinite()).sum())
            return f"{bad} of the model's {len(params)} values are not finite"
        unsure = self._own is not None  # of which nan says that no loss is known
        sound = (lambda loss: not isinf(loss)) if unsure else isfinite
        lost = next((update for update in updates if not sound(update.loss)), None)
        return "" if lost is None else f"the training loss of device {lost.device} is {lost.loss}"

    def _size(self, task: Task, n: int) -> None:
        sizes, (passes, each) = self._sizes, self._cost
        size_up(task, n, sizes.batch_size, each, passes, sizes.drop_last)
        if isinstance(self._rule, PersonalRule):
            with self._asking():
                trials = self._rule.trials(self.kept(task.device))
            task.flops += trials * float(self._tried_flops[task.device])

    @cached_property
    def _cost(self) -> tuple[float, float]:
        """Passes that the local rule makes beside the steps, and FLOP of a step's example."""
        with self._asking():
            return self._rule.passes(), step_flops(self._rule, self._sizes.flops)

    def _asking(self) -> plugin_errors:
        return plugin_errors(f"local rule {type(self._rule).__name__}")

    # Training.

    def _encode(self, task: Task) -> JobResult | None:
        """Trains if need be, and encodes the upload; None without a model to start from."""
        if not self.exchange.confirm_download(task):
            return None
        trained = self._trained.get(task.serial) or self._train(task)
        self.exchange.encode_upload(task, trained.report)
        return trained

    def _train(self, task: Task) -> JobResult:
        """The task's result, which is waited for where it is not there yet."""
        serial = task.serial
        if serial not in self._begun:
            self._begin_training(task)
        trained = self._trained[serial] = self._begun.pop(serial)()
        del self._untrained[serial]
        return trained

    def _begin_training(self, task: Task) -> None:
        """Hands the task to the trainer, together with those that will be needed next.

        Of results that wait to be used there are at most `trainer.width`, this one aside.
        """
        room = max(1, self.trainer.width - len(self._trained) - len(self._begun))
        others = self._others(task) if room > 1 else ()
        batch = list(islice(self._jobs(chain([task], others)), room))
        results = self.trainer.begin([job for _, job in batch])
        self._begun.update((serial, one) for (serial, _), one in zip(batch, results, strict=True))

    def _others(self, task: Task) -> list[Task]:
        """Tasks in flight whose training has not begun, in the order in which they are due."""
        begun, all_ = self._begun, self._untrained.values()
        others = [t for t in all_ if t is not task and not t.doomed and t.serial not in begun]
        return sorted(others, key=due_s)

    def _jobs(self, tasks: Iterable[Task]) -> Iterator[tuple[int, Job]]:
        """By serial, the work of those tasks whose device can read what it was sent."""
        for task in tasks:
            start = self.exchange.decode_download(task)
            if start is not None:
                yield task.serial, self._job(task, start)

    def _job(self, task: Task, start: Params) -> Job:
        return Job(
            base=start,
            device=task.device,
            index=task.index,
            version=task.version,
            steps=task.asked_steps,
            extras=self.exchange.extras_of(task),
            memory=self.exchange.memory_of(task.device).rule,
            now_s=task.dispatched_s,
            kept=self.exchange.memory_of(task.device).optimizer,
        )

    def _forget(self, task: Task) -> None:
        task.message = None
        self._untrained.pop(task.serial, None)
        self._trained.pop(task.serial, None)
        self._begun.pop(task.serial, None)
