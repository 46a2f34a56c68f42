"""A real Flower deployment, as it was measured, against its prediction; no root is needed.

`tests/benchmarks/measured` has what `make testbed` measured: a file a run, with the phases of its
tasks. Constants come from the runs of an empty task alone.
"""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks" / "testbed"))

import hosts
import testbed
from calibrate import at_speed, constants, pooled
from cases import CALIBRATION, CASES
from predict import compared, predict

pytest.importorskip("flwr", minversion="1.42")
MEASURED = Path(__file__).parent / "measured"

#: Errors that may not grow: (total, round, task), a little above those of docs/fidelity.md.
WITHIN = {
    "a": (0.06, 0.12, 0.08),
    "b": (0.11, 0.17, 0.08),
    "small": (0.09, 0.18, 0.08),
    "killed": (0.08, 0.14, 0.08),
    "loop": (0.10, 0.0, 0.08),
}
USUAL = (0.05, 0.07, 0.08)


@cache
def runs(name: str) -> list[dict[str, Any]]:
    return testbed.read(MEASURED, name)


@pytest.mark.parametrize("name", CASES)
def test_a_prediction_is_as_near_to_the_deployment_as_it_was(name: str, tmp_path: Path) -> None:
    known = constants(*(pooled(runs(one)) for one in CALIBRATION))
    mine = at_speed(known, runs(name))
    found = compared(runs(name), predict(CASES[name], mine, tmp_path, range(2)))
    total, each_round, each_task = WITHIN.get(name, USUAL)
    assert abs(found["total"]) <= total
    assert max(map(abs, found["rounds"].values()), default=0.0) <= each_round
    assert max(map(abs, found["tasks"].values())) <= each_task


def test_what_was_measured_is_there() -> None:
    assert [name for name in (*CALIBRATION, *CASES) if not runs(name)] == []


def test_without_the_loops_the_prediction_is_far_off(tmp_path: Path) -> None:
    known = constants(*(pooled(runs(one)) for one in CALIBRATION))
    mine = at_speed(known, runs("a"))
    bare = compared(runs("a"), predict(CASES["a"], mine, tmp_path, range(1), steps=1))
    assert bare["total"] < -0.4


def test_a_fleet_is_fitted_to_the_phases_of_a_run(tmp_path: Path) -> None:
    """Half of the tasks predict the other half; the scenario can be played."""
    from simfl.interop.flower.run import scenario_of
    from simfl.interop.pilots.phases import read_phases
    from simfl.interop.pilots.written import pilot
    from simfl.scenario.reading import read

    log = tmp_path / "a.jsonl"
    tasks = [task for run in runs("a") for task in run["tasks"]]
    log.write_text("\n".join(map(json.dumps, tasks)), "utf-8")
    text, judged = pilot(read_phases(log), "a.jsonl", 1.7e6, 1.73e6, "flower-1.42")
    assert [one.name for one in judged] == ["slow", "middle", "fast"]
    assert max(abs(one.error) for one in judged) < 0.08
    (tmp_path / "pilot.toml").write_text(text, "utf-8")
    scenario = scenario_of(read(tmp_path / "pilot.toml"))
    speeds = [group.compute.gflops for group in scenario.fleet.group]
    assert speeds == sorted(speeds)


def test_where_it_cannot_run_one_line_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(hosts.os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["testbed.py", "--out", str(tmp_path)])
    assert testbed.main() == 2
    said = capsys.readouterr().err
    assert "needs root" in said
    assert said.count("\n") == 1
