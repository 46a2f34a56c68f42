"""Learning that went wrong is no result: a run says so, keeps its tables, and is not repeated."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import simfl
from simfl.cli import main
from simfl.errors import Diverged
from simfl.results.study import Study
from simfl.scenario import parse
from simfl.strategy.methods.fedavg import FedAvg


def scenario(lr=1e30, **stop):
    return {
        "name": "wild",
        "seed": 1,
        "fleet": {"group": [{"compute": {"kind": "constant", "s": 1.0}, "count": 4}]},
        "learning": {"dataset": "digits", "model": {"kind": "mlp", "hidden": [8]}, "lr": lr},
        "strategy": {"kind": "fedavg", "cohort": 4},
        "evaluate": {"every_versions": 1},
        "stop": {"versions": 3, **stop},
    }


def test_a_run_ends_where_learning_went_wrong_and_keeps_its_tables(tmp_path):
    with pytest.raises(Diverged, match=r"since version 1 .* a smaller learning.lr than 1e\+30"):
        simfl.run(scenario(), tmp_path)
    left = simfl.open(tmp_path)
    assert left.summary["ended"] == "diverged"
    assert "since version 1" in left.summary["cause"]
    assert left.summary["versions"] == 1
    assert left.summary["final_accuracy"] is None
    assert (left.tasks.outcome == "applied").sum() == 4
    assert left.evaluations.version.tolist() == [0]


def test_a_run_that_is_to_go_on_warns_once_and_says_so(tmp_path):
    with pytest.warns(UserWarning, match="learning diverged") as told:
        result = simfl.run(scenario(on_divergence="warn"), tmp_path)
    assert len(told) == 1
    assert result.summary["ended"] == "versions"
    assert "since version 1" in result.summary["diverged"]
    assert "since version 1" in repr(result)
    assert result.summary["final_accuracy"] is None


def test_a_run_that_learns_says_nothing_of_it():
    assert "diverged" not in simfl.run(scenario(lr=0.05)).summary


@pytest.mark.parametrize("trainer", ["one-by-one", "batched", "compiled"])
@pytest.mark.parametrize("kind", ["fedbuff", "fedasync", "feddyn", "scaffold", "fadas"])
def test_it_is_noticed_whoever_trains_and_folds(trainer, kind):
    table = scenario()
    table["learning"]["trainer"] = trainer
    table["strategy"] = {"kind": kind}
    size = "cohort" if kind in ("feddyn", "scaffold") else "concurrency"
    buffer = {"strategy.buffer": 2} if kind in ("fedbuff", "fadas") else {}
    with pytest.raises(Diverged):
        simfl.run(table, **{f"strategy.{size}": 2, **buffer})


def test_without_evaluations_the_model_itself_tells():
    table = scenario()
    table["evaluate"] = {"at_start": False}
    with pytest.raises(Diverged, match=r"values are not finite|training loss of device \d is"):
        simfl.run(table)


class Loses(torch.nn.Module):
    """Has a loss that is not finite although all of its parameters are."""

    def __init__(self, classes):
        super().__init__()
        self.layer = torch.nn.Linear(64, classes)

    def forward(self, x):
        out = self.layer(x.flatten(1))
        return out + torch.where(out.detach() > -torch.inf, torch.inf, 0.0) * (len(x) == 9)


def loses(dataset):
    return Loses(dataset.classes)


def test_a_training_loss_that_is_not_finite_is_no_learning():
    table = scenario(lr=1e-9)
    table["learning"] |= {"model": loses, "batch_size": 9}
    with pytest.raises(Diverged):
        simfl.run(table)


def test_it_is_told_again_and_not_played_again(tmp_path, monkeypatch):
    for _ in range(2):
        with pytest.raises(Diverged, match="since version 1") as told:
            simfl.run(scenario(), tmp_path, resume=True)
        monkeypatch.setattr(FedAvg, "step", None)  # so that whoever plays will fail
    assert told.value.exit_code == 4


def test_the_command_line_ends_with_its_own_exit_code(tmp_path, capsys):
    path = tmp_path / "wild.toml"
    path.write_text(parse(scenario()).to_toml(), "utf-8")
    assert main(["run", str(path), "--out", str(tmp_path / "run"), "--quiet"]) == 4
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert 'stop.on_divergence = "warn"' in said
    assert json.loads((tmp_path / "run" / "summary.json").read_text("utf-8"))["cause"] in said


@pytest.mark.parametrize("again", [False, True])
def test_a_diverged_cell_of_a_study_is_a_failure_with_its_cause(tmp_path, again):
    """Also when the study is opened or played a second time."""
    for _ in range(1 + again):
        table = {**scenario(), "sweep": {"learning.lr": [0.05, 1e30]}}
        study = simfl.study(table, seeds=[0], out=tmp_path)
    assert study.table["ended"].str.startswith("diverged: ").tolist() == [False, True]
    assert "since version 1" in study.failed["ended"].item()
    assert list(study.results) == study.table["cell"].tolist()[:1]
    assert np.isfinite(study.evaluations.loss).all()
    assert len(Study(tmp_path).failed) == 1
