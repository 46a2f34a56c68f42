"""Verification passes what a run did, and refuses what no run can have done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from forged_runs import FAILS, LEARNS, SHARES
from forgeries import Forgery, at, copied, forgeries, put, seal
from typer.testing import CliRunner

import simfl
from simfl.cli import app
from simfl.engine.verify import audit, laws, replayed

RUNS = {"learns": LEARNS, "fails": FAILS, "shares": SHARES}

#: What no check knows that does not play the run again: what was learnt, within its ranges.
LEARNT = ("tasks.drift more", "tasks.cosine more", "tasks.train_loss more", "evaluations.loss more")


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], simfl.Result]:
    """The honest run of this name."""
    played: dict[str, simfl.Result] = {}

    def run(name: str) -> simfl.Result:
        if name not in played:
            played[name] = simfl.run(RUNS[name], out=tmp_path_factory.mktemp(name) / "run")
        return simfl.open(played[name].folder)

    return run


def broken(folder: Path) -> list[str]:
    """The laws that a folder breaks, or why it cannot be read at all."""
    try:
        wrong = {check.law: check.wrong for check in audit(simfl.open(folder)) if check.wrong}
    except simfl.errors.InputError as refused:
        return [str(refused)]
    noisy = [said for said in wrong.values() if "Warning" in said]
    assert not noisy, noisy  # outside of these tests a warning refuses nothing
    return [*wrong]


def survivors(run: simfl.Result, found: list[Forgery], folder: Path) -> list[str]:
    """Forgeries of a run that no law refuses."""
    passed = []
    for forgery in found:
        forged = copied(run, folder / "forged")
        forgery.forge(forged)
        passed += [] if broken(forged) else [forgery.name]
        shutil.rmtree(forged)
    return passed


def is_learnt(name: str) -> bool:
    return name.startswith(LEARNT)


CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "failures": (FAILS, {}),
    "shared links": (SHARES, {}),
    "rounds": (LEARNS, {"strategy": {"kind": "fedavg", "cohort": 4}}),
    "every so often": (LEARNS, {"evaluate": {"every_s": 5.0, "every_versions": 3}}),
    "codecs with memories": (
        LEARNS,
        {"wire": {"up": [{"kind": "topk", "keep": 0.1}], "down": [{"kind": "resfed"}]}},
    ),
    "control variates": (LEARNS, {"strategy": {"kind": "scaffold", "cohort": 4}}),
    "requests": (
        LEARNS,
        {
            "strategy.max_staleness": 1,
            "strategy.on_stale": "request",
            "strategy.dispatch": "before",
        },
    ),
    "retries": (
        LEARNS,
        {"fleet.group.0.faults": {"drop_probability": 0.4, "retry": {"wait_s": 1.0}}},
    ),
    "pauses": (
        LEARNS,
        {
            "fleet.group.0.presence": {"kind": "onoff", "mean_on_s": 20.0, "mean_off_s": 5.0},
            "fleet.group.0.faults": {"on_offline": "pause"},
        },
    ),
    "hangs": (
        FAILS,
        {
            "fleet.group.0.faults": {
                "suspend": {"probability": 0.3, "hang": {"kind": "constant", "s": 20.0}}
            }
        },
    ),
    "target": (LEARNS, {"stop": {"target": {"accuracy": 0.5}}}),
    "time": (FAILS, {"stop": {"after_s": 200.0}}),
    "diverged": (LEARNS, {"learning.lr": 1e6}),
}


@pytest.mark.parametrize(("scenario", "changes"), CHANGES.values(), ids=CHANGES)
def test_what_a_run_did_passes(
    tmp_path: Path, scenario: dict[str, Any], changes: dict[str, Any]
) -> None:
    simfl.run(scenario, out=tmp_path, **changes)
    assert broken(tmp_path) == []


@pytest.mark.parametrize(("name", "stride"), [("learns", 8), ("fails", 11), ("shares", 10)])
def test_no_forgery_passes(
    honest: Callable[[str], simfl.Result], tmp_path: Path, name: str, stride: int
) -> None:
    """Some of each kind; the study below tries them all."""
    run = honest(name)
    found = [one for one in forgeries(run) if not is_learnt(one.name)]
    assert survivors(run, found[::stride], tmp_path) == []


@pytest.mark.study
@pytest.mark.parametrize("name", RUNS)
def test_none_of_all_forgeries_passes(
    honest: Callable[[str], simfl.Result], tmp_path: Path, name: str
) -> None:
    run = honest(name)
    found = [one for one in forgeries(run) if not is_learnt(one.name)]
    assert len(found) > 250
    assert survivors(run, found, tmp_path) == []


#: For each law a forgery that offends it: of which run, in which table, and how.
OFFENCES: dict[str, tuple[str, str, Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "every task has one row": ("learns", "tasks", lambda t: t.assign(task=t.task + 1)),
    "outcomes, causes and phases are possible": ("learns", "tasks", lambda t: at(t, 0, phase="x")),
    "phases follow each other to the task's end": (
        "learns",
        "tasks",
        lambda t: at(t, 0, train_s=t.train_s.iloc[0] + 1.0),
    ),
    "the run's end cuts off what is in flight": (
        "learns",
        "tasks",
        lambda t: at(t, -1, ended_s=t.ended_s.iloc[-1] - 1.0),
    ),
    "a device has one task at a time": ("shares", "tasks", lambda t: t.assign(device=0)),
    "tasks belong to devices of the fleet": ("learns", "tasks", lambda t: t.assign(device=9)),
    "tasks do the work that the strategy asks for": (
        "learns",
        "tasks",
        lambda t: t.assign(epochs=2.0),
    ),
    "numbers of tasks are in their ranges": ("learns", "tasks", lambda t: t.assign(weight=-1.0)),
    "versions and evaluations are in order of time": (
        "learns",
        "evaluations",
        lambda e: e.iloc[::-1],
    ),
    "a task carries the version of its dispatch": (
        "learns",
        "tasks",
        lambda t: t.assign(version=0),
    ),
    "staleness is the lag in versions and in seconds": (
        "learns",
        "tasks",
        lambda t: t.assign(staleness_s=t.staleness_s / 2),
    ),
    "staleness is conserved": (
        "learns",
        "tasks",
        lambda t: at(t, -1, staleness=int(t.staleness.iloc[-1]) + 1),
    ),
    "versions count the updates that entered them": (
        "learns",
        "versions",
        lambda v: v.assign(staleness_mean=0.0),
    ),
    "bytes move in their phase": ("learns", "tasks", lambda t: t.assign(down_bytes=9)),
    "totals so far are those of the tasks": (
        "learns",
        "evaluations",
        lambda e: e.assign(tasks_ended=0),
    ),
    "energy is power times time": ("fails", "tasks", lambda t: t.assign(energy_j=t.energy_j / 2)),
    "no battery gives more than it held and took in": (
        "fails",
        "devices",
        lambda d: d.assign(battery_start_j=0.0),
    ),
    "metrics are in their ranges": ("learns", "evaluations", lambda e: e.assign(accuracy=91.5)),
    "the newest version is evaluated": ("learns", "evaluations", lambda e: e.assign(version=0)),
    "evaluations are those that the scenario asks for": (
        "learns",
        "evaluations",
        lambda e: e.drop(e.index[2]),
    ),
    "bytes are those of the codecs": (
        "learns",
        "tasks",
        lambda t: t.assign(up_bytes=t.up_bytes + 1),
    ),
    "devices are those of the scenario": (
        "learns",
        "devices",
        lambda d: d.assign(latency_s=0.2),
    ),
    "messages take latency, and their bytes over the device's rate": (
        "learns",
        "tasks",
        lambda t: t.assign(download_s=t.download_s / 2),
    ),
    "totals so far are what messages had moved": (
        "learns",
        "evaluations",
        lambda e: at(e, 3, up_bytes=int(e.up_bytes.iloc[3]) + 1),
    ),
    "training takes what the device's law says": (
        "learns",
        "tasks",
        lambda t: t.assign(train_s=t.train_s / 2),
    ),
    "tasks fail when chance and absence say so": (
        "fails",
        "tasks",
        lambda t: t.assign(ended_s=t.ended_s + 1.0),
    ),
    "the digest is that of the tables and the model": ("learns", "tasks", lambda t: t.iloc[:-1]),
}
#: Those that a change of the summary alone offends.
TOLD = {
    "the summary is that of the tables": ("up_bytes", 1),
    "name and seed are the scenario's": ("seed", 9),
    "the summary is that of the scenario": ("scenario", "0" * 16),
    "the run ended as it says": ("ended", "after_s"),
    "models alive are those that tasks needed": ("models_alive_max", 99),
    "the digest is that of the tables and the model": ("digest", "0" * 32),
}


#: Laws that these three runs cannot offend: tests/world forges events, and tests/edges tiers.
ELSEWHERE = {
    "the target ends the run",
    "events are changes of the world in order of time",
    "versions of edges count the updates that entered them",
    "models travel between edges and cloud in turn",
    "tasks and models take the links of their edges",
}


def test_there_is_an_offence_for_every_law() -> None:
    assert {*OFFENCES, *TOLD} == {*laws()} - ELSEWHERE


@pytest.mark.parametrize("law", OFFENCES)
def test_a_law_is_broken_by_what_offends_it(
    honest: Callable[[str], simfl.Result], tmp_path: Path, law: str
) -> None:
    name, table, change = OFFENCES[law]
    folder = copied(honest(name), tmp_path / "forged")
    put(folder, table, change(simfl.open(folder).read(table)))
    if "digest" not in law:
        seal(folder)
    assert law in broken(folder)


@pytest.mark.parametrize("law", TOLD)
def test_a_forged_summary_is_caught(
    honest: Callable[[str], simfl.Result], tmp_path: Path, law: str
) -> None:
    key, value = TOLD[law]
    path = copied(honest("learns"), tmp_path / "forged") / "summary.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), key: value}), "utf-8")
    assert broken(path.parent) == [law]


def test_a_run_that_went_on_after_its_target_is_caught(tmp_path: Path) -> None:
    """A late target, which an earlier evaluation is then said to have met."""
    run = simfl.run(LEARNS, out=tmp_path, **{"stop": {"target": {"accuracy": 0.5}}})
    put(tmp_path, "evaluations", run.evaluations.assign(accuracy=0.6))
    seal(tmp_path)
    assert broken(tmp_path) == ["the target ends the run"]


def test_a_forged_model_is_caught(honest: Callable[[str], simfl.Result], tmp_path: Path) -> None:
    path = copied(honest("learns"), tmp_path / "forged") / "model.safetensors"
    whole = bytearray(path.read_bytes())
    whole[-1] ^= 1
    path.write_bytes(whole)
    assert broken(path.parent) == ["the digest is that of the tables and the model"]


@pytest.mark.parametrize("lag", ["versions", "tasks"])
def test_a_run_that_was_cut_short_obeys_every_law_of_its_tables(
    honest: Callable[[str], simfl.Result], tmp_path: Path, lag: str
) -> None:
    """Tasks under way have no row yet, and one table may be behind the other."""
    folder = copied(honest("learns"), tmp_path / "short")
    run = simfl.open(folder)
    (folder / "summary.json").unlink()
    put(folder, "tasks", run.tasks[run.tasks.outcome != "in_flight"])
    put(folder, lag, run.read(lag).iloc[:-5])
    assert broken(folder) == []
    unknown = {check.unchecked for check in audit(simfl.open(folder))}
    assert "the run is unfinished" in unknown
    rows = run.read(lag)
    put(folder, lag, pd.concat([rows.iloc[:5], rows.iloc[4:]]))
    assert broken(folder) != []


def test_what_was_learnt_is_known_by_playing_the_run_again(
    honest: Callable[[str], simfl.Result], tmp_path: Path
) -> None:
    run = honest("learns")
    assert replayed(run).wrong is None
    folder = copied(run, tmp_path / "forged")
    put(folder, "evaluations", run.evaluations.assign(loss=run.evaluations.loss / 2))
    seal(folder)
    assert broken(folder) == []
    assert "playing it again gives" in str(replayed(simfl.open(folder)).wrong)


def test_the_command_says_what_holds_what_is_unknown_and_what_a_replay_found(
    honest: Callable[[str], simfl.Result], tmp_path: Path
) -> None:
    folder = copied(honest("fails"), tmp_path / "run")
    said = CliRunner().invoke(app, ["verify", str(folder), "--replay"])
    assert said.exit_code == 0, said.output
    assert "holds    energy is power times time" in said.stdout
    assert "unknown  evaluations are those that the scenario asks for (there is no" in said.stdout
    assert "holds    played again, it has the same digest" in said.stdout
