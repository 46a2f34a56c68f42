from __future__ import annotations

import json
from math import inf

import pytest
import torch

import simfl
from simfl.errors import InputError
from simfl.params import Params
from simfl.results import Result, open_run
from simfl.results.digest import digest
from simfl.results.formatting import headline
from simfl.results.model import save_model
from simfl.results.store import Store
from simfl.results.summary import summarise
from simfl.results.tables import MODEL, SCENARIO, SUMMARY

TASKS = [
    {"staleness": 0, "applied_version": 1},
    {"task": 1, "staleness": 4, "applied_version": 2, "ended_s": 7200.0},
    {"task": 2, "outcome": "lost", "cause": "offline"},
    {"task": 3, "outcome": "in_flight", "version": 1},
]
EVALUATIONS = [{"accuracy": 0.5, "loss": 2.0}, {"time_s": 60.0, "accuracy": 0.25, "loss": 1.0}]
VERSIONS = [{"version": 1}, {"version": 2, "time_s": 60.0}]


@pytest.fixture
def run(run_folder) -> Result:
    return run_folder("night", "fedbuff", tasks=TASKS, evaluations=EVALUATIONS, versions=VERSIONS)


def test_a_run_folder_opens_with_its_tables(run) -> None:
    found = open_run(str(run.folder))
    assert found.finished
    assert found.tasks["staleness"].tolist()[:2] == [0, 4]
    assert found.evaluations["accuracy"].tolist() == [0.5, 0.25]
    assert found.versions["version"].tolist() == [1, 2]
    assert found.devices["device_class"].tolist() == ["phone"] * 4
    assert (found.name, found.strategy) == ("night", "fedbuff")


PHASES_OF_A_TASK = {
    "download": {"device_s": 1.0, "bytes": 10},
    "train": {"device_s": 2.0, "bytes": 0},
    "upload": {"device_s": 3.0, "bytes": 20},
}
WASTE = {"in_flight": PHASES_OF_A_TASK, "offline": PHASES_OF_A_TASK}


def test_a_summary_is_made_of_the_tables(run) -> None:
    """Six device-seconds a task, half of them in vain; two of four devices' updates applied."""
    expected = {
        "virtual_s": 7200.0, "versions": 2, "tasks": 4, "applied": 2, "evaluated": 0,
        "discarded": 0, "lost": 1, "cancelled": 0, "in_flight": 1,
        "final_accuracy": 0.25, "best_accuracy": 0.5,
        "last10_accuracy": 0.375, "final_loss": 1.0,
        "down_bytes": 40, "up_bytes": 80, "wasted_bytes": 60,
        "device_s": 24.0, "wasted_device_s": 12.0, "wasted_share": 0.5, "in_flight_share": 0.25,
        "energy_j": 16.0,
        "staleness_mean": 2.0, "staleness_p50": 0, "staleness_p95": 4, "staleness_max": 4,
        "in_flight_age_max": 1, "participation_jain": 0.25, "participation_gini": 0.75,
        "energy_by_phase_j": {}, "never_fired": [], "waste": WASTE,
    }  # fmt: skip
    assert run.summary == expected


def test_the_summary_of_nothing_is_ready_for_json(tmp_path) -> None:
    Store(tmp_path)
    summary = summarise(Result(tmp_path).parts, devices=3)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert (summary["tasks"], summary["versions"], summary["final_accuracy"]) == (0, 0, None)


def test_a_summary_reads_no_column_that_it_does_not_use(run) -> None:
    """A long run is summed up without being held whole."""
    asked = {}

    def parts(table, columns):
        asked[table] = columns
        return run.parts(table, columns)

    summarise(parts)
    assert len(asked["tasks"]) == 12


def test_an_unfinished_folder_opens_and_says_so(tmp_path, cols) -> None:
    living = Store(tmp_path)
    living.append("tasks", cols("tasks", {"staleness": 3}))
    living.mark()
    found = open_run(tmp_path)
    assert not found.finished
    assert found.tasks["staleness"].tolist() == [3]
    assert found.summary["applied"] == 1
    assert found.digest == digest(tmp_path)
    assert found.headline()["state"] == "unfinished"
    assert "unfinished" in repr(found)


def test_the_digest_is_the_one_that_the_run_wrote(run) -> None:
    summary = run.summary | {"digest": "c0ffee"}
    (run.folder / SUMMARY).write_text(json.dumps(summary), encoding="utf-8")
    assert open_run(run.folder).digest == "c0ffee"


def test_params_are_there_if_the_run_learnt(run) -> None:
    assert run.params is None
    params = Params.from_named({"w": torch.tensor([1.0, 2.0])})
    save_model(run.folder / MODEL, params)
    found = open_run(run.folder).params
    assert found is not None
    assert found.flat.tolist() == [1.0, 2.0]


def test_a_table_that_no_run_has_is_an_error_and_not_empty(run) -> None:
    with pytest.raises(InputError, match=r"'task' is not a table of a run .*tasks"):
        run.read("task")


def test_a_result_prints_as_a_small_table(run) -> None:
    assert repr(run).splitlines() == [
        "Result",
        "  name                       night",
        "  strategy                   fedbuff",
        "  virtual time               2 h",
        "  versions                   2",
        "  final accuracy             25.0 %",
        "  down / up                  40 B / 80 B",
        "  staleness p50 / p95 / max  0 / 4 / 4",
        "  wasted device time         12 s",
        "  share wasted (in flight)   50.0 % (25.0 %)",
    ]


def test_a_run_without_accuracy_is_summed_up_by_its_own_metrics() -> None:
    none = {"final_accuracy": None, "final_loss": 0.7}
    assert headline(none | {"final_mae": 0.91})["final mae"] == "0.91"
    assert headline(none)["final loss"] == "0.7"
    assert not any(line.startswith("final") for line in headline(none | {"final_loss": None}))


def test_a_notebook_shows_the_same_and_escapes_it(run) -> None:
    path = run.folder / SCENARIO
    path.write_text('name = "<b>night</b>"\n', encoding="utf-8")
    shown = open_run(run.folder)._repr_html_()
    assert "&lt;b&gt;night&lt;/b&gt;" in shown
    assert "0 / 4 / 4" in shown


def test_a_result_keeps_its_temporary_store(cols) -> None:
    """Its files go with the Store object, so somebody must hold it."""
    store = Store(None)
    store.append("tasks", cols("tasks", {"task": 5}))
    store.finish()
    found = Result(store.folder, store)
    del store
    assert found.tasks["task"].tolist() == [5]


def test_what_is_no_run_folder_is_refused(run, tmp_path) -> None:
    """A folder of runs says which runs it holds."""
    with pytest.raises(InputError, match="no such folder"):
        open_run(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no tasks.parquet; the runs inside it are night"):
        open_run(tmp_path)


@pytest.mark.parametrize("name", [SCENARIO, SUMMARY])
def test_a_damaged_file_is_named(run, name) -> None:
    (run.folder / name).write_text("= {", encoding="utf-8")
    with pytest.raises(InputError, match=name):
        _ = (run.scenario, open_run(run.folder).summary)


def test_a_result_says_what_a_target_cost() -> None:
    result = simfl.run(
        {
            "fleet": {"group": [{"count": 3, "compute": {"kind": "constant", "s": 5.0}}]},
            "learning": {"dataset": "digits", "model": "softmax", "partition": "iid"},
            "strategy": {"kind": "fedavg", "cohort": 3},
            "evaluate": {"every_versions": 1},
            "stop": {"versions": 3},
        }
    )
    row = result.evaluations.iloc[2]
    target = {"accuracy": float(result.evaluations["accuracy"].iloc[:3].max())}
    first = result.evaluations[result.evaluations["accuracy"] >= target["accuracy"]].iloc[0]
    assert row["version"] == 2
    assert result.time_to(**target) == first["time_s"]
    assert result.versions_to(**target) == first["version"]
    assert result.bytes_to(**target) == first["down_bytes"] + first["up_bytes"]
    assert result.time_to(accuracy=2.0) == inf
