"""Callbacks hear of every evaluation and change nothing."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import simfl
from simfl import callbacks
from simfl.errors import InputError
from simfl.scenario import parse

ASYNC = {"kind": "fedasync", "concurrency": 3}
SCENARIO: dict[str, Any] = {
    "name": "watched",
    "seed": 3,
    "fleet": {"group": [{"compute": {"kind": "exponential", "mean_s": 10.0}, "count": 6}]},
    "learning": {"dataset": "digits", "model": {"kind": "mlp", "hidden": [4]}},
    "strategy": {"kind": "fedbuff", "concurrency": 3, "buffer": 2},
    "evaluate": {"every_versions": 1, "by_class": True},
    "stop": {"versions": 3},
}


@pytest.fixture(scope="module")
def heard() -> tuple[simfl.Result, list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    return simfl.run(SCENARIO, callbacks=[rows.append]), rows


def test_a_function_hears_every_evaluation_with_all_metrics(heard) -> None:
    result, rows = heard
    assert len(rows) == len(result.evaluations) == 4
    for row, (_, seen) in zip(rows, result.evaluations.iterrows(), strict=True):
        assert {name: row[name] for name in seen.index} == seen.to_dict()
        assert row["seed"] == "3"
    assert "accuracy_class_9" in rows[0]
    assert rows[-1]["staleness_p50"] >= 0


def test_nobody_s_watching_changes_anything(heard, tmp_path) -> None:
    result, _ = heard
    alone = simfl.run(SCENARIO)
    named = simfl.run({**SCENARIO, "callbacks": ["csv"]}, tmp_path)
    assert alone.digest == result.digest == named.digest
    assert parse(SCENARIO).hash == parse({**SCENARIO, "callbacks": ["csv"]}).hash


def test_csv_by_name_has_a_row_for_each_evaluation(heard, tmp_path) -> None:
    _, rows = heard
    simfl.run({**SCENARIO, "callbacks": [{"kind": "csv"}]}, tmp_path)
    with (tmp_path / "log.csv").open() as file:
        found = list(csv.DictReader(file))
    assert [float(row["accuracy"]) for row in found] == [row["accuracy"] for row in rows]


def test_cells_of_a_study_say_which_they_are(tmp_path) -> None:
    """Named in the scenario, it reaches the processes that play the cells."""
    log = tmp_path / "all.csv"
    table = {**SCENARIO, "callbacks": [{"kind": "csv", "path": str(log)}]}
    simfl.study(table, {"a": ASYNC, "b": SCENARIO["strategy"]}, seeds=[1, 2],
                out=tmp_path / "mine")  # fmt: skip
    with log.open() as file:
        found = {(row["study"], row["variant"], row["seed"]) for row in csv.DictReader(file)}
    assert found == {("mine", variant, seed) for variant in "ab" for seed in "12"}


def test_one_that_fails_is_left_out_and_the_run_goes_on(heard) -> None:
    result, _ = heard
    calls: list[int] = []

    def fails(row: dict[str, Any]) -> None:
        calls.append(1)
        raise OSError("no space left")

    with pytest.warns(UserWarning, match="callback fails .* no space left"):
        again = simfl.run(SCENARIO, callbacks=[fails])
    assert (len(calls), again.digest) == (1, result.digest)


def test_what_is_no_callback_and_what_is_not_installed_are_refused(monkeypatch) -> None:
    with pytest.raises(InputError, match="expected an object with `open`, or a function"):
        simfl.run(SCENARIO, callbacks=[3])
    with pytest.raises(InputError, match="did you mean 'tensorboard'"):
        parse({**SCENARIO, "callbacks": ["tensorbord"]})
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(InputError, match=r"install simfl\[mlflow\]"):
        simfl.run(SCENARIO, callbacks=[callbacks.MLflow()])


class Recorder(SimpleNamespace):
    """Stands for a library: writes down what is called, with what."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def call(*args: Any, **options: Any) -> Any:
            self.seen.append((name, args, options))
            return self

        return call


@pytest.mark.parametrize(
    ("callback", "module", "log", "end"),
    [
        (callbacks.TensorBoard("logs"), "tensorboard.summary", "add_scalar", "close"),
        (callbacks.WandB(mode="offline"), "wandb", "log", "finish"),
    ],
)
def test_loggers_get_every_evaluation_by_version_and_are_closed(
    callback, module, log, end, heard, monkeypatch
) -> None:
    _, rows = heard
    library = Recorder(seen=[])
    monkeypatch.setitem(sys.modules, module.partition(".")[0], library)
    monkeypatch.setitem(sys.modules, module, library)
    opened = callback.open(callbacks.RunInfo("watched", Path(), SCENARIO, {"seed": "3"}))
    for row in rows:
        opened.evaluation(row)
    opened.close({"ended": "versions"})
    steps = [args[-1] if log == "add_scalar" else options["step"]
             for name, args, options in library.seen if name == log]  # fmt: skip
    assert sorted(set(steps)) == [row["version"] for row in rows]
    assert library.seen[-1][0] == end
