from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from joblib.externals.loky import get_reusable_executor

import simfl
from simfl.errors import InputError
from simfl.scenario import parse

ASYNC = {"kind": "fedasync", "concurrency": 4}


def test_a_row_holds_labels_and_the_numbers_of_its_run(bench, tmp_path) -> None:
    study = simfl.study(bench, seeds=[1, 2], sweep={"strategy.buffer": [1, 2]}, out=tmp_path)
    assert study.axes == ["strategy", "buffer"]
    assert study.variants == ["buffer=1", "buffer=2"]
    row = study.table.iloc[3]
    alone = simfl.run({**bench, "seed": 2})
    assert row[["buffer", "seed", "ended"]].tolist() == [2, 2, "versions"]
    assert (row["digest"], row["cell"]) == (alone.digest, parse({**bench, "seed": 2}).hash)


def test_cells_of_a_seed_share_their_chance(bench, tmp_path) -> None:
    """The k-th task of a device takes as long under every strategy."""
    study = simfl.study(bench, [bench["strategy"], ASYNC], seeds=[4], out=tmp_path)
    tasks = study.frame("tasks", ["device", "train_s", "outcome"])
    tasks = tasks[tasks["outcome"] != "in_flight"]
    tasks["k"] = tasks.groupby(["strategy", "device"]).cumcount()
    wide = tasks.pivot(index=["device", "k"], columns="strategy", values="train_s").dropna()
    assert len(wide) > 3
    assert np.array_equal(wide["fedbuff"], wide["fedasync"])


def test_what_is_missing_is_played_and_nothing_else(bench, tmp_path, listener) -> None:
    """Half of the runs removed, one of the others interrupted: just those are played again."""
    first = simfl.study(bench, seeds=range(4), out=tmp_path)
    runs = [tmp_path / "cells" / run for run in first.table["cell"]]
    for folder in runs[:2]:
        shutil.rmtree(folder)
    summary = json.loads((runs[2] / "summary.json").read_text("utf-8"))
    (runs[2] / "summary.json").write_text(json.dumps({**summary, "ended": "interrupted"}), "utf-8")
    again = simfl.study(bench, seeds=range(4), out=tmp_path, progress=listener)
    assert listener.heard == [
        "1/4 finished earlier",
        *(f"{i + 2}/4 strategy fedbuff, seed {i}" for i in range(3)),
        "closed",
    ]
    pd.testing.assert_frame_equal(first.table, again.table)


def test_a_study_that_was_interrupted_goes_on(bench, tmp_path, listener) -> None:
    """What was not played has a row that says so."""

    class Impatient:
        def update(self, done: int, total: int, run: str) -> None:
            raise KeyboardInterrupt

        def close(self) -> None:
            """Nothing is open."""

    with pytest.raises(KeyboardInterrupt):
        simfl.study(bench, seeds=range(3), out=tmp_path, progress=Impatient())
    ended = simfl.Study(tmp_path).table["ended"].tolist()
    assert ended == ["versions", "not played", "not played"]
    whole = simfl.study(bench, seeds=range(3), out=tmp_path, progress=listener)
    assert listener.heard[0] == "1/3 finished earlier"
    assert whole.failed.empty


def test_a_study_may_grow(bench, tmp_path, listener) -> None:
    simfl.study(bench, seeds=[0], out=tmp_path)
    grown = simfl.study(bench, [ASYNC, bench["strategy"]], seeds=[0], out=tmp_path,
                        progress=listener)  # fmt: skip
    assert listener.heard[:2] == ["1/2 finished earlier", "2/2 strategy fedasync, seed 0"]
    assert len(grown.table) == 2


@pytest.mark.usefixtures("broken")
def test_a_failed_cell_is_reported_and_the_rest_goes_on(bench, tmp_path, listener) -> None:
    strategies = [{**ASYNC, "kind": "broken:Raises"}, ASYNC]
    study = simfl.study(bench, strategies, seeds=[0], out=tmp_path, progress=listener)
    (why,) = study.failed["ended"]
    assert why.startswith("failed: PluginError")
    assert "on purpose" in why
    assert "failed, PluginError" in listener.heard[0]
    assert list(study.runs()) == ["fedasync"]
    simfl.study(bench, strategies, seeds=[0], out=tmp_path, progress=listener)
    assert sum("Raises" in line for line in listener.heard) == 2, "a failed run is tried again"


@pytest.mark.usefixtures("broken")
def test_workers_change_nothing_but_the_time_and_survive_one_that_dies(bench, tmp_path) -> None:
    get_reusable_executor().shutdown(wait=True)  # processes of other tests
    alone = simfl.study(bench, seeds=range(2), out=tmp_path / "alone")
    strategies = [{**ASYNC, "kind": "broken:Dies"}, bench["strategy"]]
    many = simfl.study(bench, strategies, seeds=range(2), workers=2, out=tmp_path / "many")
    why = many.failed["ended"].tolist()
    assert len(why) == 2, why
    assert all("its process died" in one for one in why), why
    digests = many.table.loc[many.table["strategy"] == "fedbuff", "digest"]
    assert digests.tolist() == alone.table["digest"].tolist()


def test_runs_are_named_by_what_varied(small) -> None:
    runs = small.runs(seed=1)
    assert list(runs) == ["buffered", "timid"]
    assert {run.summary["seed"] for run in runs.values()} == {1}
    assert list(small.runs(strategy="timid")) == ["timid"]


def test_evaluations_lie_one_below_the_other(small) -> None:
    seen = small.evaluations
    assert list(seen.columns[:3]) == ["strategy", "seed", "variant"]
    assert len(seen) == sum(len(run.evaluations) for run in small.results.values())


def test_a_study_is_read_back_as_it_was(small) -> None:
    again = simfl.Study(small.folder)
    pd.testing.assert_frame_equal(again.table, small.table)
    assert "buffered, timid" in repr(again)
    assert "buffered, timid" in again._repr_html_()


def test_the_target_is_that_of_the_scenario(small) -> None:
    found = small.at_target()
    assert found["met"].tolist() == [3, 0]
    assert found.loc["buffered", "speedup"].low == 1.0
    assert found.loc["timid", "speedup"].low == 0.0
    assert 0.0 < found.loc["timid", "speedup"].high < 1.0


def test_unknown_words_are_refused(small, bench, tmp_path) -> None:
    with pytest.raises(InputError, match=r"holds no study\.parquet"):
        simfl.Study(tmp_path)
    with pytest.raises(InputError, match=r"'timd' is not a variant.*did you mean 'timid'"):
        small.at_target(reference="timd")
    with pytest.raises(InputError, match="'bufer' does not vary"):
        small.runs(bufer=3)
    with pytest.raises(InputError, match=r"backend 'rai' is not known"):
        simfl.study(bench, out=tmp_path, backend="rai")
    with pytest.raises(InputError, match="workers = 0"):
        simfl.study(bench, out=tmp_path, workers=0)


def test_seeds_are_added_to_a_finished_study(bench, tmp_path, listener) -> None:
    first = simfl.study(bench, seeds=[0, 1], out=tmp_path)
    more = simfl.study(bench, seeds=[2], out=tmp_path, progress=listener)
    assert listener.heard == ["1/1 strategy fedbuff, seed 2", "closed"]
    assert more.table["seed"].tolist() == [0, 1, 2]
    assert more.table["digest"].tolist()[:2] == first.table["digest"].tolist()
    alone = simfl.study(bench, [ASYNC], seeds=[2], out=tmp_path)
    assert alone.table["seed"].tolist() == [2], "other variants have not been played on 0 and 1"


def test_a_study_s_folder_is_opened_as_a_study_and_a_cell_s_as_a_run(small: simfl.Study) -> None:
    again = simfl.open(small.folder)
    assert isinstance(again, simfl.Study)
    run = again.table["cell"].iloc[0]
    assert isinstance(simfl.open(small.folder / "cells" / run), simfl.Result)


def test_workers_of_an_earlier_study_import_what_is_within_reach_by_now(
    bench, tmp_path, monkeypatch
) -> None:
    """Processes are kept between studies; a folder that came to the path since is theirs, too."""
    simfl.study(bench, seeds=range(2), workers=2, out=tmp_path / "before")
    (tmp_path / "later").mkdir()
    source = "from simfl.strategy.methods.fedasync import FedAsync as Late"
    (tmp_path / "later" / "latecomer.py").write_text(source, "utf-8")
    monkeypatch.syspath_prepend(tmp_path / "later")
    late = [{**ASYNC, "kind": "latecomer:Late"}]
    study = simfl.study(bench, late, seeds=range(2), workers=2, out=tmp_path / "after")
    assert study.failed.empty
