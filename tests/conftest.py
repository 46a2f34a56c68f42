"""What every test may rely on: one thread, no display, repeatable examples, data when given."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

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
def interrupted() -> Callable[[dict[str, Any], Path, float], None]:
    """Plays a run into a folder until a moment, at which its user presses Ctrl-C."""

    def play(scenario: dict[str, Any], folder: Path, at_s: float) -> None:
        import simfl
        from simfl.clock.kernel import Kernel

        step = Kernel._step

        def stopped(kernel: Kernel) -> None:
            step(kernel)
            if kernel.clock.now > at_s:
                kernel.interrupt()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Kernel, "_step", stopped)
            with pytest.raises(KeyboardInterrupt):
                simfl.run(scenario, out=folder)

    return play


@pytest.fixture
def data_dir() -> Path:
    """Folder of real data sets; skips the test when SIMFL_DATA_DIR names none."""
    folder = os.environ.get("SIMFL_DATA_DIR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("needs real data: SIMFL_DATA_DIR is not set to a folder")
    return Path(folder)
