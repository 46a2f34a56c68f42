"""What the scripts of studies compute beside what simfl does."""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "studies"))

import asyncfeded_side
import feddyn_cifar
from parts.chosen import options_of
from parts.rations import play_on, seen

import simfl
from simfl.results.tuning import Best

SHORT = {"stop.versions": 40, "checkpoint.wall_s": 600.0}


def test_a_hang_in_proportion_is_the_old_one_after_ten_epochs() -> None:
    base = simfl.load(asyncfeded_side.SYNTHETIC).resolved()
    fleet, examples = base["fleet"]["group"], base["learning"]["dataset"]["examples"]
    found = asyncfeded_side.in_proportion(fleet, examples)
    for old, new in zip(fleet, found, strict=True):
        was, now = (group["faults"]["suspend"]["hang"] for group in (old, new))
        steps = (was["high_s"] / 3.0 - 0.06) / 0.77e-3  # of ten epochs, by the scenario's header
        assert now["per"] == "step"
        assert now["high_s"] * steps == pytest.approx(was["high_s"], rel=0.15), new["name"]
        assert was["per"] == "task", "the fleet that was given stays as it was"


def test_options_are_listed_rate_first_with_their_edges() -> None:
    options = {"strategy.local.mu": 0.5, "learning.lr": 0.1}
    best = Best(options, {"strategy.local.mu": "high", "learning.lr": ""}, {}, -0.9, True, 6)
    assert options_of(best) == {"lr": "0.1", "own option": "mu = 0.5", "on the edge": "mu, high"}


def test_a_run_in_rations_ends_as_a_run_in_one_piece(tmp_path: Path) -> None:
    ended = [play_on("quickstart", tmp_path / "parts", 0.0, **SHORT) for _ in range(3)]
    assert not any(ended)
    assert play_on("quickstart", tmp_path / "parts", 600.0, **SHORT)
    whole = simfl.run("quickstart", tmp_path / "whole", **SHORT)
    assert simfl.open(tmp_path / "parts").summary["digest"] == whole.summary["digest"]
    log = seen(tmp_path / "parts")
    assert log.version.tolist() == whole.evaluations.version.tolist()
    assert log.accuracy.tolist() == pytest.approx(whole.evaluations.accuracy.tolist())


def test_a_goal_that_was_not_met_has_a_bound() -> None:
    run = pd.DataFrame({"version": [0, 5, 10], "accuracy": [0.1, 0.5, 0.6]})
    assert [feddyn_cifar.first(run, goal) for goal in (0.4, 0.7)] == ["5", "> 10"]
    assert feddyn_cifar.first(run[:0], 0.4) == "–"
