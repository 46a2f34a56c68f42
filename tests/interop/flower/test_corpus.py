"""Apps in the manner of those that people publish, unmodified on the virtual clock."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from toyflower import scene

import simfl
from simfl.results.verify import verify

pytest.importorskip("flwr", reason="needs Flower: pip install 'simfl[flower]'")

from corpus import APPS, ROUNDS

#: A library that starts a process and waits until it is ready, as trackers of experiments do.
TRACKER = """
import subprocess, sys, tempfile, time
from pathlib import Path

def init():
    ready = Path(tempfile.mkdtemp()) / "ready"
    code = f"import pathlib; pathlib.Path({str(ready)!r}).touch()"
    process = subprocess.Popen([sys.executable, "-S", "-c", code])
    end = time.monotonic() + 60.0
    while not ready.exists():
        if time.monotonic() > end:
            raise RuntimeError("the tracker's process is not ready")
        time.sleep(0.01)
    process.wait()
    return Run()

class Run:
    rows = []

    def log(self, metrics, at):
        self.rows.append((at, time.time()))
"""
FLEET = scene(
    {"count": 5, "device": "phone-mid", "network": "lte", "faults": {"drop_probability": 0.05}},
    {"count": 1, "device": "raspberry-pi-4", "network": "home-broadband"},
    seed=3,
    stop={"after_s": 1e6},
)
for group in FLEET["fleet"]["group"]:
    del group["compute"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder of the app's own, with the tracker outside of it."""
    for name in ("library", "work"):
        (tmp_path / name).mkdir()
    (tmp_path / "library" / "tracker.py").write_text(TRACKER, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path / "library"))
    monkeypatch.delitem(sys.modules, "tracker", raising=False)
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


@pytest.mark.parametrize("name", APPS)
def test_an_app_runs_to_its_end_and_all_of_it_is_seen(name: str, place: Path) -> None:
    result = simfl.flower.run(*APPS[name](), FLEET)
    assert result.summary["ended"] == "app ended"
    assert result.summary["versions"] >= ROUNDS
    assert result.summary["applied"] >= ROUNDS
    assert (result.versions["updates"] > 0).all()
    assert [check.law for check in verify(result) if check.wrong] == []
    assert result.summary["client_errors"] == 0
    if "trees" not in name:
        assert len(result.evaluations) >= ROUNDS
        assert np.isfinite(result.evaluations[["accuracy", "loss"]]).any(axis=1).all()
    assert set(result.tasks["cause"]) <= {"", "drop-out", "evaluate", "unused at the end"}


@pytest.mark.parametrize("name", ["threads", "threads classic", "asynchronous", "tracker"])
def test_an_app_repeats_itself_to_the_last_bit(name: str, place: Path) -> None:
    assert (
        simfl.flower.run(*APPS[name](), FLEET).digest
        == simfl.flower.run(*APPS[name](), FLEET).digest
    )


def test_a_tracker_sees_real_time_and_the_app_around_it_virtual_time(place: Path) -> None:
    simfl.flower.run(*APPS["tracker"](), FLEET)
    rows = sys.modules["tracker"].Run.rows
    assert len(rows) == ROUNDS
    assert all(real - virtual > 10**7 for virtual, real in rows)


def test_side_files_are_named_and_stamped_in_virtual_time(place: Path) -> None:
    result = simfl.flower.run(*APPS["side files"](), FLEET)
    (path,) = place.glob("results-20250101-*.csv")
    last = float(path.read_text().splitlines()[-1].split(",")[2])
    assert last == pytest.approx(result.versions["time_s"].iloc[-1])
