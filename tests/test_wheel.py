"""What people install is what is tested: the wheel holds the package and its catalogue."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but the unpacked wheel."""
    pytest.importorskip("build", reason="needs the build front end")
    pytest.importorskip("hatchling", reason="needs the build back end")
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True)
    (wheel,) = out.glob("simfl-*.whl")
    zipfile.ZipFile(wheel).extractall(out / "site")
    return out / "site"


def outside(site: Path, code: str) -> str:
    """Standard output of code run away from the source tree, with only the wheel's simfl."""
    env = {**os.environ, "PYTHONPATH": str(site)}
    run = [sys.executable, "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, cwd=site, env=env)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tomls(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.toml"))


def test_the_wheel_carries_every_device_and_scenario(site: Path) -> None:
    for folder in ("devices", "scenarios"):
        written = tomls(ROOT / folder)
        assert tomls(site / "simfl" / "_catalogue" / folder) == written != []


def test_the_wheel_holds_simfl_alone(site: Path) -> None:
    names = sorted(entry.name.split("-")[0] for entry in site.iterdir())
    assert names == ["simfl", "simfl"]
    assert (site / "simfl" / "py.typed").is_file()


def test_a_shipped_scenario_loads_from_the_wheel_alone(site: Path) -> None:
    """Names of scenarios and device classes are found without a source tree."""
    code = "import simfl; print(simfl.__file__); print(simfl.load('quickstart').name)"
    where, name = outside(site, code).splitlines()
    assert Path(where).is_relative_to(site)
    assert name == "quickstart"
