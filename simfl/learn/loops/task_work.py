"""What a training function knows of its task, and what it takes over from simfl's own loop.

    def train(model, data, work):
        optimizer = work.optimizer()
        for x, y in data.batches():
            optimizer.zero_grad()
            work.loss(model(x), y).mean().backward()
            work.step(optimizer)

That is simfl's own loop, bit for bit. Each line may be another: any optimizer, any loss, any order
of the examples, several networks inside `model`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from simfl.errors import PluginError
from simfl.learn.models.flat import FlatModule
from simfl.learn.trainers.features import penalty_of
from simfl.learn.trainers.local_training import Local, Opened, moments
from simfl.learn.trainers.one_by_one import Optimised, add_penalty, corrected, correction_of

_NUMBERS = (bool, int, float, str, type(None))


class TaskWork:
    """One task: how much is asked for, with what, and what the device remembers.

    epochs: passes over the local data that are asked for, and steps: the same in mini-batches of
    batch_size; lr: learning rate at the task's version and time; device: its number; index: tasks
    that it was given before; version, now_s: server version and virtual time of the dispatch.
    extras: what the strategy sent beside the model.
    memory: a dictionary that the device keeps until its next task, once this one is delivered:
        numbers, text, tensors, and lists and dictionaries of these.
    """

    def __init__(
        self, model: FlatModule, local: Local, opened: Opened, memory: Mapping[str, Any]
    ) -> None:
        job, work = opened.job, opened.work
        self.epochs, self.steps = work.epochs, work.steps
        self.batch_size, self.lr = work.batch_size, work.lr
        self.device, self.index, self.version, self.now_s = (
            job.device,
            job.index,
            job.version,
            job.now_s,
        )
        self.extras: Mapping[str, Any] = job.extras
        self.memory: dict[str, Any] = copy.deepcopy(dict(memory))
        self._model, self._local, self._opened = model, local, opened
        self._losses: list[Tensor] = []
        self._inputs: list[Tensor] = []
        self._penalty = penalty_of(local, model)
        self._penalised = False
        if self._penalty is not None:
            model.module.register_forward_pre_hook(self._note)
        self._stepped = False
        self._made: Optimised | None = None

    @cached_property
    def generator(self) -> torch.Generator:
        """Draws of this task: as a DataLoader, `torch.randperm` and others take it.

        torch's, numpy's and Python's global generators follow from the task as well.
        """
        seed = self._local.streams.integer("training", self.device, self.index)
        return torch.Generator().manual_seed(seed)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """(n,) losses by the scenario's objective, which count for the task's training loss."""
        each = self._local.options.objective.loss(outputs, targets)
        self._losses.append(each.detach())
        return each

    def penalty(self) -> Tensor | float:
        """To be added to the mean loss of the mini-batch just computed: 0 but for few local rules.

        Only rules that look at features, as MOON's does, need it.
        """
        self._penalised = True
        if self._penalty is None:
            return 0.0
        if not self._inputs:
            raise PluginError("asks for work.penalty() before the model has computed anything")
        return self._penalty(self._inputs[-1], self._opened.context)

    def _note(self, module: torch.nn.Module, given: tuple[Tensor, ...]) -> None:
        self._inputs[:] = given[:1]

    def optimizer(self) -> torch.optim.Optimizer:
        """The scenario's optimizer over all trained parameters, with the state that it keeps."""
        self._made = Optimised(self._model, self._local.options, self._opened)
        return self._made.optimizer

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """`optimizer.step()`, with what the local rule, clip_norm and weight_decay add to it."""
        self._stepped = True
        mine = self._made if self._made and self._made.optimizer is optimizer else None
        lr = self._opened.work.lr if mine is None else mine.next_rate()
        rule = correction_of(self._local)
        if self._local.adds or rule:
            self._adjust(optimizer)
        behind = rule is not None and not _is_plain(optimizer)
        if rule and not behind:  # without momentum to stand behind
            self._set(optimizer, lambda grad, y: grad + rule(y, self._opened.context))
        optimizer.step()
        if rule and behind:
            with torch.no_grad():
                y = self._model.trained
                y.add_(rule(y, self._opened.context), alpha=-lr)

    def _adjust(self, optimizer: torch.optim.Optimizer) -> None:
        """Penalty, clipping, decay and correction, as simfl's own loop adds them."""
        model = self._model
        for value, grad in zip(model.learnt, model.grads, strict=True):
            if value.grad is None:
                grad.zero_()
            elif value.grad.data_ptr() != grad.data_ptr():
                grad.copy_(value.grad)
        add_penalty(model, self._local, self._opened.context)
        self._set(optimizer, lambda g, y: corrected(g, y, self._local, self._opened.context))

    @torch.no_grad()
    def _set(self, optimizer: torch.optim.Optimizer, change: Any) -> None:
        """The gradients of the optimizer's own parameters, changed."""
        model = self._model
        model.grad.copy_(change(model.grad, model.trained))
        mine = {id(value) for group in optimizer.param_groups for value in group["params"]}
        for value, grad in zip(model.learnt, model.grads, strict=True):
            if id(value) in mine:
                value.grad = grad

    # For the trainer.

    def check(self) -> None:
        """Raises PluginError if options of the scenario, or the local rule, had no effect."""
        options, local = self._local.options, self._local
        if not self._stepped and (local.hooked or options.clip_norm or options.weight_decay):
            what = f"the local rule {type(local.rule).__name__}" if local.hooked else "learning"
            names = [n for n in ("clip_norm", "weight_decay") if getattr(options, n)]
            what = what if local.hooked else f"learning.{' and '.join(names)}"
            raise PluginError(
                f"never calls work.step(optimizer) in the place of optimizer.step(), so {what} "
                "would have no effect"
            )
        if self._penalty is not None and not self._penalised:
            raise PluginError(
                f"never adds work.penalty() to the loss, so the local rule "
                f"{type(local.rule).__name__} would have no effect"
            )
        if self._made is None and (options.special or options.momentum):
            what = options.special or "learning.momentum is set"
            raise PluginError(
                f"makes an optimizer of its own, while {what}: use work.optimizer(), or leave "
                "that out of [learning]"
            )

    def losses(self) -> tuple[float, float]:
        """Mean and root mean square of the losses seen; NaN if `loss` was never asked."""
        return moments(self._losses)

    def keeps(self) -> Mapping[str, Any]:
        """What the device keeps of the task."""
        kept = {"memory": storable(self.memory, "work.memory")} if self.memory else {}
        state = None if self._made is None else self._made.kept()
        return {**kept, "optimizer": state} if state else kept


def _is_plain(optimizer: torch.optim.Optimizer) -> bool:
    """Whether a step is y - lr g."""
    if type(optimizer) is not torch.optim.SGD:
        return False
    return not any(group["momentum"] or group["weight_decay"] for group in optimizer.param_groups)


def storable(value: Any, where: str) -> Any:
    """A copy that a checkpoint can hold. Raises PluginError, which says what cannot be kept."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if type(value) in _NUMBERS:
        return value
    if isinstance(value, Mapping):
        return {key: storable(item, f"{where}[{key!r}]") for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(storable(item, f"{where}[{at}]") for at, item in enumerate(value))
    hint = "; keep its state_dict()" if hasattr(value, "state_dict") else ""
    raise PluginError(
        f"left a {type(value).__name__} in {where}, expected numbers, text, tensors, or lists and "
        f"dictionaries of these{hint}"
    )
