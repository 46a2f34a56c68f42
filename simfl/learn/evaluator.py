"""The metrics of a run's evaluations: of the shared model or of the devices' own, as one row."""

from __future__ import annotations

from typing import Any

from simfl.errors import ScenarioError
from simfl.learn.datasets.base import Dataset
from simfl.learn.evaluation import Examination, averaged, score, with_decay
from simfl.learn.loops.own_evaluation import OwnEvaluation
from simfl.learn.personalised import Kept, Personal
from simfl.learn.problem import Problem
from simfl.learn.trainers.local_training import Local
from simfl.params import Params


class Evaluator:
    """Evaluates models as the problem wants it. Raises ScenarioError where the data cannot.

    local: of the run; its rule says whether devices have models of their own.
    """

    def __init__(self, problem: Problem, local: Local) -> None:
        _check(problem, problem.data.dataset)
        self._problem = problem
        self._shared = local.structure is None
        self._examine = _examination(problem, local.torch_device)
        personal = problem.personal or not self._shared
        self._personal = Personal(local, self._examine) if personal else None

    def __call__(self, params: Params, kept: Kept) -> dict[str, Any]:
        """Values by name.

        params: the server's model.
        kept: gives what the local rule keeps on a device.
        """
        personal = self._personal
        found, classes = self._examine(params) if personal is None else personal(params, kept)
        if self._problem.by_class:
            found |= {f"accuracy_class_{label}": float(a) for label, a in enumerate(classes)}
        if not self._shared:
            return found
        if "loss" in found:
            found = with_decay(found, params, self._problem.training.weight_decay)
        return found | self._later(params)

    def _later(self, params: Params) -> dict[str, float]:
        """Values on the data set that devices shift to, if they do."""
        later = getattr(self._problem.data, "later", None)
        if later is None:
            return {}
        objective = self._problem.training.objective
        each = score(self._problem.model, params, later.x_test, later.y_test, objective=objective)
        return {f"{name}_later": value for name, value in averaged(*each).items()}


def _examination(problem: Problem, torch_device: str) -> Examination | OwnEvaluation:
    """What looks at one model: the user's own function, or the objective and the metrics."""
    model, dataset = problem.model, problem.data.dataset
    if problem.evaluate is not None:
        return OwnEvaluation(model, dataset, problem.evaluate, torch_device)
    return Examination(model, dataset, problem.training.objective, problem.metrics)


def _check(problem: Problem, dataset: Dataset) -> None:
    """Raises ScenarioError where examples have no single class and metrics by class are wanted."""
    what = "sequences, whose examples have many" if dataset.sequence else "values"
    for key in ("personal", "by_class"):
        if (dataset.sequence or dataset.classes is None) and getattr(problem, key):
            raise ScenarioError(
                f"evaluate.{key} looks at the class of each example, but {dataset.name} holds "
                f"{what}; leave evaluate.{key} out"
            )
