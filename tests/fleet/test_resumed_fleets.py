"""Runs on every kind of fleet that are interrupted go on to the digest of unbroken ones."""

from __future__ import annotations

import signal
from pathlib import Path

import numpy as np
import pytest
import tomli_w

import simfl
from simfl.fleet.traces import Trace, write_trace

MOVING = {
    "trace": np.repeat(np.arange(2), 3),
    "t_s": np.array([1.0, 2.5, 3.0, 0.5, 1.0, 4.0]),
    "down_mbps": np.array([1.0, 0.2, 2.0, 3.0, 0.0, 1.0]),
}
BASE = {
    "compute": {"kind": "exponential", "mean_s": 4.0},
    "network": {"down_mbps": 2.0, "up_mbps": 1.0, "latency_s": 0.1, "jitter_sigma": 0.3},
    "count": 12,
    "cell": "town",
}
OUTAGES = {"mean_up_s": 40.0, "mean_down_s": 6.0}
CELLS = [{"name": "town", "count": 2, "down_mbps": 3.0, "up_mbps": 2.0, "outages": OUTAGES}]
GROUPS = {
    "cells with outages": {"faults": {"on_offline": "pause"}},
    "retries": {"faults": {"drop_probability": 0.5, "retry": {"times": 3, "wait_s": 2.0}}},
    "batteries": {
        "power": {"train_w": 1.0, "radio_w": 2.0},
        "battery": {"capacity_j": 40.0, "start_low": 0.2, "charge_w": 0.5},
    },
    "lossy": {"network": {**BASE["network"], "loss": 0.2, "overhead_s": 0.5}},
    "moving links": {"network": {"trace": "moving", "up_mbps": 0.5}},
}


class Impatience:
    """A user who presses Ctrl-C at the n-th look."""

    def __init__(self, looks: int) -> None:
        self.looks = looks

    def update(self, status) -> None:
        self.looks -= 1
        if self.looks == 0:
            signal.raise_signal(signal.SIGINT)

    def close(self) -> None:
        """Nothing is shown."""


@pytest.fixture
def path(tmp_path: Path, request) -> Path:
    """The scenario of a kind of fleet, as a file with its traces beside it."""
    (tmp_path / "traces").mkdir()
    write_trace(tmp_path / "traces" / "moving.parquet", Trace("bandwidth", MOVING))
    group = {**BASE, **GROUPS[request.param]}
    whole = {
        "fleet": {"group": [group]},
        "network": {"cell": CELLS},
        "server": {"sharing": "max-min", "down_mbps": 5.0, "up_mbps": 3.0},
        "learning": {
            "dataset": "none",
            "parameters": 50_000,
            "examples": 10,
            "flops_per_example": 1.0,
        },
        "strategy": {"kind": "fedbuff", "concurrency": 9, "buffer": 2},
        "stop": {"after_s": 900.0},
    }
    scenario = tmp_path / "fleet.toml"
    scenario.write_text(tomli_w.dumps(whole), encoding="utf-8")
    return scenario


@pytest.mark.parametrize("path", GROUPS, indirect=True)
def test_an_interrupted_run_goes_on_to_the_same_digest(monkeypatch, tmp_path: Path, path: Path):
    monkeypatch.setattr("simfl.clock.driver.Driver.GLANCE", 16)
    whole = simfl.run(path)
    for looks in (1, 3):
        out = tmp_path / str(looks)
        with pytest.raises(KeyboardInterrupt):
            simfl.run(path, out=out, progress=Impatience(looks))
        resumed = simfl.run(path, out=out, resume=True)
        assert resumed.digest == whole.digest
    assert len(whole.tasks) > 60
