"""Where a variant's options are looked for: spaces as Optuna knows them, and their edges."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from simfl.errors import InputError
from simfl.scenario import parse
from simfl.scenario.variation import Space

#: The outer part of a space, of its width, that counts as its edge.
EDGE = 0.1

#: Significant digits of a number that is tried.
DIGITS = 3


class Search:
    """Proposes points of some spaces.

    own: the options as they were written, tried first.
    """

    def __init__(
        self, spaces: Mapping[str, Space], own: Mapping[str, Any], sampler: str, trials: int
    ) -> None:
        self.spaces = dict(spaces)
        self._optuna = _optuna()
        samplers = self._optuna.samplers
        made = (
            samplers.TPESampler(seed=0, n_startup_trials=max(trials // 3, 3))
            if sampler == "tpe"
            else samplers.RandomSampler(seed=0)
        )
        self._study = self._optuna.create_study(sampler=made)
        inside = {path: own[path] for path in spaces if _holds(spaces[path], own[path])}
        if inside:
            self._study.enqueue_trial(inside)
        self._asked: Any = None

    def ask(self) -> dict[str, Any]:
        """The next point: values by key path."""
        plans = {path: self._plan(space) for path, space in self.spaces.items()}
        self._asked = self._study.ask(plans)
        return {path: _rounded(value) for path, value in self._asked.params.items()}

    def tell(self, cost: float) -> None:
        """Says what the point that was asked for last has cost."""
        self._study.tell(self._asked, cost)

    def extend(self, best: Mapping[str, Any], table: Mapping[str, Any], path: Path | None) -> None:
        """Spaces on whose edge the best point lies grow there, where the scenario allows it."""
        for key, value in best.items():
            grown = stretched(self.spaces[key], edge(self.spaces[key], value))
            if grown != self.spaces[key] and _possible(grown, key, table, path):
                self.spaces[key] = grown

    def importance(self, ranks: Sequence[Any]) -> dict[str, float]:
        """Share of the differences between trials that each option explains; {} if unknown.

        By functional ANOVA (Hutter et al., 2014) of the trials' places in their order, so that a
        trial that failed outright counts no more than one that was last.
        """
        order = {rank: place for place, rank in enumerate(sorted(set(ranks)))}
        places = {number: order[rank] for number, rank in enumerate(ranks)}
        evaluator = self._optuna.importance.FanovaImportanceEvaluator(seed=0)
        if len(ranks) < 4 or len(order) < 2:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                found = self._optuna.importance.get_param_importances(
                    self._study, evaluator=evaluator, target=lambda trial: places[trial.number]
                )
            except (ValueError, RuntimeError):  # too few trials share a space
                return {}
        if set(found) != set(self.spaces):  # Optuna leaves out options whose space has grown
            return {}
        return {path: float(share) for path, share in found.items()}

    def _plan(self, space: Space) -> Any:
        """The space as a distribution of Optuna."""
        plans = self._optuna.distributions
        if space.choice is not None:
            return plans.CategoricalDistribution(space.choice)
        if space.whole is not None:
            return plans.IntDistribution(*space.whole)
        return plans.FloatDistribution(*space.ends, log=space.log is not None)


def edge(space: Space, value: Any) -> str:
    """ "low" or "high" where the value lies on the edge of its space, else ""."""
    if space.choice is not None:
        return ""
    low, high = space.ends
    if space.whole is not None:
        return "low" if value <= low else "high" if value >= high else ""
    if space.log is not None:
        low, high, value = math.log(low), math.log(high), math.log(value)
    place = (value - low) / (high - low)
    return "low" if place <= EDGE else "high" if place >= 1.0 - EDGE else ""


def stretched(space: Space, side: str) -> Space:
    """The space with half of its width more on this side; "" leaves it as it is."""
    low, high = space.ends
    if not side or space.choice is not None:
        return space
    if space.log is not None:
        factor = math.sqrt(high / low)
        ends = (low / factor, high) if side == "low" else (low, high * factor)
        return Space(log=(_rounded(ends[0]), _rounded(ends[1])))
    if space.whole is not None:
        more = max((high - low + 1) // 2, 1)
        return Space(whole=(low - more, high) if side == "low" else (low, high + more))
    more = 0.5 * (high - low)
    return Space(linear=(low - more, high) if side == "low" else (low, high + more))


def value_at(table: Mapping[str, Any], path: str) -> Any:
    """What stands at a key path of a resolved scenario; None if nothing does."""
    here: Any = table
    for key in path.split("."):
        if isinstance(here, list) and key.isdecimal() and int(key) < len(here):
            here = here[int(key)]
        elif isinstance(here, Mapping):
            here = here.get(key)
        else:
            return None
    return here


def _holds(space: Space, value: Any) -> bool:
    if space.choice is not None:
        return value in space.choice
    low, high = space.ends
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and low <= value <= high


def _possible(space: Space, key: str, table: Mapping[str, Any], path: Path | None) -> bool:
    """True if a scenario may have both ends of the space."""
    try:
        for end in space.ends:
            parse(table, {key: end}, path=path)
    except InputError:
        return False
    return True


def _rounded(value: Any) -> Any:
    """A number as one would write it down, so that results can be quoted in full."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise InputError("[tune]: Optuna is not installed; install simfl[tune]") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna
