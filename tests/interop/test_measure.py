"""A machine as a device class: what the stopwatch says becomes rate and overhead."""

from __future__ import annotations

import pytest

from simfl.errors import ScenarioError
from simfl.fleet.catalogue import catalogue_dirs, load_device
from simfl.interop import measure
from simfl.scenario import parse

DIGITS = {
    "fleet": {"group": [{"device": "phone-mid", "count": 2}]},
    "learning": {"dataset": "digits", "model": {"kind": "mlp", "hidden": [8]}},
    "strategy": {"kind": "fedavg", "cohort": 2},
    "stop": {"versions": 1},
}


class Stopwatch:
    """A clock that a step of b examples moves by 2 ms and b times 3 ms."""

    def __init__(self, monkeypatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(measure.time, "perf_counter", lambda: self.now)

    def step(self, batch: int) -> None:
        self.now += 0.002 + 0.003 * batch


def test_overhead_and_work_are_told_apart(monkeypatch):
    found = measure.speed(Stopwatch(monkeypatch).step, batch_size=10, flops=6e6)
    assert found.gflops == pytest.approx(2.0)
    assert found.step_overhead_s == pytest.approx(0.002)
    assert found.jitter_sigma == pytest.approx(0.0, abs=1e-9)
    assert found.examples_per_s == pytest.approx(10 / 0.032)


def test_what_was_measured_is_a_class_that_a_scenario_can_name(tmp_path, monkeypatch):
    found = measure.speed(Stopwatch(monkeypatch).step, batch_size=10, flops=6e6)
    entry = measure.device_class(found, 'a "quoted" machine', "here")
    (tmp_path / "devices").mkdir()
    (tmp_path / "devices" / "here.toml").write_text(measure.to_toml(entry), encoding="utf-8")
    again = load_device("here", catalogue_dirs(tmp_path))
    assert again == entry
    assert again.compute().gflops == 2.0


def test_this_machine_can_be_measured():
    entry = measure.measured(parse(DIGITS))
    assert entry.train_gflops.value > 0.0
    assert "mlp" in entry.train_gflops.source


def test_without_a_model_there_is_nothing_to_measure():
    nothing = {"dataset": "none", "parameters": 1, "examples": 1, "flops_per_example": 1.0}
    with pytest.raises(ScenarioError, match="no model to measure"):
        measure.measured(parse({**DIGITS, "learning": nothing}))
