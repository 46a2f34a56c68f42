"""What every test may rely on: one thread, no display, repeatable examples, data when given."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# Before torch or matplotlib is imported anywhere, subprocesses included.
os.environ.update(OMP_NUM_THREADS="1", MPLBACKEND="Agg")

settings.register_profile(
    "simfl",
    derandomize=True,
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("simfl")


@pytest.fixture(autouse=True)
def _one_torch_thread() -> None:
    """Float sums must not depend on how many cores the machine has."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test pulls the plug, and a busy disk can take a second to settle one file."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.fixture(autouse=True)
def _close_figures() -> Iterator[None]:
    """A figure that one test leaves open is not drawn into by the next."""
    yield
    if plt := sys.modules.get("matplotlib.pyplot"):
        plt.close("all")


@pytest.fixture
def data_dir() -> Path:
    """Folder of real data sets; skips the test when SIMFL_DATA_DIR names none."""
    folder = os.environ.get("SIMFL_DATA_DIR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real data: SIMFL_DATA_DIR is not set to a folder")
    return Path(folder)
