"""How good the models are that devices use, each with its own private part.

    pers_global   accuracy on all test examples, mean over devices
    pers_local    the same with test examples weighted so that their classes are as frequent as
                  on the device
    global        accuracy on all test examples of the one model that all share, where there is one

and the means over devices of what a local rule tells of itself (`LocalRule.metrics`).

The first asks a device for classes that it never saw; never compare one column with another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from simfl.learn.evaluation import Examination
from simfl.learn.trainers import alone
from simfl.learn.trainers.jobs import Job, LocalData, Trainer
from simfl.learn.trainers.local_training import Local, asking, checked
from simfl.params import Params
from simfl.strategy.special_rules import PersonalRule

Kept = Callable[[int], Mapping[str, Any]]
Examine = Callable[[Params], tuple[dict[str, float], np.ndarray]]


class Personal:
    """Metrics over all devices, of one shared model or of their own.

    A device that never took part fits its private part first, as the rule's `transfer` says.
    Nothing of that is charged or remembered.

    examine: what a model is asked; by default its loss and accuracy.
    """

    def __init__(self, local: Local, examine: Examine | None = None) -> None:
        self._local = local
        self._examine: Examine = examine or Examination(
            local.model, local.data.dataset, local.options.objective
        )
        self._shares = class_shares(local.data)
        self._rule = local.rule if isinstance(local.rule, PersonalRule) else None
        with asking(local.rule, "transfer"):
            plan = None if self._rule is None else self._rule.transfer()
        self._fit: Trainer | None = None
        if plan is not None:
            rule, self._epochs = plan
            fit = Local(
                local.model, local.data, local.options, rule, local.streams, local.torch_device
            )
            self._fit = alone(fit)

    def __call__(self, params: Params, kept: Kept) -> tuple[dict[str, Any], np.ndarray]:
        """Values by name, and (classes,) accuracy by class: both are means over devices.

        Beside the columns above there are loss and accuracy, and under `by_device` what of this
        is known of each device.
        """
        rule, structure = self._rule, self._local.structure
        if rule is None or structure is None:
            return self._of_one(params)
        devices = range(len(self._shares))
        with asking(rule, "metrics"):
            reported = [rule.metrics(kept(i), structure) for i in devices]
        rows = [self._examine(self._model(params, device, kept(device))) for device in devices]
        found, classes = [row[0] for row in rows], np.array([row[1] for row in rows])
        metrics = _means_of(found) | self._columns(found, classes)
        if "accuracy" in metrics:
            metrics["pers_global"] = metrics["accuracy"]
        return {**metrics, **_means_of(reported)}, classes.mean(0)

    def _of_one(self, params: Params) -> tuple[dict[str, Any], np.ndarray]:
        found, classes = self._examine(params)
        shape = self._shares.shape
        metrics = found | self._columns([found] * shape[0], np.broadcast_to(classes, shape))
        return {**metrics, "global": found["accuracy"]}, classes

    def _columns(self, found: Sequence[Mapping[str, float]], classes: np.ndarray) -> dict[str, Any]:
        """What all devices have where answers are right or wrong.

        found: values by name, of each device. classes: (devices, classes) accuracy.
        """
        if not {"loss", "accuracy"} <= found[0].keys():
            return {}
        losses, right = (np.array([one[name] for one in found]) for name in ("loss", "accuracy"))
        local = weighted(classes, self._shares)
        by_device = {"device": np.arange(len(local)), "loss": losses, "pers_global": right}
        return {
            "loss": float(losses.mean()),
            "accuracy": float(right.mean()),
            "pers_local": float(local.mean()),
            "by_device": {**by_device, "pers_local": local},
        }

    def _model(self, params: Params, device: int, memory: Mapping[str, Any]) -> Params:
        """The whole model that a device uses."""
        if not memory and self._fit is not None:
            job = Job(params, device, -1, epochs=self._epochs)
            memory = self._fit.train([job])[0].report.memory
        personal = self._local.personal(Job(params, device, 0, memory=memory))
        assert self._rule is not None
        assert personal is not None
        with asking(self._rule, "whole"):
            point = self._rule.whole(params.flat, personal)
        return self._local.initial.like(
            checked(point, self._local.initial.flat, self._rule, "whole")
        )


def _means_of(reported: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Mean of each value over the devices that report it."""
    names = dict.fromkeys(name for one in reported for name in one)
    return {name: float(np.mean([one[name] for one in reported if name in one])) for name in names}


def class_shares(data: LocalData) -> np.ndarray:
    """(devices, classes) share of each class in a device's training examples; values are one."""
    if data.dataset.classes is None:
        return np.zeros((len(data.partition), 0))
    labels, partition = data.dataset.labels, data.partition
    devices, classes = len(partition), data.dataset.outputs
    owners = np.repeat(np.arange(devices), partition.sizes)
    cells = owners * classes + labels[partition.indices]
    counts = np.bincount(cells, minlength=devices * classes).reshape(devices, classes)
    shares: np.ndarray = counts / counts.sum(1, keepdims=True)
    return shares


def weighted(by_class: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """(devices,) accuracy with classes weighted by these shares; those without a test are left out.

    by_class, shares: (devices, classes).
    """
    tested = np.isfinite(by_class)
    mass = np.where(tested, shares, 0.0)
    sums = (np.nan_to_num(by_class) * mass).sum(1)
    out: np.ndarray = np.divide(
        sums, mass.sum(1), out=np.full(len(sums), np.nan), where=mass.any(1)
    )
    return out
