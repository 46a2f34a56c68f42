"""A process may be a plain generator function, given as it is or named by a file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from world_toys import falls, played, table, tide

import simfl
from simfl.errors import PluginError, ScenarioError

#: From second 1 on: 39 s at half speed, 40 s at full, 40 s at half, and 20.5 s at full again.
TAKES_S = 139.5


def test_a_function_given_as_it_is_is_a_process() -> None:
    run = played(table(), tide)
    assert run.tasks["train_s"].tolist() == [TAKES_S] * 2
    assert set(run.events["process"]) == {"world_toys:tide"}


def test_a_file_names_a_function_and_its_options(tmp_path: Path) -> None:
    whole = table(process=[{"kind": "world_toys:tide", "every_s": 30.0, "factor": 0.25}])
    run = simfl.run(whole, out=tmp_path / "run")
    written = tomllib.loads((tmp_path / "run" / "scenario.toml").read_text("utf-8"))
    assert written["process"] == whole["process"]
    again = simfl.run(tmp_path / "run" / "scenario.toml")
    assert again.digest == run.digest
    assert run.tasks["train_s"].tolist() == pytest.approx([166.75] * 2)


def test_a_function_of_one_s_own_is_known_by_its_name_and_code(tmp_path: Path) -> None:
    def strike(env: Any, world: Any) -> Any:
        yield env.timeout(10)
        world.leave(0)

    run = simfl.run(table(), processes=[strike], out=tmp_path / "run")
    assert set(run.events["process"]) == {"strike"}
    written = (tmp_path / "run" / "scenario.toml").read_text("utf-8")
    assert 'kind = "object:strike"' in written
    with pytest.raises(ScenarioError, match="object:strike was a Python object"):
        simfl.load(tmp_path / "run" / "scenario.toml")


def test_two_functions_of_a_name_have_two() -> None:
    assert set(played(table(), tide, tide).events["process"]) == {
        "world_toys:tide",
        "world_toys:tide-2",
    }


def test_options_that_a_function_does_not_take_are_refused() -> None:
    with pytest.raises(ScenarioError, match="did you mean 'every_s'") as refused:
        simfl.run(table(process=[{"kind": "world_toys:tide", "evry_s": 3.0}]))
    assert "process.0" in str(refused.value)


def test_a_function_without_room_for_the_world_is_refused() -> None:
    def alone(env: Any) -> Any:
        yield env.timeout(1)

    with pytest.raises(ScenarioError, match=r"alone\(env.*cannot be called with \(env, world\)"):
        played(table(), alone)


def test_a_function_that_fails_is_told_with_its_name_and_line() -> None:
    with pytest.raises(PluginError, match=r"process world_toys:falls at t = 5 s: .* at world_toys"):
        played(table(), falls)


def test_a_run_of_a_function_is_played_again_when_it_is_resumed(tmp_path: Path) -> None:
    run = simfl.run(table(), processes=[tide], out=tmp_path / "run")
    assert simfl.run(table(), processes=[tide], out=tmp_path / "run", resume=True).digest == (
        run.digest
    )
    with pytest.raises(simfl.errors.InputError, match="another run"):
        simfl.run(table(), processes=[falls], out=tmp_path / "run", resume=True)
