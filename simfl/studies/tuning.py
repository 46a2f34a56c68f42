"""Tunes every variant of a study alike: so many trials each, on seeds that the study does not use.

A trial is a point of a variant's space, played under every tuning seed: ordinary runs in the
study's own folder. Optuna proposes the points, from a fixed start and from nothing but the costs
of the trials before, so that a study that was interrupted asks again, finds its runs, and comes to
the same options. The first trial of a variant is the variant as it was written.

Trials of all variants go in step: their first points, their second points, and so on, a seed at a
time. A trial that aims at less virtual time is stopped when it has cost as much as the best one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from simfl.engine.session import in_turn
from simfl.errors import InputError
from simfl.results import stats
from simfl.results.metrics import lower_is_better
from simfl.results.result import Result
from simfl.results.study import RUNS
from simfl.results.summary import is_result, summary_of
from simfl.results.tuning import Best, write_tuning
from simfl.scenario import Scenario, parse
from simfl.scenario.parts import plain
from simfl.scenario.variation import TuneOptions
from simfl.studies.backends import Player
from simfl.studies.combinations import PlannedRun
from simfl.studies.spaces import Search, edge, value_at

#: What a trial costs that failed: more than anything else.
FAILED = 1e12


@dataclass
class Trial:
    """A point and what it has cost so far.

    value: what should be small.
    met: the target, if any.
    """

    options: dict[str, Any]
    value: float = 0.0
    spent_s: float = 0.0
    met: bool = True
    failure: str = ""
    shortfall: float = 0.0
    seeds: list[int] = field(default_factory=list)

    @property
    def rank(self) -> tuple[bool, float]:
        """Trials in order: those that met the target first, then by cost."""
        return not self.met, self.cost

    @property
    def cost(self) -> float:
        """One number to make small. A target that was missed costs more the further it was."""
        return FAILED if self.failure else self.value * (1.0 + self.shortfall)


@dataclass
class Contender:
    """A variant that is tuned."""

    label: str
    keys: dict[str, Any]
    scenario: Scenario
    search: Search
    trials: list[Trial] = field(default_factory=list)

    @property
    def best(self) -> Trial:
        """The trial of the lowest rank."""
        return min(self.trials, key=lambda trial: trial.rank)

    def run(self, trial: Trial, seed: int, tune: TuneOptions) -> PlannedRun:
        """The run of a trial under this seed."""
        overrides = {**trial.options, **self._limits(trial, tune)}
        keys = {**self.keys, "trial": len(self.trials), "seed": seed}
        return PlannedRun(keys, parse(self.table, overrides, seed, path=self.scenario.path))

    @property
    def table(self) -> dict[str, Any]:
        """The variant's scenario, without what makes a study of it."""
        table = self.scenario.table()
        return {key: value for key, value in table.items() if key != "tune"}

    def _limits(self, trial: Trial, tune: TuneOptions) -> dict[str, Any]:
        """What ends the runs of a trial sooner or later than those of the study."""
        if not is_cost(tune.objective):
            return {"stop.target": None}  # a metric is looked for at its best, not at a target
        met = [other.spent_s for other in self.trials if other.met and not other.failure]
        if tune.objective != "seconds" or not met:
            return {}
        left_s = min(met) - trial.spent_s
        after_s = self.scenario.stop.after_s
        return {"stop.after_s": left_s if after_s is None else min(left_s, after_s)}


def tuned(
    runs: Sequence[PlannedRun],
    contenders: Sequence[Contender],
    options: TuneOptions,
    player: Player,
    tell: Callable[[Sequence[str]], None],
) -> list[PlannedRun]:
    """The runs with each variant's best options; what was tried is in files of the folder.

    runs: of the study, with their [tune].
    contenders: what `contenders_of` made of them.
    tell: is given the lines of all trials that ended together.
    """
    for number in range(options.trials):
        _generation(contenders, options, player, tell)
        if options.extend and _grows_after(number, options.trials):
            for one in contenders:
                one.search.extend(one.best.options, one.table, one.scenario.path)
    best = {one.label: _best(one) for one in contenders}
    with in_turn(player.folder):
        write_tuning(player.folder, plain(options), best, _trials(contenders, options))
    return [_reported(run, best[label].options if (label := run.variant) in best else {})
            for run in runs]  # fmt: skip


def contenders_of(runs: Sequence[PlannedRun], options: TuneOptions) -> list[Contender]:
    """One for each variant that has a space. Raises InputError."""
    both = sorted({int(run.keys["seed"]) for run in runs} & set(options.seeds))
    if both:
        raise InputError(
            f"tune.seeds: {', '.join(map(str, both))} are seeds of the study too; options that "
            "were chosen on a seed look better there than they are"
        )
    first = {run.variant: run for run in reversed(runs)}
    found = []
    for label, run in reversed(first.items()):
        if is_cost(options.objective) and not _target(run.scenario):
            raise InputError(
                f"tune.objective = {options.objective!r} is what it costs to meet a target: give "
                "stop.target, or a metric as the objective"
            )
        spaces = run.scenario.tune.space if run.scenario.tune else {}
        keys = {key: value for key, value in run.keys.items() if key != "seed"}
        if spaces:
            own = {path: value_at(run.scenario.resolved(), path) for path in spaces}
            search = Search(spaces, own, options.sampler, options.trials)
            found.append(Contender(label, keys, run.scenario, search))
    if not found:
        raise InputError("tune.space: no variant has an option to tune")
    return found


def _generation(
    contenders: Sequence[Contender],
    options: TuneOptions,
    player: Player,
    tell: Callable[[Sequence[str]], None],
) -> None:
    """One more trial of every variant."""
    under_way = [(one, Trial(one.search.ask())) for one in contenders]
    for seed in options.seeds:
        alive = [(one, trial) for one, trial in under_way if _worth_playing(one, trial, options)]
        runs = [one.run(trial, seed, options) for one, trial in alive]
        failures: dict[str, str] = {}
        player.play(player.unfinished(runs), failures)
        for (one, trial), run in zip(alive, runs, strict=True):
            trial.seeds.append(seed)
            ended = summary_of(player.folder / RUNS / run.hash).get("ended")
            trial.failure = failures.get(run.hash) or ("" if is_result(ended) else f"{ended}")
            if not trial.failure:
                _add(trial, Result(player.folder / RUNS / run.hash), options, _target(one.scenario))
    for one, trial in under_way:
        trial.met = trial.met and len(trial.seeds) == len(options.seeds)
        one.search.tell(trial.cost)
        one.trials.append(trial)
    tell([
        f"tuning {one.label}, {_words(trial.options)}: {_outcome(trial, options)}"
        for one, trial in under_way
    ])  # fmt: skip


def _worth_playing(one: Contender, trial: Trial, options: TuneOptions) -> bool:
    """False once a trial cannot be the best any more."""
    if trial.failure or not trial.met:
        return False
    left_s = one._limits(trial, options).get("stop.after_s")
    return left_s is None or left_s > 0.0


def _add(trial: Trial, result: Result, options: TuneOptions, target: Mapping[str, float]) -> None:
    """Adds what a run has cost to its trial."""
    if is_cost(options.objective):
        spent = stats.to_target(result, target)
        trial.value += stats.cost_of(spent, options.objective)
        trial.spent_s += spent["seconds"]
        trial.met = trial.met and bool(spent["met"])
        trial.shortfall = max(trial.shortfall, stats.shortfall(result.evaluations, target))
        return
    found = stats.best_of(result.evaluations, options.objective)
    trial.value += found if lower_is_better(result.evaluations, options.objective) else -found
    trial.spent_s += float(result.summary["virtual_s"])


def is_cost(objective: str) -> bool:
    """True for what it takes to meet a target; everything else is a metric."""
    return objective == "bytes" or objective in stats.COSTS[1:]


def _grows_after(number: int, trials: int) -> bool:
    """Spaces may grow after each quarter of the trials but the last."""
    quarter = max(trials // 4, 2)
    return (number + 1) % quarter == 0 and number + 1 < trials


def _best(one: Contender) -> Best:
    trial, spaces = one.best, one.search.spaces
    return Best(
        options=trial.options,
        edges={path: edge(spaces[path], value) for path, value in trial.options.items()},
        importance=one.search.importance([trial.rank for trial in one.trials]),
        value=trial.value / max(len(trial.seeds), 1),
        met=trial.met and not trial.failure,
        trials=len(one.trials),
    )


def _trials(contenders: Sequence[Contender], options: TuneOptions) -> pd.DataFrame:
    """One row per trial; the columns after `ended` are options by key path."""
    rows = [
        {
            "variant": one.label,
            "trial": number,
            "value": trial.value / max(len(trial.seeds), 1),
            "met": trial.met and not trial.failure,
            "seeds": len(trial.seeds),
            "spent_s": trial.spent_s,
            "ended": _ending(trial, options),
            **trial.options,
        }
        for one in contenders
        for number, trial in enumerate(one.trials)
    ]
    return pd.DataFrame(rows)


def _ending(trial: Trial, options: TuneOptions) -> str:
    if trial.failure:
        return f"failed: {trial.failure}"
    if not is_cost(options.objective):
        return "played"
    return "met" if trial.met else "missed"


def _reported(run: PlannedRun, options: Mapping[str, Any]) -> PlannedRun:
    """The run with these options."""
    scenario = run.scenario
    table = {key: value for key, value in scenario.table().items() if key != "tune"}
    return PlannedRun(run.keys, parse(table, options, path=scenario.path))


def _target(scenario: Scenario) -> dict[str, float]:
    found: dict[str, float] = scenario.resolved().get("stop", {}).get("target", {})
    return found


def _words(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{path.rpartition('.')[2]} = {value}" for path, value in options.items())


def _outcome(trial: Trial, options: TuneOptions) -> str:
    value = abs(trial.value) / max(len(trial.seeds), 1)
    return f"{_ending(trial, options)}, {options.objective} {value:.4g}"
