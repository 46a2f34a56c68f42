"""Why a version took as long as it did."""

from __future__ import annotations

import pytest
from matplotlib.patches import StepPatch

import simfl
from simfl.errors import InputError
from simfl.results import plots
from simfl.results.critical_path import SHARES, critical_path
from simfl.results.plots.critical_path import in_words


@pytest.fixture(scope="module")
def played() -> list[simfl.Result]:
    """A buffered and a synchronous run of devices that come and go."""
    faults = {"drop_probability": 0.2, "on_offline": "pause"}
    presence = {"kind": "onoff", "mean_on_s": 40.0, "mean_off_s": 20.0}
    devices = {"compute": {"kind": "exponential", "mean_s": 10.0}, "count": 8}
    bare = {"dataset": "none", "parameters": 10, "examples": 10, "flops_per_example": 1.0}
    kinds = [{"kind": "fedbuff", "concurrency": 4, "buffer": 2}, {"kind": "fedavg", "cohort": 3}]
    return [
        simfl.run(
            {"fleet": {"group": [{**devices, "faults": faults, "presence": presence}]},
             "learning": bare, "strategy": kind, "stop": {"versions": 12}}
        )
        for kind in kinds
    ]  # fmt: skip


def shares(path, version: int) -> dict[str, float]:
    row = path.set_index("version").loc[version]
    return {share: row[share] for share in SHARES if row[share]}


def test_a_round_waited_for_its_last_task(frame) -> None:
    """Two devices; the second takes longer. The server then works for half a second."""
    tasks = frame("tasks", {}, {"task": 1, "device": 7, "train_s": 5.0, "ended_s": 9.0})
    path = critical_path(tasks, frame("versions", {"time_s": 9.5, "step_s": 0.5}))
    assert path["device"].tolist() == [7]
    assert shares(path, 1) == {"download_s": 1.0, "train_s": 5.0, "upload_s": 3.0, "held_s": 0.5}


def test_a_task_under_way_counts_from_the_version_before(frame) -> None:
    """Six seconds from 0: version 1 came at 2.5, while it trained."""
    early = {"task": 1, "download_s": 0.5, "train_s": 1.0, "upload_s": 1.0, "ended_s": 2.5}
    versions = frame("versions", {"time_s": 2.5}, {"version": 2, "time_s": 6.0})
    path = critical_path(frame("tasks", {}, early), versions)
    assert shares(path, 1) == {"download_s": 0.5, "train_s": 1.0, "upload_s": 1.0}
    assert shares(path, 2) == {"train_s": 0.5, "upload_s": 3.0}


def test_time_before_the_dispatch_and_time_away_have_names(frame) -> None:
    tasks = frame("tasks", {"dispatched_s": 2.0, "ended_s": 18.0})
    path = critical_path(tasks, frame("versions", {"time_s": 18.0}))
    assert shares(path, 1) == {
        "idle_s": 2.0, "download_s": 1.0, "train_s": 2.0, "pause_s": 10.0, "upload_s": 3.0
    }  # fmt: skip


def test_a_round_that_waited_for_a_lost_task_says_so(frame) -> None:
    lost = {"task": 1, "outcome": "lost", "train_s": 30.0, "upload_s": 0.0, "ended_s": 31.0}
    path = critical_path(frame("tasks", {}, lost), frame("versions", {"time_s": 31.0}))
    assert path["outcome"].tolist() == ["lost"]
    assert shares(path, 1) == {"download_s": 1.0, "train_s": 30.0}


def test_no_second_is_counted_twice_or_left_out(played) -> None:
    for run in played:
        path = critical_path(run.tasks, run.versions)
        assert len(path) == len(run.versions)
        assert (path[list(SHARES)] >= 0).all(axis=None)
        took_s = path["made_s"] - path["opened_s"]
        assert path[list(SHARES)].sum(axis="columns").to_numpy() == pytest.approx(took_s.to_numpy())
        assert took_s.sum() == pytest.approx(run.versions["time_s"].max())


def test_the_picture_stacks_the_shares_and_names_the_slowest(played) -> None:
    run = played[0]
    path = critical_path(run.tasks, run.versions)
    ax = plots.critical_path(run)
    layers = [patch for patch in ax.patches if isinstance(patch, StepPatch)]
    assert layers[-1].get_data().values == pytest.approx(path["made_s"] - path["opened_s"])
    slowest = path.loc[(path["made_s"] - path["opened_s"]).idxmax()]
    assert [text.get_text() for text in ax.texts] == [f"{slowest.device_class} #{slowest.device}"]


def test_one_version_shows_what_it_waited_for_the_longest_last(played) -> None:
    run = played[0]
    ax = plots.slowest_version(run, version=2)
    row = critical_path(run.tasks, run.versions).iloc[1]
    assert ax.get_yticklabels()[-1].get_text() == f"{row.device_class}  #{row.device}"
    assert in_words(row) in ax.get_xlabel()
    with pytest.raises(InputError, match=r"version 999 was not made by this run \(versions: 1 to"):
        plots.slowest_version(run, version=999)


def test_a_run_without_versions_has_no_slowest(run_folder) -> None:
    with pytest.raises(InputError, match="no version was made"):
        plots.slowest_version(run_folder("empty"))
