"""A run is known by everything that it depends on, and is never finished as another run."""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import simfl
from simfl.engine import identity
from simfl.errors import InputError, SimflError
from simfl.fingerprint import array_digest
from simfl.fleet.traces import Trace, write_trace
from simfl.learn.datasets.base import Dataset

CLASS = """
kind = "device"
about = "made up"
network = "lte"
train_gflops = { value = 2.0, unit = "GFLOP/s", source = "none", mark = "M" }
spread_sigma = { value = 0.0, unit = "ln", source = "none", mark = "M" }
jitter_sigma = { value = 0.0, unit = "ln", source = "none", mark = "M" }
step_overhead_s = { value = 0.0, unit = "s", source = "none", mark = "M" }
memory_mb = { value = 1000.0, unit = "MB", source = "none", mark = "M" }
train_w = { value = 1.0, unit = "W", source = "none", mark = "M" }
radio_w = { value = 1.0, unit = "W", source = "none", mark = "M" }
"""
PLUGIN = """
import torch
from simfl import LocalRule
from simfl.learn.datasets.base import Dataset

def data(source, rng):
    x = torch.from_numpy(rng.standard_normal((80, 4)).astype("float32"))
    return Dataset("mine", x[20:], (x[20:, 0] > 0).long(), x[:20], (x[:20, 0] > 0).long(), 2)

class Rule(LocalRule):
    pass
"""
TINY = """
name = "tiny"
fleet.group = [{ device = "mine", capacity = "bench", count = 4 }]
learning = { dataset = "ownparts:data", model = { kind = "mlp", hidden = [4] } }
strategy = { kind = "fedavg", cohort = 2, local = "ownparts:Rule" }
stop.versions = 1
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a scenario that refers to a device class, a trace and code of its own."""
    (tmp_path / "devices").mkdir()
    (tmp_path / "traces").mkdir()
    (tmp_path / "devices/mine.toml").write_text(CLASS, "utf-8")
    (tmp_path / "ownparts.py").write_text(PLUGIN, "utf-8")
    (tmp_path / "tiny.toml").write_text(TINY, "utf-8")
    measure(tmp_path, 5.0)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "ownparts", raising=False)
    return tmp_path


def measure(here: Path, mbps: float) -> None:
    """Writes the trace of what the devices' uplinks were measured to be."""
    trace = Trace("capacity", {"up_mbps": np.full(4, mbps)})
    write_trace(here / "traces/bench.parquet", trace)


def swap(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(here: Path) -> None:
        path = here / name
        path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")
        sys.modules.pop("ownparts", None)
        importlib.invalidate_caches()

    return change


CHANGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "option": (swap("tiny.toml", "cohort = 2", "cohort = 3"), r"strategy\.cohort was 2 and is 3"),
    "class": (swap("devices/mine.toml", "value = 2.0", "value = 40.0"), "device class mine has"),
    "trace": (lambda here: measure(here, 6.0), r"trace bench\.parquet has changed"),
    "rule": (swap("ownparts.py", "pass", "x = 1"), r"code of learning\.dataset has changed"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_finished_run_is_not_taken_for_one_of_other(here: Path, what: str) -> None:
    change, told = CHANGES[what]
    first = simfl.run(here / "tiny.toml", out=here / "run")
    change(here)
    with pytest.raises(InputError, match=f"holds another run: {told}"):
        simfl.run(here / "tiny.toml", out=here / "run", resume=True)
    assert simfl.open(here / "run").digest == first.digest


def test_an_unbroken_folder_is_its_own(here: Path) -> None:
    """The run folder's scenario, in which the trainer is settled, is the same run."""
    first = simfl.run(here / "tiny.toml", out=here / "run")
    assert 'trainer = "auto"' not in (here / "run/scenario.toml").read_text("utf-8")
    for path in (here / "tiny.toml", here / "run/scenario.toml"):
        assert simfl.run(path, out=here / "run", resume=True).digest == first.digest


@pytest.mark.parametrize("package", ["simfl", "torch"])
def test_other_versions_are_told(here: Path, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    simfl.run(here / "tiny.toml", out=here / "run")
    real = identity.metadata.version
    monkeypatch.setattr(
        identity.metadata, "version", lambda name: "9.9" if name == package else real(name)
    )
    with pytest.raises(InputError, match=rf"{package} was \S+ and is 9\.9"):
        simfl.run(here / "tiny.toml", out=here / "run", resume=True)


def test_a_timing_run_does_not_take_the_place_of_one_that_learnt(here: Path) -> None:
    first = simfl.run(here / "tiny.toml", out=here / "run")
    with pytest.raises(InputError, match="played was with learning and is with timing only"):
        simfl.run(here / "tiny.toml", out=here / "run", resume=True, timing=True)
    assert simfl.open(here / "run").digest == first.digest


def test_a_failed_run_may_go_on_with_mended_code(here: Path) -> None:
    swap("ownparts.py", "pass", "def prepare(self, *given): raise ValueError('oops')")(here)
    with pytest.raises(SimflError, match="oops"):
        simfl.run(here / "tiny.toml", out=here / "run")
    swap("ownparts.py", "def prepare(self, *given): raise ValueError('oops')", "pass")(here)
    with pytest.warns(UserWarning, match=r"goes on with other code: code of learning\.dataset"):
        again = simfl.run(here / "tiny.toml", out=here / "run", resume=True)
    assert again.digest == simfl.run(here / "tiny.toml").digest


def test_a_folder_of_an_earlier_simfl_opens_and_says_what_it_does_not_know(here: Path) -> None:
    first = simfl.run(here / "tiny.toml", out=here / "run")
    (here / "run" / identity.FILE).unlink()
    summary = here / "run" / "summary.json"  # of the scenario as given, not as it was settled
    given = json.loads(summary.read_text()) | {"scenario": simfl.load(here / "tiny.toml").hash}
    summary.write_text(json.dumps(given))
    assert simfl.open(here / "run").digest == first.digest
    with pytest.warns(UserWarning, match="only its options were compared"):
        assert simfl.run(here / "tiny.toml", out=here / "run", resume=True).digest == first.digest
    with pytest.raises(InputError, match="its finished run is of another scenario"):
        simfl.run(here / "tiny.toml", out=here / "run", resume=True, seed=5)


def test_a_study_refuses_cells_of_another_world(here: Path) -> None:
    simfl.study(here / "tiny.toml", seeds=[1], out=here / "study")
    CHANGES["class"][0](here)
    with pytest.raises(InputError, match=r"holds another run: device class mine has changed"):
        simfl.study(here / "tiny.toml", seeds=[1, 2], out=here / "study")


# Functions


def loading(signal: bool) -> Callable[..., Dataset]:
    def load(source: object, rng: np.random.Generator) -> Dataset:
        x = torch.from_numpy(rng.standard_normal((80, 4)).astype("float32"))
        y = (x[:, 0] > 0).long() if signal else torch.from_numpy(rng.integers(0, 2, 80))
        return Dataset("mine", x[20:], y[20:], x[:20], y[:20], classes=2)

    return load


def with_data(dataset: object) -> dict[str, Any]:
    return {
        "fleet": {"group": [{"device": "phone-mid", "count": 4}]},
        "learning": {"dataset": dataset, "model": {"kind": "mlp", "hidden": [4]}},
        "strategy": {"kind": "fedavg", "cohort": 2},
        "stop": {"versions": 1},
    }


def test_a_function_without_a_name_is_known_by_what_it_makes(tmp_path: Path) -> None:
    first = simfl.run(with_data(loading(False)), out=tmp_path)
    told = (tmp_path / "scenario.toml").read_text("utf-8")
    assert told.startswith("# This file cannot be played again: no file can name learning.dataset")
    assert simfl.run(with_data(loading(False)), out=tmp_path, resume=True).digest == first.digest
    with pytest.raises(InputError, match="data set has changed"):
        simfl.run(with_data(loading(True)), out=tmp_path, resume=True)


def test_a_function_of_a_module_goes_by_its_name_and_is_played_again(here: Path) -> None:
    module = importlib.import_module("ownparts")
    first = simfl.run(with_data(module.data), out=here / "run")
    assert 'kind = "ownparts:data"' in (here / "run/scenario.toml").read_text("utf-8")
    assert simfl.run(here / "run/scenario.toml").digest == first.digest


def test_a_study_sends_a_local_function_to_its_workers(tmp_path: Path) -> None:
    given = with_data(loading(True))
    alone = simfl.study(given, seeds=[1, 2], out=tmp_path / "1").table
    spread = simfl.study(given, seeds=[1, 2], out=tmp_path / "2", workers=2).table
    assert alone.digest.notna().all()
    assert alone.digest.tolist() == spread.digest.tolist()


# Digests


@pytest.mark.parametrize("n", [5, 3_000_000])
def test_a_digest_sees_one_bit_an_exchange_and_a_shape(n: int) -> None:
    values = np.arange(n, dtype=np.float32)
    seen = {array_digest(values), array_digest(values.reshape(1, -1)), array_digest(values, values)}
    flipped, turned = values.copy(), values[::-1]
    flipped.view(np.uint32)[n // 2] ^= 1
    exchanged = values.copy()
    exchanged[[0, n - 1]] = exchanged[[n - 1, 0]]
    seen |= {array_digest(part) for part in (flipped, turned, exchanged, values.astype("f8"))}
    assert len(seen) == 7
    assert array_digest(values.copy()) == array_digest(values)
