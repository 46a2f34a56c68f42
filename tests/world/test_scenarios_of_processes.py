"""Every shipped process has a scenario that shows it, runs, and is verified."""

from __future__ import annotations

from pathlib import Path

import pytest

import simfl
from simfl.engine.verify import audit
from simfl.world import PROCESSES

FOLDER = Path(__file__).parents[2] / "scenarios" / "processes"
FILES = sorted(FOLDER.glob("*.toml"))


def test_every_shipped_process_has_a_scenario() -> None:
    assert {path.stem for path in FILES} == set(PROCESSES.shipped)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_scenario_says_what_it_shows_and_every_law_holds(path: Path, tmp_path: Path) -> None:
    assert path.read_text("utf-8").startswith("# ")
    run = simfl.run(path, out=tmp_path / "run")
    assert run.name == path.stem
    assert set(run.events["process"]) == {path.stem}
    assert {check.law: check.wrong for check in audit(run) if check.wrong} == {}
