"""Several processes on one study's folder: they share the work, and no run is played twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pandas as pd
import pytest

import simfl
from simfl.cli import main
from simfl.engine.session import alone
from simfl.errors import InputError

SEEDS = range(4)


@pytest.fixture
def held(bench, tmp_path: Path):
    """The hold of another process on one of the runs of a study, and the study's folder."""
    simfl.study(bench, seeds=SEEDS, out=tmp_path / "whole")
    cell = simfl.Study(tmp_path / "whole").table["cell"].iloc[1]
    with ExitStack() as hold:
        hold.enter_context(alone(tmp_path / "shared" / "cells" / cell))
        yield hold, tmp_path / "shared"


def test_a_run_of_another_process_is_left_to_it_and_no_failure(bench, held) -> None:
    hold, folder = held
    study = simfl.study(bench, seeds=SEEDS, out=folder, wait=False)
    assert study.table["ended"].tolist() == [
        "versions", "under way in another process", "versions", "versions",
    ]  # fmt: skip
    assert len(study.results) == 3
    hold.close()
    assert simfl.study(bench, seeds=SEEDS, out=folder).failed.empty


class Patient:
    """Progress that ends the other process once this one says that it waits."""

    def __init__(self, hold: ExitStack) -> None:
        self.hold, self.heard = hold, []

    def update(self, done: int, total: int, cell: str) -> None:
        self.heard.append(f"{done}/{total} {cell}")
        if cell.startswith("waiting"):
            self.hold.close()

    def close(self) -> None:
        """Nothing is open."""


def test_the_run_of_a_process_that_died_is_played(bench, held) -> None:
    hold, folder = held
    progress = Patient(hold)
    study = simfl.study(bench, seeds=SEEDS, out=folder, progress=progress)
    assert study.failed.empty
    assert progress.heard[3].startswith("3/4 waiting for 1 runs under way in another process")
    assert progress.heard[4].startswith("4/4 ")


def played(bench, folder: Path, seeds: range) -> list[str]:
    heard = simfl.study(bench, seeds=seeds, out=folder, progress=(p := Patient(ExitStack())))
    assert heard.failed.empty
    return [line.partition(" ")[2] for line in p.heard if "seed" in line and "waiting" not in line]


def test_two_that_begin_at_once_come_to_the_table_of_one(bench, tmp_path: Path) -> None:
    longer, seeds = {**bench, "stop": {"versions": 400}}, range(6)
    alone_ = simfl.study(longer, seeds=seeds, out=tmp_path / "alone")
    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(played, longer, tmp_path / "both", seeds) for _ in range(2)]
        for call in calls:
            call.result()
    together = simfl.Study(tmp_path / "both")
    pd.testing.assert_frame_equal(together.table, alone_.table)


def test_shards_are_disjoint_and_make_up_the_study(bench, tmp_path: Path) -> None:
    for number, rows in ((1, [0, 3]), (2, [0, 1, 3]), (3, [0, 1, 2, 3])):
        study = simfl.study(bench, seeds=SEEDS, out=tmp_path, shard=(number, 3))
        ended = study.table["ended"]
        assert ended.index[ended == "versions"].tolist() == rows
    with pytest.raises(InputError, match="shard 4/3: expected a part"):
        simfl.study(bench, seeds=SEEDS, out=tmp_path, shard=(4, 3))


def test_tuned_by_shards_is_tuned_alike(tuned, tunable, tmp_path: Path) -> None:
    for number in (1, 2):
        found = simfl.study(tunable(), out=tmp_path, shard=(number, 2))
    assert found.tuning.best == tuned.tuning.best
    assert found.table["digest"].tolist() == tuned.table["digest"].tolist()


@pytest.mark.parametrize("shard", ["2", "a/3", "0/3", "-1/3", "3/2", "1/", "1/0"])
def test_parts_that_are_none_are_refused(shard: str, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["study", "quickstart", f"--shard={shard}", "--seeds", "0"]) == 2
    assert "expected a part" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_shard_ends_well_and_says_what_it_leaves_to_others(
    bench, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import tomli_w

    monkeypatch.chdir(tmp_path)
    Path("bench.toml").write_text(tomli_w.dumps(bench))
    assert main(["study", "bench.toml", "--seeds", "0..3", "--shard", "1/2"]) == 0
    assert "2 of 4 runs are left to other processes" in capsys.readouterr().out
    assert main(["study", "bench.toml", "--seeds", "0..3"]) == 0
    assert "left to other" not in capsys.readouterr().out
