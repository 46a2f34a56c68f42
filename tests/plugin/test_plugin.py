"""A package that somebody else has written, found under its short names once it is installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from simfl.messages import FRAME_BYTES

HERE = Path(__file__).parent
PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text(encoding="utf-8"))["project"]

SCENARIO = """
seed = 3
[[fleet.group]]
compute = { kind = "exponential", mean_s = 1.0 }
count = 4
[learning]
dataset = { kind = "clouds", apart = 6.0 }
model = "line"
[strategy]
kind = "relay"
epochs = 3
local = { kind = "signed", size = 0.2 }
[wire]
up = [{ kind = "coarse", step = 0.02 }]
[stop]
versions = 8
"""

PLAY = """
import json, sys, simfl
result = simfl.run("plugged.toml")
told = {
    "devices": result.tasks.device.tolist()[:8],
    "up_bytes": sorted(set(result.tasks.up_bytes.tolist())),
    "accuracy": float(result.evaluations.accuracy.iloc[-1]),
    "again": simfl.run(result.folder / "scenario.toml").digest == result.digest,
}
print(json.dumps(told))
"""


@pytest.fixture
def elsewhere(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A folder with a scenario, and the environment of a Python where the package is installed.

    What an installer leaves behind is a folder of metadata beside the code.
    """
    about = tmp_path / "site" / f"simfl_relay-{PROJECT['version']}.dist-info"
    about.mkdir(parents=True)
    head = f"Metadata-Version: 2.1\nName: {PROJECT['name']}\nVersion: {PROJECT['version']}\n"
    (about / "METADATA").write_text(head, encoding="utf-8")
    lines = []
    for group, names in PROJECT["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {target}" for name, target in names.items())]
    (about / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "plugged.toml").write_text(SCENARIO, encoding="utf-8")
    paths = os.pathsep.join([str(about.parent), str(HERE / "src")])
    return tmp_path, {**os.environ, "PYTHONPATH": paths}


def printed(where: tuple[Path, dict[str, str]], *command: str) -> str:
    folder, env = where
    run = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, cwd=folder, env=env
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_package_offers_a_part_of_every_kind_that_has_entry_points() -> None:
    kinds = ("strategies", "local_rules", "codecs", "datasets", "models")
    assert set(PROJECT["entry-points"]) == {f"simfl.{kind}" for kind in kinds}


def test_a_scenario_of_installed_parts_alone_runs_and_repeats(
    elsewhere: tuple[Path, dict[str, str]],
) -> None:
    """The model goes round; a byte goes up for each of its six numbers; the classes are learnt."""
    told = json.loads(printed(elsewhere, "-c", PLAY))
    assert told["devices"] == [0, 1, 2, 3] * 2
    assert told["up_bytes"] == [6 + FRAME_BYTES]
    assert told["accuracy"] > 0.95
    assert told["again"]


def test_installed_strategies_are_listed_and_shown_beside_the_shipped_ones(
    elsewhere: tuple[Path, dict[str, str]],
) -> None:
    listed = printed(elsewhere, "-m", "simfl", "strategies")
    assert "fedavg" in listed
    assert "cyclic weight transfer" in listed
    assert "epochs" in printed(elsewhere, "-m", "simfl", "strategies", "relay")
