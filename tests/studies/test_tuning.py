from __future__ import annotations

import json

import pandas as pd
import pytest

import simfl
from simfl.errors import InputError
from simfl.scenario import parse
from simfl.scenario.variation import Space
from simfl.studies.combinations import runs_of
from simfl.studies.spaces import edge, stretched

LR = "learning.lr"
RATES = {"space": {LR: {"log": [0.02, 0.4]}}}


def test_every_variant_has_the_same_budget_and_reports_its_best_options(tuned) -> None:
    trials = tuned.tuning.trials
    assert trials.groupby("variant")["trial"].apply(list).tolist() == [[0, 1, 2, 3]] * 2
    for name, best in tuned.tuning.best.items():
        mine = trials[trials["variant"] == name]
        met = mine[mine["met"]]
        assert best.value == met["value"].min()
        row = tuned.table.set_index("variant").loc[name]
        played = tuned.results[row["cell"]].scenario
        assert played["learning"]["lr"] == best.options[LR]
        assert "tune" not in played
        assert row["seed"] == 0
    alpha = tuned.tuning.best["one by one"].options["strategy.alpha"]
    run = tuned.table.set_index("variant").loc["one by one", "cell"]
    assert tuned.results[run].scenario["strategy"]["alpha"] == alpha


def test_the_first_trial_is_the_variant_as_it_was_written(tuned) -> None:
    first = tuned.tuning.trials.groupby("variant")[LR].first()
    assert first.tolist() == [0.2] * 2


def test_a_trial_is_stopped_when_it_has_cost_as_much_as_the_best(tuned) -> None:
    for _, trials in tuned.tuning.trials.groupby("variant"):
        best = float("inf")
        for trial in trials.itertuples():
            assert trial.spent_s <= best
            best = min(best, trial.spent_s if trial.met else best)


def test_tuning_that_was_interrupted_comes_to_the_same_options(tuned, tmp_path, tunable) -> None:
    """Stopped after the third trial of each and continued."""

    class Impatient:
        def update(self, done: int, total: int, run: str) -> None:
            if done >= 5:
                raise KeyboardInterrupt

        def close(self) -> None:
            """Nothing is open."""

    with pytest.raises(KeyboardInterrupt):
        simfl.study(tunable(), out=tmp_path, progress=Impatient())
    played = {path.name for path in (tmp_path / "cells").iterdir()}
    assert 0 < len(played) < 10
    again = simfl.study(tunable(), out=tmp_path)
    pd.testing.assert_frame_equal(again.tuning.trials, tuned.tuning.trials)
    assert again.tuning.best == tuned.tuning.best
    assert again.table["digest"].tolist() == tuned.table["digest"].tolist()


def test_a_seed_that_chose_options_may_not_judge_them(tmp_path, tunable) -> None:
    with pytest.raises(InputError, match=r"tune\.seeds: 0 are seeds of the study too"):
        simfl.study(tunable(seeds=[0, 100]), out=tmp_path)


def test_without_a_target_costs_cannot_be_tuned_but_a_metric_can(tmp_path, tunable) -> None:
    table = tunable(objective="seconds", trials=2)
    table["stop"] = {"after_s": 40.0}
    with pytest.raises(InputError, match=r"give stop\.target"):
        simfl.study(table, out=tmp_path)
    table["tune"]["objective"] = "accuracy"
    del table["sweep"]["variant"][1]
    found = simfl.study(table, out=tmp_path).tuning
    assert (found.trials["value"] < 0).all()
    assert -found.best["buffered"].value == -found.trials["value"].min()


def test_a_best_value_on_the_edge_extends_its_space(tmp_path, tunable) -> None:
    """All of this space is too small a rate: the larger the better, so its upper end moves."""
    table = tunable(objective="accuracy", trials=6)
    table["stop"], table["learning"] = {"after_s": 40.0}, {**table["learning"], "lr": 0.002}
    table["sweep"]["variant"] = [
        {"label": "slow", "tune": {"space": {LR: {"choice": [0.001, 0.002]}}}},
        {"label": "slow too", "tune": {"space": {LR: {"log": [0.001, 0.002]}}}},
    ]
    found = simfl.study(table, out=tmp_path).tuning
    tried = found.trials.set_index("variant")[LR]
    assert tried["slow"].max() == 0.002
    assert tried["slow too"].max() > 0.002
    frozen = simfl.study({**table, "tune": {**table["tune"], "extend": False}}, out=tmp_path)
    assert frozen.tuning.trials[LR].max() <= 0.002


def test_a_trial_that_fails_is_the_worst_and_ends_nothing(tmp_path, broken, tunable) -> None:
    table = tunable(trials=3)
    variants = table["sweep"]["variant"]
    variants[1] = {"label": "raises", "strategy": {"kind": "broken:Raises", "concurrency": 4},
                   "tune": {"space": {LR: {"log": [0.02, 0.4]}}}}  # fmt: skip
    study = simfl.study(table, out=tmp_path)
    ended = study.tuning.trials.set_index("variant")["ended"]
    assert ended["raises"].str.startswith("failed: PluginError").all()
    assert not study.tuning.best["raises"].met
    assert (ended["buffered"].isin(["met", "missed"])).all()


@pytest.mark.parametrize(
    ("space", "value", "side", "wider"),
    [
        ({"log": [0.01, 1.0]}, 0.9, "high", {"log": [0.01, 10.0]}),
        ({"log": [0.01, 1.0]}, 0.01, "low", {"log": [0.001, 1.0]}),
        ({"log": [0.01, 1.0]}, 0.1, "", {"log": [0.01, 1.0]}),
        ({"linear": [0.0, 1.0]}, 0.91, "high", {"linear": [0.0, 1.5]}),
        ({"whole": [2, 10]}, 10, "high", {"whole": [2, 14]}),
        ({"whole": [2, 10]}, 9, "", {"whole": [2, 10]}),
        ({"choice": ["a", "b"]}, "b", "", {"choice": ["a", "b"]}),
    ],
)
def test_edges_and_what_lies_beyond_them(space, value, side, wider) -> None:
    where = Space.model_validate(space)
    assert edge(where, value) == side
    assert stretched(where, side) == Space.model_validate(wider)


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({LR: {"log": [0.0, 1.0]}}, "expected numbers above 0"),
        ({LR: {"linear": [1.0, 1.0]}}, "expected the lower one first"),
        ({LR: {"linear": [0.1, 1.0], "log": [0.1, 1.0]}}, "give one of"),
        ({"strategy.bufer": {"whole": [1, 5]}}, "did you mean 'buffer'"),
        ({LR: {"linear": [-1.0, 1.0]}}, r"tune\.space"),
    ],
)
def test_a_space_that_no_option_has_is_refused(space, said, tunable) -> None:
    table = tunable(space=space)
    del table["sweep"]
    with pytest.raises(InputError, match=said):
        parse(table)


def test_a_variant_is_laid_over_the_scenario(tunable) -> None:
    """Tables merge, down to those with a kind; a label names the variant and nothing else."""
    base = parse(
        {
            **{k: v for k, v in tunable().items() if k not in ("tune", "sweep")},
            "sweep": {
                "variant": [
                    {"label": "A", "learning": {"lr": 0.3}},
                    {"label": "B", "strategy": {"buffer": 3}},
                ],
                "learning.batch_size": [{"label": "small", "value": 5}, 20],
                "seed": [1],
            },
        }
    )
    runs = runs_of(base, None, None, {})
    assert [dict(run.keys) for run in runs] == [
        {"strategy": name, "batch_size": size, "seed": 1} for name in "AB" for size in ("small", 20)
    ]
    assert [run.scenario.learning.lr for run in runs] == [0.3, 0.3, 0.2, 0.2]
    assert [run.scenario.strategy.buffer for run in runs] == [2, 2, 3, 3]
    assert [run.scenario.learning.batch_size for run in runs] == [5, 20, 5, 20]


def test_plots_of_tuning_show_every_trial_and_every_option(tuned) -> None:
    axes = simfl.plot.tuning(tuned)
    points = sum(len(line.get_xdata()) for line in axes.lines if line.get_linestyle() == "None")
    assert points == len(tuned.tuning.trials)
    shares = simfl.plot.importance(tuned)
    drawn = [bar.get_width() for bar in shares.patches]
    assert drawn == [s for one in tuned.tuning.best.values() for s in one.importance.values()]


def test_what_tuning_found_is_readable_without_optuna(tuned) -> None:
    told = json.loads((tuned.folder / "tuning.json").read_text("utf-8"))
    assert list(told["best"]) == ["buffered", "one by one"]
    shown = tuned.tuning.table()
    assert shown.loc["buffered", "best options"].startswith("lr = ")
    assert (shown["trials"] == "4").all()
