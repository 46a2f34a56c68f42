from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import simfl

DEVICES = {"compute": {"kind": "exponential", "mean_s": 10.0}, "count": 8}
BUFFERED = {"kind": "fedbuff", "concurrency": 4, "buffer": 2}
LEARNING = {
    "dataset": "digits",
    "partition": "iid",
    "model": {"kind": "mlp", "hidden": [8]},
    "lr": 0.2,
}
TIMING = {"dataset": "none", "parameters": 10, "examples": 10, "flops_per_example": 1.0}


BROKEN = """
import os
from dataclasses import dataclass
from simfl.strategy.methods.fedbuff import FedBuff

@dataclass(frozen=True)
class Raises(FedBuff):
    def step(self, pending, server, updates):
        raise ValueError("on purpose")

@dataclass(frozen=True)
class Dies(FedBuff):
    def step(self, pending, server, updates):
        os._exit(1)
"""


class Listener:
    """Progress that remembers which runs were played."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def update(self, done: int, total: int, run: str) -> None:
        self.heard.append(f"{done}/{total} {run}")

    def close(self) -> None:
        self.heard.append("closed")


@pytest.fixture
def listener() -> Listener:
    return Listener()


@pytest.fixture(scope="session")
def bench() -> dict[str, Any]:
    """A scenario of a few milliseconds that learns nothing."""
    return {
        "name": "bench",
        "fleet": {"group": [DEVICES]},
        "learning": TIMING,
        "strategy": BUFFERED,
        "stop": {"versions": 5},
    }


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> simfl.Study:
    """Two strategies, three seeds, real learning; one of the two is too slow for the target."""
    scenario = {
        "fleet": {"group": [DEVICES]},
        "learning": LEARNING,
        "evaluate": {"every_versions": 1},
        "strategy": BUFFERED,
        "stop": {"target": {"accuracy": 0.6}, "versions": 30},
    }
    strategies = {"buffered": BUFFERED, "timid": {"strategy": BUFFERED, "learning.lr": 1e-6}}
    out: Path = tmp_path_factory.mktemp("studies") / "small"
    return simfl.study(scenario, strategies, seeds=range(3), out=out)


@pytest.fixture
def broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module `broken` whose strategies raise, and end their process."""
    (tmp_path / "broken.py").write_text(BROKEN, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)


ASYNC = {"kind": "fedasync", "concurrency": 4}
LR = "learning.lr"


def tunable_scenario(**tune: Any) -> dict[str, Any]:
    return {
        "name": "tuned",
        "fleet": {"group": [DEVICES]},
        "learning": LEARNING,
        "evaluate": {"every_versions": 1},
        "strategy": BUFFERED,
        "stop": {"target": {"accuracy": 0.6}, "versions": 30, "after_s": 400.0},
        "tune": {"trials": 4, "seeds": [100], **tune},
        "sweep": {
            "seed": [0],
            "variant": [
                {"label": "buffered", "tune": {"space": {LR: {"log": [0.02, 0.4]}}}},
                {"label": "one by one", "strategy": ASYNC,
                 "tune": {"space": {LR: {"log": [0.02, 0.4]},
                                    "strategy": {"alpha": {"linear": [0.2, 1.0]}}}}},
            ],
        },
    }  # fmt: skip


@pytest.fixture(scope="session")
def tunable() -> Callable[..., dict[str, Any]]:
    """A scenario of two variants to tune; options: those of [tune]."""
    return tunable_scenario


@pytest.fixture(scope="session")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> simfl.Study:
    """It, tuned and reported on one seed."""
    return simfl.study(tunable_scenario(), out=tmp_path_factory.mktemp("tuning"))
